"""The open WebSocket of a fake call: what is sent on it, and what comes back."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from mediaserver.carrier import messages
from mediaserver.carrier.intake import NOT_MP3, Complaint, Intake, Listener, Received
from mediaserver.carrier.measure import measure
from mediaserver.carrier.plan import CallPlan
from mediaserver.carrier.record import Record, ReturnedMark, SentChunk
from mediaserver.carrier.report import CallReport
from mediaserver.carrier.script import Voices

CONNECT_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 5.0
STOPPED_AFTER_CHUNKS = 9
"""Users have reported: after raw audio in mp3 mode a stream stops after so many frames."""
CONNECT_ERRORS = (OSError, InvalidHandshake, InvalidURI)

USER_ID = "3E6F995F-85F7-4705-9741-53B116D28237"
SESSION_ID = "ff55a038-6f5d-11ef-9692-02420aeffb1f"


def no_connection(error: Exception) -> str:
    """Return in a few words why the connection failed."""
    return f"no connection: {str(error) or type(error).__name__}"


class Line:
    """A live call that only listens: it checks messages, plays them and returns marks.

    Entering connects and, unless told otherwise, sends ``connected`` and ``start``. Leaving
    hangs up. All times are seconds since the first connection stood: ``now()``. A ``listener`` is
    told what the caller hears.

    Attributes:
        plan: what the call is.
        record: everything that happened, for ``report()``.
        stream_id: of the present connection.
        over: set when the call ends, whoever ends it.
        closed: set when the connection is gone for good.
        is_ringing: nobody has picked up yet: only ``connected`` is sent.
    """

    def __init__(
        self,
        url: str,
        plan: CallPlan,
        voices: Voices,
        *,
        greet: bool = True,
        listener: Listener | None = None,
    ) -> None:
        self.plan = plan
        self.record: Record = Record(plan, Intake(plan, listener), voices)
        self.stream_id: str = plan.stream_id
        self.over: asyncio.Event = asyncio.Event()
        self.closed: asyncio.Event = asyncio.Event()
        self.is_ringing: bool = plan.ring_s > 0 or plan.answer == "never"
        self._url = url
        self._greet = greet
        self._sequence = 0
        self._on_line = asyncio.Event()
        self._marks_changed = asyncio.Event()
        self._waiters: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._loop = asyncio.get_running_loop()
        self._origin_s = time.monotonic()
        self._started_at = datetime.now(UTC)
        self._ws: ClientConnection

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
        try:
            await self.hang_up()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    # What a test can look at.

    def now(self) -> float:
        """Return the seconds since the first connection was made."""
        return time.monotonic() - self._origin_s

    @property
    def is_connected(self) -> bool:
        """Whether it has a connection now, and is not over."""
        return self._on_line.is_set() and not self.over.is_set()

    @property
    def intake(self) -> Intake:
        """The messages of the server, and the model of Telnyx's playout that plays them."""
        return self.record.intake

    @property
    def received(self) -> list[Received]:
        """Every message of the server so far that could be read."""
        return self.record.intake.received

    def report(self) -> CallReport:
        """Return the figures of the call so far."""
        return measure(self.record)

    async def wait_until(self, check: Callable[[], bool], timeout_s: float = 5.0) -> None:
        """Return when ``check()`` is true.

        It is looked at when a message comes, when a mark is given back and at the end.

        Raises:
            TimeoutError: it did not come true in time.
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
        """Return the first mark that was returned, or the first of that ``name``.

        Raises:
            TimeoutError: there was none in time.
        """

        def found() -> list[ReturnedMark]:
            return [mark for mark in self.record.marks if name in (None, mark.name)]

        await self.wait_until(lambda: bool(found()), timeout_s)
        return found()[0]

    # What a test can do.

    def next_sequence(self) -> int:
        """Return the next sequence number; each call returns another one."""
        self._sequence += 1
        return self._sequence

    async def send(self, message: str | bytes | dict[str, Any]) -> None:
        """Send one message as it is; a dict as JSON. If the connection is lost, do nothing."""
        text = json.dumps(message) if isinstance(message, dict) else message
        with suppress(ConnectionClosed):
            await self._ws.send(text)

    async def press(self, digit: str) -> None:
        """Send a key press that happens now."""
        at = self._started_at + timedelta(seconds=self.now())
        self.record.dtmf += digit
        await self.send(messages.dtmf(self.next_sequence(), digit, at, self.stream_id))

    async def hang_up(self) -> None:
        """End the call as Telnyx does: ``stop``, then close. Does nothing once it is over."""
        self._end()
        if self.closed.is_set():
            return
        self.record.hung_up = True
        ids = (USER_ID, self.plan.call_control_id, self.stream_id)
        await self.send(messages.stop(self.next_sequence(), *ids))
        await self._ws.close()
        await self.closed.wait()

    def cut(self) -> None:
        """End the call as a broken network does: neither stop nor close."""
        self._end()
        self.record.hung_up = True
        self._ws.transport.abort()

    async def reconnect(self) -> None:
        """Lose the socket and open a second one for the same call, as Telnyx does.

        What was queued plays on; its marks are gone with the socket they came by.
        """
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

    async def greet(self) -> None:
        """Send ``connected`` and, unless the call rings, ``start``."""
        await self.send(messages.connected(self.plan.token))
        if not self.is_ringing:
            await self._start()

    async def pick_up(self) -> None:
        """The call that rang is answered: send ``start``; the call's time begins."""
        self.is_ringing = False
        self._origin_s = time.monotonic()
        self._started_at = datetime.now(UTC)
        await self._start()

    async def _start(self) -> None:
        await self.send(messages.start(self.next_sequence(), self.start_body(), self.stream_id))

    def start_body(self) -> messages.StartBody:
        """Return what ``start`` says of this call."""
        plan = self.plan
        return messages.StartBody(
            user_id=USER_ID,
            call_control_id=plan.call_control_id,
            call_session_id=SESSION_ID,
            from_="+13122010094",
            to="+13122123456",
            tags=None,
            client_state=None,
            custom_parameters=plan.start_parameters,
            media_format=messages.MediaFormat(
                plan.codec, plan.announced_rate_hz or plan.in_rate_hz
            ),
        )

    # What runs in tasks.

    async def _open(self) -> None:
        token = self.plan.token
        began_s = time.monotonic()
        self._ws = await connect(
            self._url,
            additional_headers={messages.TOKEN_HEADER: token} if token is not None else None,
            compression=None,
            open_timeout=CONNECT_TIMEOUT_S,
            close_timeout=CLOSE_TIMEOUT_S,
            ping_interval=None,
            max_size=None,
            user_agent_header=None,
            proxy=None,
        )
        if self.record.setup_s is None:
            self._origin_s = time.monotonic()
            self._started_at = datetime.now(UTC)
            self.record.setup_s = self._origin_s - began_s
        if self._greet:
            await self.greet()
        self._on_line.set()

    async def _listen(self) -> None:
        """Read the server's messages, on the socket that the call has at the time."""
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
            self._end()
            self._look()

    def _end(self) -> None:
        if self.record.ended_s is None:
            self.record.ended_s = self.now()
        self.over.set()

    async def _take(self, message: str | bytes) -> None:
        ear = self.intake.ear
        due_before = ear.next_due()
        answer = self.intake.accept(message, self.now())
        for name in answer.cleared_marks:
            await self._give(name, cleared=True)
        if answer.complaint is not None:
            await self._complain(answer.complaint)
        if ear.next_due() != due_before:
            self._marks_changed.set()
        if self._is_stopped_by_raw_audio():
            self.over.set()
        self._look()

    def _is_stopped_by_raw_audio(self) -> bool:
        """Whether raw audio in mp3 mode ends the stream now, as users have reported."""
        if self.plan.raw_in_mp3 != "stop":
            return False
        return NOT_MP3 in self.intake.silent and len(self.record.sent) >= STOPPED_AFTER_CHUNKS

    async def _complain(self, complaint: Complaint) -> None:
        self.record.complaints.append(complaint)
        code, detail = complaint
        shape = self.plan.error_shape
        await self.send(messages.error(self.next_sequence(), code, detail, self.stream_id, shape))

    async def _give_marks(self) -> None:
        """Return each mark when the audio before it has been heard."""
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
        if self.over.is_set():
            return
        self.record.marks.append(ReturnedMark(self.now(), name, cleared))
        await self.send(messages.mark(self.next_sequence(), name, self.stream_id))
        self._look()

    def _look(self) -> None:
        """Wake the waiters whose condition is true now."""
        for check, waiter in self._waiters:
            if not waiter.done() and check():
                waiter.set_result(None)

    async def _send_media(self, sequence: int, chunk: int, sent: SentChunk, payload: str) -> None:
        # Whoever hangs up does so between two steps of the script: nothing follows a stop.
        if self.over.is_set():
            return
        self.record.sent.append(sent)
        at_ms = round(sent.due_s * 1000)
        await self.send(messages.media(sequence, sent.track, chunk, at_ms, payload, self.stream_id))
        if self._is_stopped_by_raw_audio():
            self.over.set()
