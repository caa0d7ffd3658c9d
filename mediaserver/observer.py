"""What follows the calls of a server from outside, and what it is told of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from mediaserver.logs import shown


class ReportedEvent(Protocol):
    """What Telnyx reported about a call: any event of ``control.events``."""

    @property
    def event_type(self) -> str:
        """Telnyx's name of it, with dots: ``call.hangup``."""


# From here on the end line of a call names a trouble.
BAD_PERCENT = 1.0
STALLED_S = 0.5
SILENT_S = 2.0


class StreamRequest(msgspec.Struct, frozen=True):
    """What a call's stream was set up with: enough to ask for the same again.

    Attributes:
        send_codec: of what goes back.
        send_rate: its audio rate in Hz.
        send_mode: ``rtp`` or ``mp3``; ``none`` of a forked call, which is no stream.
        processor: the one the call asked for, or None.
        parameters: its ``param_*`` values, by name.
        path: the name behind ``/media/`` that it came to, or empty.
        matched: the parameters by which its route was found.
    """

    send_codec: str
    send_rate: int
    send_mode: str
    processor: str | None = None
    parameters: Mapping[str, str] = {}
    path: str = ""
    matched: Mapping[str, str] = {}


class CallSummary(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A call's facts and figures, over all its sockets: at its end, or as ``Call.stats``.

    Of a call that was lost with its worker only id, number of the worker and reason are known;
    figures are 0 then.

    Attributes:
        call_id: Telnyx's ``call_control_id``, or the stream's id where none came.
        stream_id: Telnyx's id of the last media stream.
        caller: the calling number or None.
        callee: the called number or None.
        started_at: when its first ``start`` came, in unix seconds.
        duration_s: from there to the end of its media.
        reason: why it ended, as in ``Stop``; ``worker``: its worker died, and it with that.
        codec: what the caller's audio came in.
        rate_hz: its sample rate.
        send_codec: what went back.
        send_rate_hz: its sample rate.
        send_mode: ``rtp`` or ``mp3``.
        route: what the route asks for that its chain is from; empty: no route.
        processors: names of its chain, in order.
        worker: number of the worker process that carried it; None in a single process.
        frames_in: media messages given to the decoder.
        frames_out: media messages sent.
        lost: chunks that never came, by their numbers.
        late: chunks dropped because their gap had been given up.
        duplicate: chunks dropped because their number had been seen.
        concealed: frames made up for chunks that were lost or could not be decoded.
        refused: messages and payloads that were refused.
        dropped_frames: frames that a handler was too slow for.
        dropped_s: seconds of live audio dropped because it came too late.
        stalled_s: the longest time for which the network, or a process that stood still, held
            audio back that then came at once, in seconds.
        blocked_s: seconds in which the far end read too slowly for what was sent.
        peak_dbfs: loudest sample of one inbound frame a second; None where all were 0.
        level_dbfs: mean power of these frames; None where all were 0.
        plays: plays that ended, by their state: ``played``, ``cleared``, ``failed``.
        marks: marks of the user that ended, by their state.
        reorder_wait_s: how long a gap waits for its chunk at the end.
        takeovers: sockets that took the call over.
        processor_errors: failures of its processors.
        budget_overruns: times a filter repeatedly took longer than ``budget_ms`` for frames.
        dropped_events: events that a handler was too slow for (the oldest go).
        queued_frames: frames that wait for the slowest handler now; at most 500, then the
            oldest go.
        queued_events: events that wait for the slowest handler now; at most 1000.
        queued_s: seconds of audio accepted and not heard yet; ``play`` itself waits above 60.
        lead_s: how far what was sent is ahead of the caller's ear.
        underruns: times the caller heard a gap because a play's source brought nothing.
        marks_awaited: marks of the wire that have not come back; at most 1024.
    """

    call_id: str
    reason: str
    stream_id: str | None = None
    caller: str | None = None
    callee: str | None = None
    started_at: float = 0.0
    duration_s: float = 0.0
    codec: str = ""
    rate_hz: int = 0
    send_codec: str = ""
    send_rate_hz: int = 0
    send_mode: str = ""
    route: str = ""
    processors: tuple[str, ...] = ()
    worker: int | None = None
    frames_in: int = 0
    frames_out: int = 0
    lost: int = 0
    late: int = 0
    duplicate: int = 0
    concealed: int = 0
    refused: int = 0
    dropped_frames: int = 0
    dropped_s: float = 0.0
    stalled_s: float = 0.0
    blocked_s: float = 0.0
    peak_dbfs: float | None = None
    level_dbfs: float | None = None
    plays: Mapping[str, int] = {}
    marks: Mapping[str, int] = {}
    reorder_wait_s: float = 0.0
    takeovers: int = 0
    processor_errors: int = 0
    budget_overruns: int = 0
    dropped_events: int = 0
    queued_frames: int = 0
    queued_events: int = 0
    queued_s: float = 0.0
    lead_s: float = 0.0
    underruns: int = 0
    marks_awaited: int = 0

    def line(self) -> str:
        """One line for a log: what is not 0, and at its end what went wrong, in words."""
        troubles = self.troubles
        facts = ", ".join(f"{name} {text}" for name, text in self._texts() if text)
        return f"{facts}; trouble: {', '.join(troubles)}" if troubles else facts

    @property
    def troubles(self) -> tuple[str, ...]:
        """What went wrong in this call, in words; empty: nothing that is known of."""
        return tuple(text for wrong, text in self._judged() if wrong)

    def _judged(self) -> list[tuple[bool, str]]:
        """What may go wrong in a call: whether it did, and how it is said."""
        n = self.frames_in + self.lost
        lost, late, refused = (_percent(each, n) for each in (self.lost, self.late, self.refused))
        with_worker = self.reason == "worker"
        n_failed = self.plays.get("failed", 0)
        return [
            (with_worker, "lost with its worker"),
            (self.reason == "lost" and not with_worker, "its socket was cut without `stop`"),
            (not n and bool(self.codec) and self.duration_s >= SILENT_S, "no audio came"),
            (lost >= BAD_PERCENT, f"{lost:.0f} % of the audio lost"),
            (late >= BAD_PERCENT, f"{late:.0f} % of the audio came too late"),
            (refused >= BAD_PERCENT, f"{self.refused} messages refused"),
            (self.stalled_s >= STALLED_S, f"audio held back for {self.stalled_s:.1f} s"),
            (
                self.blocked_s >= STALLED_S,
                f"the far end read too slowly for {self.blocked_s:.1f} s",
            ),
            (self.dropped_s >= STALLED_S, f"{self.dropped_s:.1f} s of live audio dropped"),
            (self.dropped_frames > 0, f"a handler was too slow for {self.dropped_frames} frames"),
            (n_failed > 0, f"{n_failed} plays failed"),
            (self.processor_errors > 0, f"processors failed {self.processor_errors} times"),
        ]

    def _texts(self) -> list[tuple[str, str]]:
        peak = "" if self.peak_dbfs is None else f"{self.peak_dbfs:.0f} dBFS"
        both = f"{self.codec} in, {self.send_codec} out" if self.codec else ""
        counts = ("frames_in", "frames_out", "lost", "late", "duplicate", "concealed", "refused")
        return [
            ("reason", self.reason),
            ("duration", f"{self.duration_s:.1f} s"),
            ("from", masked(self.caller)),
            ("to", masked(self.callee)),
            ("codecs", both),
            *((name, _number(getattr(self, name))) for name in counts),
            ("dropped_frames", _number(self.dropped_frames)),
            ("dropped", f"{self.dropped_s:.2f} s" if self.dropped_s else ""),
            ("stalled", f"{self.stalled_s:.2f} s" if self.stalled_s >= STALLED_S else ""),
            ("blocked", f"{self.blocked_s:.2f} s" if self.blocked_s else ""),
            ("peak", peak),
            ("plays", _states(self.plays)),
            ("marks", _states(self.marks)),
            ("takeovers", _number(self.takeovers)),
            ("processor_errors", _number(self.processor_errors)),
            ("route", self.route),
            ("budget_overruns", _number(self.budget_overruns)),
            ("dropped_events", _number(self.dropped_events)),
            ("underruns", _number(self.underruns)),
            ("processors", "+".join(self.processors)),
            ("worker", "" if self.worker is None else str(self.worker)),
        ]


class CallObserver(Protocol):
    """Who follows the calls of a server from outside: webhooks, restarts, histories."""

    def opened(
        self, call_id: str, request: StreamRequest, webhook: Callable[[ReportedEvent], None]
    ) -> None:
        """A call has its media socket, for the first time or again.

        ``webhook(event)`` gives the call what Telnyx reports about it. It is the same
        (``==``) each time while the call lives in one place.
        """

    def lost(self, call_id: str) -> None:
        """The call's socket went away without ``stop``."""

    def closed(self, summary: CallSummary) -> None:
        """The call's media is over."""


def _percent(n: int, of: int) -> float:
    return 100 * n / of if of else 0.0


def _number(n: int) -> str:
    return str(n) if n else ""


def _states(states: Mapping[str, int]) -> str:
    return " ".join(f"{n} {state}" for state, n in sorted(states.items()) if n)


def masked(number: str | None) -> str:
    """The end of a long number: enough to recognise it, too little to call."""
    return "" if not number else f"…{shown(number[-2:])}" if len(number) > 7 else "…"
