"""What follows the calls of a server from outside, and what it is told of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from mediaserver.logs import MASKED, Numbers

_Judged = tuple[str, bool, str]


class ReportedEvent(Protocol):
    """What Telnyx reported about a call: any event of ``control.events``."""

    @property
    def event_type(self) -> str:
        """Telnyx's name of it, with dots: ``call.hangup``."""


MOVED = "mediaserver.moved"
"""Type of an event that is not Telnyx's: the call's stream goes on in another server."""

# From here on a call has a trouble; docs/calls.md has the table.
BAD_PERCENT = 1.0
STALLED_S = 0.5
SILENT_S = 2.0
# A neighbour that holds the event loop for so long is heard: less than that, what was sent
# ahead covers.
HELD_UP_S = 0.2
# A caller who has spoken for so long could expect an answer.
MUTE_AFTER_S = 3.0
# So long a live line brings some noise.
DIGITAL_SILENCE_S = 5.0
# No louder than the codecs' own zero: A-law's is 8 of 32768.
DIGITAL_SILENCE_DBFS = -72.0
# Commands by which the caller hears something that does not come over the stream.
SOUNDING = {
    *("speak", "start_playback", "gather_using_speak", "transfer", "bridge", "dial"),
    "command",  # by the name of an action that the server does not know
}


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
        dropped_s: seconds of live audio dropped because it came too late, or because what carries
            it from a processor host to the call was full.
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
        can_play: a processor of its chain may play: one that is no tap.
        has_played: something was sent that was not the silence of ``keepalive``.
        spoken_s: seconds in which the caller was heard; one frame a second is looked at.
        echo_delay_s: the caller's audio holds what was played, so much later; None: it was not
            found to.
        held_up_s: seconds for which processors of other calls held up this call's process.
        held_up_by: which one did for the longest time, and of which call.
        holds_up_s: seconds for which its own processors did that to the other calls.
        hints: what looked wrong while it lived, in words, by name.
        errors: ``error`` messages from Telnyx, by their code.
        commands: commands over REST that its processors gave, by name.
        recordings: where its recordings are: paths, or URLs where they were to be uploaded.
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
    can_play: bool = False
    has_played: bool = False
    spoken_s: float = 0.0
    echo_delay_s: float | None = None
    held_up_s: float = 0.0
    held_up_by: str = ""
    holds_up_s: float = 0.0
    hints: Mapping[str, str] = {}
    errors: Mapping[str, int] = {}
    commands: Mapping[str, int] = {}
    recordings: tuple[str, ...] = ()

    def hidden(self, numbers: Numbers) -> CallSummary:
        """The same, with its telephone numbers as the log is to have them."""
        caller, callee = numbers(self.caller) or None, numbers(self.callee) or None
        return msgspec.structs.replace(self, caller=caller, callee=callee)

    def line(self, numbers: Numbers = MASKED) -> str:
        """One line for a log: what is not 0, and at its end what went wrong, in words."""
        facts = ", ".join(f"{name} {text}" for name, text in self._texts(numbers) if text)
        troubles = ", ".join(self.troubles.values())
        return f"{facts}; trouble: {troubles}" if troubles else facts

    @property
    def troubles(self) -> Mapping[str, str]:
        """What went wrong in this call, in words, by names that stay; see docs/calls.md.

        Empty: nothing that is known of. A call is bad where there is something.
        """
        found: dict[str, str] = {}
        judged = (*self._judged_ends(), *self._judged_audio(), *self._judged_processors())
        for name, wrong, text in judged:
            if wrong:
                found.setdefault(name, text)
        return found

    def _judged_ends(self) -> list[_Judged]:
        """How it ended: a trouble's name, whether it is there, how it is said."""
        with_worker = self.reason == "worker"
        return [
            ("worker", with_worker, "lost with its worker"),
            ("cut", self.reason == "lost", "its socket was cut without `stop`"),
            (
                "telnyx_errors",
                bool(self.errors),
                f"Telnyx refused {sum(self.errors.values())} messages",
            ),
        ]

    def _judged_audio(self) -> list[_Judged]:
        """What became of its audio."""
        n = self.frames_in + self.lost
        lost, late, refused = (_percent(each, n) for each in (self.lost, self.late, self.refused))
        is_live = bool(self.codec) and self.duration_s >= SILENT_S
        return [
            ("one_way", is_live and not n, "no audio came"),
            ("one_way", self._is_digital_silence, "all that came was digital silence"),
            ("one_way", "no_marks" in self.hints, "audio was sent and no mark came back"),
            ("loss", lost >= BAD_PERCENT, f"{lost:.0f} % of the audio lost"),
            ("late", late >= BAD_PERCENT, f"{late:.0f} % of the audio came too late"),
            ("refused", refused >= BAD_PERCENT, f"{self.refused} messages refused"),
            (
                "stalled",
                self.stalled_s >= STALLED_S,
                f"audio held back for {self.stalled_s:.1f} s",
            ),
            (
                "slow_reader",
                self.blocked_s >= STALLED_S,
                f"the far end read too slowly for {self.blocked_s:.1f} s",
            ),
            (
                "dropped",
                self.dropped_s >= STALLED_S,
                f"{self.dropped_s:.1f} s of live audio dropped",
            ),
            (
                "own_echo",
                self.echo_delay_s is not None,
                f"the bot hears itself, {self.echo_delay_s or 0.0:.2f} s later",
            ),
        ]

    def _judged_processors(self) -> list[_Judged]:
        """What its processors did, and those of its neighbours."""
        n_failed = self.plays.get("failed", 0)
        is_mute = self.can_play and not (self.has_played or SOUNDING & self.commands.keys())
        return [
            (
                "slow_handler",
                self.dropped_frames > 0,
                f"a handler was too slow for {self.dropped_frames} frames",
            ),
            ("plays_failed", n_failed > 0, f"{n_failed} plays failed"),
            (
                "processor_failed",
                self.processor_errors > 0,
                "a processor failed"
                if self.processor_errors == 1
                else f"processors failed {self.processor_errors} times",
            ),
            (
                "blocked",
                self.held_up_s >= HELD_UP_S,
                f"held up for {self.held_up_s:.1f} s by {self.held_up_by}",
            ),
            (
                "blocks",
                self.holds_up_s >= HELD_UP_S,
                f"held up other calls for {self.holds_up_s:.1f} s",
            ),
            (
                "mute_bot",
                is_mute and self.spoken_s >= MUTE_AFTER_S,
                f"the caller spoke for {self.spoken_s:.0f} s and the bot said nothing",
            ),
        ]

    @property
    def _is_digital_silence(self) -> bool:
        """Media flowed, and nothing was in it, not even a line's noise."""
        peak = self.peak_dbfs
        is_nothing = peak is None or peak <= DIGITAL_SILENCE_DBFS
        return self.frames_in > 0 and self.duration_s >= DIGITAL_SILENCE_S and is_nothing

    def _texts(self, numbers: Numbers) -> list[tuple[str, str]]:
        peak = "" if self.peak_dbfs is None else f"{self.peak_dbfs:.0f} dBFS"
        both = f"{self.codec} in, {self.send_codec} out" if self.codec else ""
        counts = ("frames_in", "frames_out", "lost", "late", "duplicate", "concealed", "refused")
        return [
            ("reason", self.reason),
            ("duration", f"{self.duration_s:.1f} s"),
            ("from", numbers(self.caller)),
            ("to", numbers(self.callee)),
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


TROUBLES: Mapping[str, str] = {
    "worker": "the worker process that carried it died, and the call with it",
    "cut": "its socket was cut without `stop`, and no other came within the grace",
    "telnyx_errors": "Telnyx sent `error` messages: it refused what the server sent",
    "one_way": "no media came at all in 2 s and more; or all that came in 5 s and more was"
    " digital silence; or audio was sent and no mark came back (hint `no_marks`)",
    "loss": "1 % of its chunks or more never came",
    "late": "1 % of its chunks or more came when their gap had been given up",
    "refused": "1 % of its messages or more were refused",
    "stalled": "audio was held back for 0.5 s or more, and then came at once",
    "slow_reader": "the far end did not read for 0.5 s or more what was sent",
    "dropped": "0.5 s or more of live audio came too late to be played",
    "own_echo": "the caller's audio holds what was played, up to 1.2 s later",
    "slow_handler": "a handler was 10 s behind its frames, and the oldest were dropped",
    "plays_failed": "plays that failed",
    "processor_failed": "handlers or filters that raised",
    "blocked": "a processor of another call held up its process for 0.2 s or more in all",
    "blocks": "its own processors did that to others",
    "mute_bot": "the caller spoke for 3 s or more, and a chain that can play played nothing and"
    " gave no command to speak, play or transfer",
}
"""What makes a call bad: the names of ``CallSummary.troubles``, and when each is there."""


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
