"""One fake call over a real WebSocket, by script or by hand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, NamedTuple, Self

from pybase64 import b64encode
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from mediaserver.carrier import frames
from mediaserver.carrier.intake import Complaint, Intake, Received
from mediaserver.carrier.measure import Record, ReturnedMark, SentChunk, failed, measure
from mediaserver.carrier.plan import TRACKS, CallPlan
from mediaserver.carrier.report import CallReport
from mediaserver.carrier.script import Cue, as_text, cues, media_s, voices
from telephony_codecs import Int16Array, codec

CONNECT_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 5.0
USER_ID = "3E6F995F-85F7-4705-9741-53B116D28237"
_PROGRESS_EVERY = 25


CONNECT_ERRORS = (OSError, InvalidHandshake, InvalidURI)


def no_connection(error: Exception) -> str:
    """Return in a few words why the connection could not be had."""
    return f"no connection: {str(error) or type(error).__name__}"


class Progress(NamedTuple):
    """How far a call has come, in seconds of media."""

    sent_s: float
    returned_s: float
    total_s: float


OnProgress = Callable[[Progress], None]


class FakeCall:
    """A live call, as Telnyx would hold it.

    Entering connects and, unless told otherwise, sends ``connected`` and ``start``. Leaving
    hangs up. In between, ``speak()`` does what the plan says, or tests drive it by hand.
    All times are seconds since ``start`` was sent: ``now()``.

    Attributes:
        plan: what the call is.
        record: everything that happened, for ``report()``.
        closed: set when the connection is gone for good.
    """

    def __init__(self, url: str, plan: CallPlan, *, greet: bool = True) -> None:
        self.plan = plan
        self.stream_id = plan.stream_id
        laps = voices(plan)
        self.record = Record(plan, Intake(plan), laps)
        self.closed = asyncio.Event()
        self._url = url
        self._greet = greet
        self._payloads = as_text(laps)
        self._total_s = media_s(plan, laps)
        self._sequence = 0
        self._sequences: list[int] = []
        self._by_hand: dict[str, int] = {}
        self._encoder = codec(plan.codec).encoder(plan.in_rate_hz) if not plan.payloads else None
        self._waiters: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._marks_changed = asyncio.Event()
        self._on_line = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._script: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._origin_s = self._loop.time()
        self._started_at = datetime.now(UTC)
        self._ws: ClientConnection

    @classmethod
    def connect(cls, url: str, plan: CallPlan | None = None, *, greet: bool = True) -> Self:
        """Return a call to be entered; ``greet``: send ``connected`` and ``start`` by itself.

        Raises:
            CodecError: the plan's codec cannot be had here.
            PlanError: the plan cannot be carried out.
        """
        return cls(url, plan or CallPlan(), greet=greet)

    async def __aenter__(self) -> Self:
        await self._open()
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._give_marks())]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.hang_up()
        await self.aclose()

    # -- what tests look at

    def now(self) -> float:
        """Return the seconds since ``start`` was sent."""
        return self._loop.time() - self._origin_s

    @property
    def intake(self) -> Intake:
        """What came from the server, and the ear that hears it."""
        return self.record.intake

    @property
    def received(self) -> list[Received]:
        """Every message of the server so far."""
        return self.record.intake.received

    async def wait_until(self, check: Callable[[], bool], timeout_s: float = 5.0) -> None:
        """Return once ``check()`` holds; it is looked at after everything that happens.

        Raises:
            TimeoutError: it never did.
        """
        if check():
            return
        waiter = (check, self._loop.create_future())
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                await waiter[1]
        finally:
            self._waiters.remove(waiter)

    async def wait_for_mark(self, name: str | None = None, timeout_s: float = 5.0) -> ReturnedMark:
        """Return the first mark, or the first called ``name``, that was given back."""

        def found() -> list[ReturnedMark]:
            return [mark for mark in self.record.marks if name in (None, mark.name)]

        await self.wait_until(lambda: bool(found()), timeout_s)
        return found()[0]

    def report(self) -> CallReport:
        """Return what the call amounts to so far."""
        return measure(self.record)

    # -- what tests do by hand

    def next_sequence(self) -> int:
        """Return the next sequence number and use it up."""
        self._sequence += 1
        return self._sequence

    async def send(self, message: str | bytes | dict[str, Any]) -> None:
        """Send one message as it is; a dict as JSON. A lost connection swallows it."""
        text = json.dumps(message) if isinstance(message, dict) else message
        with suppress(ConnectionClosed):
            await self._ws.send(text)

    async def send_audio(self, samples: Int16Array, track: str = "inbound") -> None:
        """Encode and send one message of audio now, with the track's next chunk number."""
        assert self._encoder is not None, "a plan of payloads has no encoder"
        await self.send_payload(self._encoder.encode(samples), track)

    async def send_payload(self, payload: bytes, track: str = "inbound") -> None:
        """Send one encoded message now, with the track's next chunk number."""
        position = self._by_hand.get(track, 0)
        self._by_hand[track] = position + 1
        text = b64encode(payload).decode()
        chunk = self.plan.first_chunk + position
        await self._send_media(self.next_sequence(), track, chunk, position, text, self.now())

    async def press(self, digit: str) -> None:
        """Send a key press that happens now."""
        at = self._started_at + timedelta(seconds=self.now())
        self.record.dtmf += digit
        await self.send(frames.dtmf(self.next_sequence(), digit, at, self.stream_id))

    async def hang_up(self) -> None:
        """End the call as Telnyx does: ``stop``, then close. Does nothing once it is over."""
        if self.closed.is_set():
            return
        self.record.hung_up = True
        self._end_script()
        ids = (USER_ID, self.plan.call_control_id, self.stream_id)
        await self.send(frames.stop(self.next_sequence(), *ids))
        await self._ws.close()
        await self.closed.wait()

    def cut(self) -> None:
        """End the call as a broken network does: neither stop nor close."""
        self.record.hung_up = True
        self._end_script()
        self._ws.transport.abort()

    async def aclose(self) -> None:
        """Stop all that runs for this call; what was recorded stays."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- the script

    async def speak(self, on_progress: OnProgress | None = None) -> None:
        """Do everything in the plan up to hanging up; return when done or cut short."""
        self._script = asyncio.create_task(self._perform(on_progress))
        try:
            await asyncio.wait((self._script,))
        finally:
            self._script.cancel()
        if not self._script.cancelled():
            self._script.result()

    def _end_script(self) -> None:
        if self._script is not None:
            self._script.cancel()

    async def _perform(self, on_progress: OnProgress | None) -> None:
        plan = self.plan
        timed = [
            asyncio.create_task(self._at(at_s, act))
            for at_s, act in (
                (plan.reconnect_at_s, self.reconnect),
                (plan.faults.abrupt_close_at_s, self._cut),
            )
            if at_s is not None
        ]
        try:
            async with asyncio.timeout(self._left_s(plan.hang_up_at_s)):
                await self._say(on_progress)
                await self._linger()
        except TimeoutError:
            pass
        finally:
            for task in timed:
                task.cancel()

    def _left_s(self, at_s: float | None) -> float | None:
        return None if at_s is None else at_s - self.now()

    async def _at(self, at_s: float, act: Callable[[], Any]) -> None:
        await asyncio.sleep(at_s - self.now())
        await act()

    async def _cut(self) -> None:
        self.cut()

    async def _say(self, on_progress: OnProgress | None) -> None:
        """Keep the schedule; what is late is sent at once, so the clock never drifts."""
        for number, cue in enumerate(cues(self.plan, self._total_s)):
            wait_s = cue.at_s - self.now()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            await self._follow(cue)
            if on_progress is not None and number % _PROGRESS_EVERY == 0:
                on_progress(self.progress())

    async def _follow(self, cue: Cue) -> None:
        if cue.kind == "dtmf":
            await self.press(cue.digit)
            return
        await self._on_line.wait()
        sequence = self._sequence_of(cue.order)
        if not cue.dropped:
            lap = self._payloads[cue.track]
            text = lap[cue.position % len(lap)]
            await self._send_media(sequence, cue.track, cue.chunk, cue.position, text, cue.at_s)

    def _sequence_of(self, order: int) -> int:
        """Number chunks in the order they were meant to have, whatever order they go in."""
        while len(self._sequences) <= order:
            self._sequences.append(self.next_sequence())
        return self._sequences[order]

    async def _linger(self) -> None:
        """Wait for the end to come back, or until the time to hang up."""
        if self.plan.hang_up_at_s is not None:
            await self.closed.wait()
        with suppress(TimeoutError):
            await self.wait_until(self._all_back, self.plan.linger_s)

    def _all_back(self) -> bool:
        arrived_s = self.intake.ear.n_fed / self.intake.ear.rate_hz
        return self.closed.is_set() or arrived_s >= self._total_s

    def progress(self) -> Progress:
        """Return how far the call has come."""
        tracks = len(TRACKS[self.plan.tracks])
        sent_s = len(self.record.sent) * self.plan.chunk_ms / 1000 / tracks
        ear = self.intake.ear
        return Progress(sent_s, ear.n_fed / ear.rate_hz, self._total_s)

    # -- the connection

    async def _open(self) -> None:
        token = self.plan.token
        began_s = self._loop.time()
        self._ws = await connect(
            self._url,
            additional_headers={frames.TOKEN_HEADER: token} if token is not None else None,
            compression=None,
            open_timeout=CONNECT_TIMEOUT_S,
            close_timeout=CLOSE_TIMEOUT_S,
            ping_interval=None,
            max_size=None,
            user_agent_header=None,
            proxy=None,
        )
        if self.record.setup_s is None:
            self.record.setup_s = self._loop.time() - began_s
            self._origin_s = self._loop.time()
        if self._greet:
            await self.greet()
        self._on_line.set()

    async def greet(self) -> None:
        """Send ``connected`` and ``start``."""
        await self.send(frames.connected(self.plan.token))
        await self.send(frames.start(self.next_sequence(), self.start_body(), self.stream_id))

    def start_body(self) -> frames.StartBody:
        """Return what ``start`` says of this call."""
        plan = self.plan
        rate_hz = plan.announced_rate_hz or plan.in_rate_hz
        return frames.StartBody(
            user_id=USER_ID,
            call_control_id=plan.call_control_id,
            call_session_id="ff55a038-6f5d-11ef-9692-02420aeffb1f",
            from_="+13122010094",
            to="+13122123456",
            tags=None,
            client_state=None,
            custom_parameters=plan.start_parameters,
            media_format=frames.MediaFormat(plan.codec, rate_hz),
        )

    async def reconnect(self) -> None:
        """Lose the socket and open a second one for the same call, as Telnyx does."""
        self._on_line.clear()
        self._ws.transport.abort()
        self.intake.ear.forget_marks()
        self._sequence = 0
        self.stream_id = self.plan.reconnect_stream_id or self.stream_id
        try:
            await self._open()
            self.record.reconnects += 1
        except CONNECT_ERRORS as error:
            self.record.error = no_connection(error)
        finally:
            self._on_line.set()

    async def _listen(self) -> None:
        """Hear the server out, on whichever socket is the call's at the time."""
        heard_out: ClientConnection | None = None
        try:
            while heard_out is not self._ws:
                heard_out = self._ws
                with suppress(ConnectionClosed):
                    while True:
                        await self._take(await heard_out.recv())
                await self._on_line.wait()
        finally:
            self.record.close_code = self._ws.close_code
            self.record.close_reason = self._ws.close_reason or ""
            self.closed.set()
            self._end_script()
            self._look()

    async def _take(self, message: str | bytes) -> None:
        now = self.now()
        answer = self.intake.accept(message, now)
        for name in answer.cleared_marks:
            await self._give(name, cleared=True)
        if answer.complaint is not None:
            await self._complain(answer.complaint)
        self._marks_changed.set()
        self._look()

    async def _complain(self, complaint: Complaint) -> None:
        self.record.complaints.append(complaint)
        code, detail = complaint
        shape = self.plan.error_shape
        await self.send(frames.error(self.next_sequence(), code, detail, self.stream_id, shape))

    async def _give_marks(self) -> None:
        """Give each mark back when the audio before it has been heard."""
        ear = self.intake.ear
        while True:
            self._marks_changed.clear()
            for name in ear.due_marks(self.now()):
                await self._give(name, cleared=False)
            due = ear.next_due()
            with suppress(TimeoutError):
                async with asyncio.timeout(None if due is None else due - self.now()):
                    await self._marks_changed.wait()

    async def _give(self, name: str, *, cleared: bool) -> None:
        self.record.marks.append(ReturnedMark(self.now(), name, cleared))
        await self.send(frames.mark(self.next_sequence(), name, self.stream_id))
        self._look()

    def _look(self) -> None:
        """Wake those whose condition has come true."""
        for check, waiter in self._waiters:
            if not waiter.done() and check():
                waiter.set_result(None)

    async def _send_media(
        self, sequence: int, track: str, chunk: int, position: int, payload: str, due_s: float
    ) -> None:
        late_s = max(0.0, self.now() - due_s)
        self.record.sent.append(SentChunk(track, position, due_s, late_s))
        timestamp_ms = round(due_s * 1000)
        await self.send(frames.media(sequence, track, chunk, timestamp_ms, payload, self.stream_id))


async def place_call(
    url: str, plan: CallPlan, *, on_progress: OnProgress | None = None
) -> CallReport:
    """Hold one call from connected to close and return how it went; never raises for the peer.

    Raises:
        CodecError: the plan's codec cannot be had here.
        PlanError: the plan cannot be carried out.
    """
    outcome = await _hold(url, plan, on_progress)
    return outcome if isinstance(outcome, CallReport) else measure(outcome)


async def _hold(url: str, plan: CallPlan, on_progress: OnProgress | None) -> Record | CallReport:
    call = FakeCall.connect(url, plan)
    try:
        async with call:
            await call.speak(on_progress)
    except CONNECT_ERRORS as error:
        return failed(plan, no_connection(error))
    return call.record
