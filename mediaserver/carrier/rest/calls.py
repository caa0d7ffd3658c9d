"""One call of the fake Telnyx: what the commands do to it, and what it reports.

Rules (protocol.md 1.2, 3 and 4):

    state      command               next       otherwise
    ringing    answer (incoming)     answered   90018 once ended
    ringing    dialled with a stream  its socket is open, with ``connected`` only
    ringing    nobody answers        ended      the socket is cut: neither start nor stop
    answered   streaming_start       +stream    90045 if it streams or forks; see Habits
    answered   fork_start            +fork      replaces a stream; 90045 if it forks
    answered   streaming_stop        -stream    90048 if there is none
    answered   fork_stop             -fork      90031 if there is none
    answered   record_start          +recording 90053 with timeout_secs while transcribing
    answered   transcription_start   +words     90054 if it is transcribed
    answered   transcription_stop    -words     90055 while such a recording runs
    answered   transfer, bridge      joined     90015 if there is no such other call
    any        hangup                ended      everything on it stops
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from mediaserver.carrier.fork import send_fork
from mediaserver.carrier.report import CallReport
from mediaserver.carrier.rest import errors as refuse
from mediaserver.carrier.rest.habits import Habits
from mediaserver.carrier.rest.streams import MediaRequest, Stream, stream_fields
from mediaserver.carrier.rest.tell import line
from mediaserver.carrier.rest.voice import Recordings, Transcriber, Voice, now_text

Body = dict[str, Any]
_STREAM = "stream"
DEFAULT_TIMEOUT_S = 30.0
"""How long a number is rung where the command does not say; protocol.md gives no default."""
_STATS = {"jitter_max_variance": "5.52", "jitter_packet_count": "0", "mos": "4.50"}


class Exchange(Protocol):
    """The carrier that a call belongs to."""

    def tell(self, line: str) -> None:
        """Say what the fake does."""

    def notify(self, call: PhoneCall, event_type: str, payload: Body) -> None:
        """Send a webhook about a call."""

    def new_leg(self, of: PhoneCall, body: Body) -> PhoneCall:
        """Dial somebody for a call that is transferred."""

    def find(self, call_control_id: str) -> PhoneCall:
        """The call of this id; RefusalError if there is none."""


def _new_id() -> str:
    return str(uuid.uuid4())


@dataclass
class PhoneCall:
    """One call.

    Attributes:
        exchange: sends webhooks, knows other calls.
        direction: as Telnyx says it.
        state: where it is in its life.
        stream: what streams now.
        reports: of streams that are over.
        fork: the fields of the fork that runs now.
        joined: the call it was joined with by transfer or bridge.
        suppression: the fields of the noise suppression that runs now.
        picked_up: set when it rings no more: answered, or over.
        voice: what the caller hears beside a stream.
        recordings: what is recorded.
        transcriber: what it is transcribed by.
    """

    exchange: Exchange = field(repr=False)
    habits: Habits
    direction: Literal["incoming", "outgoing"]
    from_: str
    to: str
    connection_id: str = "1494404757140276705"
    webhook_url: str | None = None
    client_state: str | None = None
    call_control_id: str = field(default_factory=lambda: f"v3:{uuid.uuid4().hex}")
    call_leg_id: str = field(default_factory=_new_id)
    call_session_id: str = field(default_factory=_new_id)
    state: Literal["ringing", "answered", "ended"] = "ringing"
    stream: Stream | None = field(default=None, repr=False)
    reports: list[CallReport] = field(default_factory=list, repr=False)
    fork: Body | None = None
    joined: PhoneCall | None = field(default=None, repr=False)
    suppression: Body | None = None
    start_time: str = field(default_factory=now_text)
    picked_up: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    _forking: asyncio.Task[None] | None = field(default=None, repr=False)
    _had_stream: bool = False
    _tasks: set[asyncio.Task[None]] = field(default_factory=set, repr=False)

    def __post_init__(self) -> None:
        habits = self.habits
        self.voice: Voice = Voice(self.report, self._spawn, habits.s_per_character, habits.file_s)
        self.recordings: Recordings = Recordings(self._report_by_leg)
        heard = habits.transcripts, habits.transcript_every_s
        self.transcriber: Transcriber = Transcriber(self.report, self._spawn, *heard)
        self._commands: dict[str, Callable[[Body], None]] = {
            "answer": self._answer,
            "hangup": self._hangup,
            "reject": self._reject,
            "streaming_start": self._streaming_start,
            "streaming_stop": self._streaming_stop,
            "fork_start": self._fork_start,
            "fork_stop": self._fork_stop,
            "transcription_start": self._transcription_start,
            "transcription_stop": self._transcription_stop,
            "speak": self.voice.speak,
            "gather_using_speak": self.voice.speak,
            "playback_start": self.voice.play,
            "playback_stop": lambda _: self.voice.stop(),
            "send_dtmf": self.voice.dial,
            "record_start": self._record_start,
            "record_stop": self.recordings.stop,
            "record_pause": self.recordings.pause,
            "record_resume": self.recordings.resume,
            "transfer": self._transfer,
            "bridge": self._bridge,
            "suppression_start": self._suppress,
            "suppression_stop": lambda _: self._suppress(None),
        }

    def command(self, name: str, body: Body) -> None:
        """Carry out a command whose body was checked; those without a meaning here do nothing.

        Raises:
            RefusalError: the call is not in a state for it.
        """
        if self.state == "ended":
            raise refuse.call_ended()
        if name not in ("answer", "hangup", "reject") and self.state != "answered":
            raise refuse.not_answered()
        self.client_state = body.get("client_state", self.client_state)
        self._commands.get(name, _nothing)(body)

    def report(self, event_type: str, **fields: object) -> None:
        """Send a webhook about the call."""
        self.exchange.notify(self, event_type, self._ids() | fields)

    def tell(self, what: str) -> None:
        """Print a line on what becomes of the call's stream."""
        self.exchange.tell(line(f"call {self.call_control_id}: {what}"))

    def begin(self, body: Body | None = None) -> None:
        """The call rings; a dialled one is answered by itself after a while, or never."""
        self.report(
            "call.initiated",
            direction=self.direction,
            state="parked" if self.direction == "incoming" else "bridging",
            caller_id_name=self.from_,
            offered_codecs="PCMU,PCMA,G722",
            custom_headers=[],
            sip_headers=[],
            start_time=self.start_time,
            tags=[],
            **self._ends(),
        )
        if body is not None:
            if "stream_url" in body:
                is_early = bool(body.get("stream_establish_before_call_originate"))
                self._open_stream(body, is_ringing=not is_early)
            self._spawn(self._ring(body))

    def press(self, digit: str) -> None:
        """The caller presses a key: a webhook, and a message on the stream if there is one."""
        self.report("call.dtmf.received", digit=digit, **self._ends())
        if self.stream is not None and self.stream.line is not None and self.stream.is_live:
            self._spawn(self.stream.line.press(digit))

    def hang_up(self, source: str = "caller", cause: str = "normal_clearing") -> None:
        """The call ends; ``source`` says who ended it."""
        if self.state == "ended":
            return
        self.state = "ended"
        self.picked_up.set()
        self._end_stream()
        self.transcriber.stop()
        self.voice.stop("call_hangup")
        self.recordings.stop({})
        if self.fork is not None:
            self._fork_stop({"stream_type": "decrypted"})
        self.report(
            "call.hangup",
            hangup_cause=cause,
            hangup_source=source,
            sip_hangup_cause="200" if cause == "normal_clearing" else "480",
            call_quality_stats={
                "inbound": {**_STATS, "packet_count": "100", "skip_packet_count": "0"},
                "outbound": {"packet_count": "100", "skip_packet_count": "0"},
            },
            start_time=self.start_time,
            end_time=now_text(),
            **self._ends(),
        )
        if self.joined is not None:
            self.joined.hang_up(source)

    async def aclose(self) -> None:
        """Hang up and wait until all that belongs to the call has ended."""
        self.hang_up("unknown")
        streams = {task for task in self._tasks if task.get_name() == _STREAM}
        for task in self._tasks - streams:
            task.cancel()
        if streams:
            await asyncio.wait(streams, timeout=5.0)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # The commands.

    def _answer(self, body: Body) -> None:
        if self.direction != "incoming" or self.state != "ringing":
            raise refuse.invalid("call_control_id", "an incoming call that rings")
        if self.habits.up_after_s:
            self._spawn(self._pick_up_later(body))
        else:
            self._answered(body)

    def _hangup(self, body: Body) -> None:
        is_ringing = self.state == "ringing" and self.direction == "outgoing"
        cause = "originator_cancel" if is_ringing else "normal_clearing"
        self.hang_up("callee" if self.direction == "incoming" else "caller", cause)

    def _reject(self, body: Body) -> None:
        if self.direction != "incoming" or self.state != "ringing":
            raise refuse.invalid("call_control_id", "an incoming call that rings")
        self.hang_up("callee", "call_rejected")

    def _streaming_start(self, body: Body) -> None:
        if self.habits.second_stream == "replace" and self.fork is None:
            self._end_stream()
        if self.stream is not None or self.fork is not None:
            raise refuse.streaming_in_use()
        self._open_stream(body)

    def _streaming_stop(self, body: Body) -> None:
        wanted = body.get("stream_id")
        is_other = self.stream is not None and wanted not in (None, self.stream.request.stream_id)
        if self.stream is None or is_other:
            raise refuse.streaming_not_in_use()
        self._end_stream()

    def _fork_start(self, body: Body) -> None:
        if self.fork is not None:
            raise refuse.streaming_in_use()
        self._end_stream()
        self.fork = body
        self._forking = self._spawn(send_fork(body, self.habits.fork_plan, self.call_leg_id))
        self.report("call.fork.started", stream_type=body.get("stream_type", "decrypted"))

    def _fork_stop(self, body: Body) -> None:
        if self.fork is None:
            raise refuse.not_forked()
        self.fork = None
        if self._forking is not None:
            self._forking.cancel()
        # Telnyx's own default here is raw, which is not what fork_start starts.
        self.report("call.fork.stopped", stream_type=body.get("stream_type", "raw"))

    def _transcription_start(self, body: Body) -> None:
        if self.transcriber.is_running:
            raise refuse.already_transcribing()
        self.transcriber.start(body)

    def _transcription_stop(self, body: Body) -> None:
        if any(recording.ends_by_silence for recording in self.recordings.running):
            raise refuse.transcription_in_use()
        # What Telnyx says where nothing is transcribed is not known.
        self.transcriber.stop()

    def _record_start(self, body: Body) -> None:
        if body.get("timeout_secs") and self.transcriber.is_running:
            raise refuse.recording_needs_transcription()
        self.recordings.start(body)

    def _suppress(self, body: Body | None) -> None:
        self.suppression = body

    def _transfer(self, body: Body) -> None:
        leg = self.exchange.new_leg(self, body)
        self._spawn(self._join_when_up(leg))

    def _bridge(self, body: Body) -> None:
        other = self.exchange.find(body["call_control_id"])
        if other.state == "ended":
            raise refuse.call_ended()
        self._join(other)

    # What goes on.

    def _ends(self) -> Body:
        return {"from": self.from_, "to": self.to}

    def _ids(self) -> Body:
        return {
            "call_control_id": self.call_control_id,
            "call_leg_id": self.call_leg_id,
            "call_session_id": self.call_session_id,
            "connection_id": self.connection_id,
            "client_state": self.client_state,
        }

    def _report_by_leg(self, event_type: str, **fields: object) -> None:
        """A webhook that names the leg and not the call."""
        ids = self._ids()
        del ids["call_control_id"]
        self.exchange.notify(self, event_type, ids | fields)

    async def _ring(self, body: Body) -> None:
        limit_s = float(body.get("timeout_secs", DEFAULT_TIMEOUT_S))
        if self.habits.answer == "yes" and self.habits.answer_after_s <= limit_s:
            await asyncio.sleep(self.habits.answer_after_s)
            if self.state == "ringing":
                self._answered(body)
            return
        await asyncio.sleep(limit_s if self.habits.ring_s is None else self.habits.ring_s)
        if self.state == "ringing":
            self.hang_up("unknown", "timeout")

    async def _pick_up_later(self, body: Body) -> None:
        await asyncio.sleep(self.habits.up_after_s)
        if self.state == "ringing":
            self._answered(body)

    def _answered(self, body: Body) -> None:
        self.state = "answered"
        self.report("call.answered", state="answered", start_time=self.start_time, **self._ends())
        self.picked_up.set()
        if not self._had_stream:
            self._open_stream(body)

    async def _join_when_up(self, leg: PhoneCall) -> None:
        await leg.picked_up.wait()
        if self.state == leg.state == "answered":
            self._join(leg)

    def _join(self, other: PhoneCall) -> None:
        self.joined, other.joined = other, self
        self.report("call.bridged", **self._ends())
        other.report("call.bridged", **other._ends())

    def _open_stream(self, body: Body, *, is_ringing: bool = False) -> None:
        if "stream_url" not in body:
            return
        request = MediaRequest(
            stream_id=_new_id(),
            call_control_id=self.call_control_id,
            call_session_id=self.call_session_id,
            from_=self.from_,
            to=self.to,
            client_state=self.client_state,
            **stream_fields(body),
        )
        self._had_stream = True
        habits, patience_s = self.habits, self.habits.patience_s
        stream = self.stream = Stream(request, self, habits.plan_for, is_ringing, patience_s)
        self._spawn(self._see_through(stream), _STREAM)

    async def _see_through(self, stream: Stream) -> None:
        self.reports += await stream.run()
        if self.stream is stream:
            self.stream = None
        stream.report_end()

    def _end_stream(self) -> None:
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.end()

    def _spawn(
        self, work: Coroutine[Any, Any, None], name: str | None = None
    ) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        with suppress(asyncio.CancelledError):
            task.result()


def _nothing(body: Body) -> None:
    """Does nothing: for commands that the fake only accepts."""
