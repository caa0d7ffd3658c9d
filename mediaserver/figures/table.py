"""Every figure: its name, its labels, one line of help.

Names are those of the metrics, without ``mediaserver_``. Units are base units: seconds, octets
(``bytes``). A label's values are a finite set that no stranger can make longer: words of ours,
codecs, names of processors in the settings. Ids of calls are in none.
"""

from __future__ import annotations

from typing import NamedTuple


class Figure(NamedTuple):
    """One figure.

    Attributes:
        help: one line.
        labels: in order.
        bounds: of a histogram's buckets; empty: no histogram.
        is_level: it goes up and down.
    """

    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    is_level: bool = False


# What a caller hears: from a frame's length to what everybody notices.
_EAR = (0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0)
# What the event loop and code on it may take.
_LOOP = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
# Code that runs for each frame.
_CODE = (0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
# Answers over HTTP.
_HTTP = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_CALL = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)

# Of processes that carry calls.
OF_CALLS: dict[str, Figure] = {
    "call_setup_seconds": Figure(
        "from a call's `start` until its processors run, the way to a worker included",
        (),
        _LOOP,
    ),
    "call_seconds": Figure("how long calls lasted that have ended", (), _CALL),
    "frames_total": Figure(
        "frames of calls by fate. in: `delivered` to the decoder, `lost` (their chunk never came),"
        " `late` (dropped: their gap had been given up), `duplicate` (dropped). out: `sent`",
        ("direction", "codec", "fate"),
    ),
    "frames_concealed_total": Figure(
        "frames made up for what was lost or could not be decoded", ("codec",)
    ),
    "socket_bytes_total": Figure(
        "octets on the media sockets of calls, with all that frames them; as the kernel counts"
        " them, so `out` is what the far end has acknowledged",
        ("direction",),
    ),
    "handler_drops_total": Figure(
        "frames and events dropped because a handler was too slow for them", ("what",)
    ),
    "live_dropped_seconds_total": Figure("seconds of live audio dropped, for it came too late"),
    "playout_underruns_total": Figure(
        "times the caller heard a gap because a play's source brought nothing"
    ),
    "peer_blocked_seconds_total": Figure(
        "seconds in which the far end read too slowly for what was sent, of all calls together"
    ),
    "plays_total": Figure("plays that ended, by how", ("end",)),
    "marks_total": Figure("marks of processors that ended, by how", ("end",)),
    "playout_lead_seconds": Figure(
        "how far ahead of the caller's ear audio was sent; once a second of each call that sends",
        (),
        _EAR,
    ),
    "mark_round_trip_seconds": Figure(
        "from when the far end should have played the audio before a mark, by our clock, until the"
        " mark came back; marks that come too early count as 0",
        (),
        _EAR,
    ),
    "heard_error_seconds": Figure(
        "how far `heard` was from what a mark that came back has proven", (), _EAR
    ),
    "chain_seconds": Figure(
        "time a chain's filters took for one frame; measured on one frame a second of each call."
        " Where a chain is isolated: the time to hand the frame over",
        ("chain",),
        _CODE,
    ),
    "loop_lag_seconds": Figure(
        "how late event loops were, looked at every 50 ms: `calls`, those that carry calls, and"
        " `server`, the one of a server that has workers",
        ("loop",),
        _LOOP,
    ),
    "processor_hosts": Figure("processor hosts that run", is_level=True),
    "isolated_calls": Figure("calls in processor hosts", is_level=True),
}

# Of the server's own process, beside its counters.
OF_SERVER: dict[str, Figure] = {
    "live_calls": Figure("calls now", is_level=True),
    "max_calls": Figure("the setting `max_calls`", is_level=True),
    "connections": Figure("media sockets now, those before `start` included", is_level=True),
    "ready": Figure("1 where a new call would be taken now, as `/readyz` says", is_level=True),
    "workers": Figure("worker processes by state", ("state",), is_level=True),
    "process_resident_bytes": Figure(
        "memory in RAM: `server`, each `worker N`, and `hosts`: all processor hosts together"
        " without what they share with the process they were forked from",
        ("process",),
        is_level=True,
    ),
    "process_cpu_seconds_total": Figure(
        "seconds of CPU that a process has used; a new worker begins at 0", ("process",)
    ),
    "start_time_seconds": Figure("when the server began, in unix seconds", is_level=True),
    "build_info": Figure("1; the version is in the label", ("version",), is_level=True),
    "webhooks_total": Figure("deliveries of webhooks by what became of them", ("verdict",)),
    "webhook_seconds": Figure(
        "from a webhook's request until its answer was written; Telnyx waits for 2 s", (), _HTTP
    ),
    "commands_total": Figure(
        "commands to Telnyx by outcome: `ok`, `already` (things were so), `refused`, `rate_limit`,"
        " `server_error`, `network`, `timeout`, `abandoned` (nobody waited any more)",
        ("outcome",),
    ),
    "command_retries_total": Figure("tries of commands beyond the first"),
    "command_seconds": Figure("how long commands took, with all their tries", (), _HTTP),
}

FIGURES: dict[str, Figure] = {**OF_CALLS, **OF_SERVER}

# The finite sets of label values; what is not here is from the settings, or a codec.
OUTCOMES = (
    "ok",
    "already",
    "refused",
    "rate_limit",
    "server_error",
    "network",
    "timeout",
    "abandoned",
)
WORKER_STATES = ("starting", "able", "late", "suspected")
