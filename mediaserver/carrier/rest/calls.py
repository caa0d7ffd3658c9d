"""One call of the fake Telnyx: what the commands do to it, and what it reports.

Rules (protocol.md 1.2, 3 and 4):

    state      command               next       otherwise
    ringing    answer (incoming)     answered   90018 once ended
    answered   streaming_start       +stream    90045 if it streams or forks
    answered   fork_start            +fork      replaces a stream; 90045 if it forks
    answered   streaming_stop        -stream    90048 if there is none
    answered   fork_stop             -fork      90031 if there is none
    any        hangup                ended      everything on it stops
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from mediaserver.carrier.line import CONNECT_ERRORS, no_connection
from mediaserver.carrier.plan import PlanError
from mediaserver.carrier.report import CallReport
from mediaserver.carrier.rest import errors as refuse
from mediaserver.carrier.rest.streams import (
    MediaRequest,
    PlanFor,
    StreamedCall,
    default_plan,
    stream_fields,
)
from telephony_codecs import CodecError

Body = dict[str, Any]
_STREAM = "stream"
Notify = Callable[["PhoneCall", str, Body], None]


@dataclass(frozen=True)
class Habits:
    """How calls of this carrier behave.

    Attributes:
        plan_for: what a stream says and how.
        answer_after_s: how long a dialled number rings.
        transcripts: what a transcription hears, again and again.
        transcript_every_s: how often it hears something.
    """

    plan_for: PlanFor = default_plan
    answer_after_s: float = 0.05
    transcripts: Sequence[str] = ("hello", "how can I help you")
    transcript_every_s: float = 0.25


@dataclass
class Stream:
    """A stream of a call: its request, its task, and its line once it is connected."""

    request: MediaRequest
    task: asyncio.Task[None] | None = None
    line: StreamedCall | None = None
    is_stopped: bool = False


def _new_id() -> str:
    return str(uuid.uuid4())


@dataclass
class PhoneCall:
    """One call.

    Attributes:
        notify: sends a webhook about the call.
        direction: as Telnyx says it.
        state: where it is in its life.
        stream: what streams now.
        reports: of streams that are over.
        fork: the fields of the fork that runs now.
    """

    notify: Notify = field(repr=False)
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
    _transcription: asyncio.Task[None] | None = field(default=None, repr=False)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set, repr=False)

    def command(self, name: str, body: Body) -> None:
        """Carry out a command whose body was checked.

        Raises:
            RefusalError: the call is not in a state for it.
        """
        if self.state == "ended":
            raise refuse.call_ended()
        if name not in ("answer", "hangup") and self.state != "answered":
            raise refuse.not_answered()
        self.client_state = body.get("client_state", self.client_state)
        getattr(self, f"_{name}")(body)

    def report(self, event_type: str, **fields: object) -> None:
        """Send a webhook about the call."""
        common: Body = {
            "call_control_id": self.call_control_id,
            "call_leg_id": self.call_leg_id,
            "call_session_id": self.call_session_id,
            "connection_id": self.connection_id,
            "client_state": self.client_state,
        }
        self.notify(self, event_type, common | fields)

    def begin(self, body: Body | None = None) -> None:
        """The call rings; a dialled one is answered by itself after a while."""
        state = "parked" if self.direction == "incoming" else "bridging"
        self.report("call.initiated", direction=self.direction, state=state, **self._ends())
        if body is not None:
            if body.get("stream_establish_before_call_originate"):
                self._open_stream(body)
            self._spawn(self._answer_by_itself(body))

    def hang_up(self, source: str = "caller") -> None:
        """The call ends, by whoever ``source`` names."""
        if self.state == "ended":
            return
        self.state = "ended"
        self._end_stream()
        self._end_transcription()
        self.fork = None
        self.report(
            "call.hangup", hangup_cause="normal_clearing", hangup_source=source, **self._ends()
        )

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
        self._answered(body)

    def _hangup(self, body: Body) -> None:
        self.hang_up("callee" if self.direction == "incoming" else "caller")

    def _streaming_start(self, body: Body) -> None:
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
        self.report("call.fork.started", stream_type=body.get("stream_type", "decrypted"))

    def _fork_stop(self, body: Body) -> None:
        if self.fork is None:
            raise refuse.not_forked()
        self.fork = None
        # Telnyx's own default here is raw, which is not what fork_start starts.
        self.report("call.fork.stopped", stream_type=body.get("stream_type", "raw"))

    def _transcription_start(self, body: Body) -> None:
        if self._transcription is not None:
            raise refuse.transcription_conflict("90054")
        track = body.get("transcription_tracks", "inbound")
        self._transcription = self._spawn(self._transcribe(track))

    def _transcription_stop(self, body: Body) -> None:
        if self._transcription is None:
            raise refuse.transcription_conflict("90055")
        self._end_transcription()

    # What goes on.

    def _ends(self) -> Body:
        return {"from": self.from_, "to": self.to}

    async def _answer_by_itself(self, body: Body) -> None:
        await asyncio.sleep(self.habits.answer_after_s)
        if self.state == "ringing":
            self._answered(body)

    def _answered(self, body: Body) -> None:
        self.state = "answered"
        self.report("call.answered", state="answered", **self._ends())
        if "stream_url" in body and self.stream is None:
            self._open_stream(body)

    def _open_stream(self, body: Body) -> None:
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
        stream = self.stream = Stream(request)
        stream.task = self._spawn(self._run_stream(stream), _STREAM)

    async def _run_stream(self, stream: Stream) -> None:
        """Connect, talk until stopped, and report how it ended, exactly once."""
        request = stream.request
        try:
            line = stream.line = StreamedCall(request, self.habits.plan_for(request))
            async with line:
                self.report("streaming.started", stream_url=request.url)
                if not stream.is_stopped:
                    await line.speak()
                    await line.over.wait()
            self.reports.append(line.report())
            reason = None if stream.is_stopped or line.record.close_code == 1000 else "closed"
        except CONNECT_ERRORS as error:
            reason = no_connection(error)
        except (PlanError, CodecError) as error:
            reason = str(error)
        if self.stream is stream:
            self.stream = None
        if reason is None:
            self.report("streaming.stopped", stream_url=request.url)
        else:
            self._report_failure(request, reason)

    def _report_failure(self, request: MediaRequest, reason: str) -> None:
        self.report(
            "streaming.failed",
            failure_reason=reason,
            stream_id=request.stream_id,
            stream_type="websocket",
            stream_params={"stream_url": request.url, "track": request.track},
        )

    def _end_stream(self) -> None:
        stream, self.stream = self.stream, None
        if stream is None:
            return
        stream.is_stopped = True
        if stream.line is not None:
            stream.line.over.set()  # its task hangs up: wire stop, close, report

    async def _transcribe(self, track: str) -> None:
        while True:
            for transcript in self.habits.transcripts:
                await asyncio.sleep(self.habits.transcript_every_s)
                heard = {"transcript": transcript, "confidence": 0.98, "is_final": True}
                data = heard | {"transcription_track": track}
                self.report("call.transcription", transcription_data=data)

    def _end_transcription(self) -> None:
        if self._transcription is not None:
            self._transcription.cancel()
            self._transcription = None

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
