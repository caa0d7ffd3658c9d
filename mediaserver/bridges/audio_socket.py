"""``AudioSocket``: one WebSocket to a speech service, for as long as a call lasts."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from time import monotonic
from types import TracebackType
from typing import Any, Self

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from mediaserver.bridges.connecting import TryAgainError, open_connection, why_closed
from mediaserver.bridges.errors import ServiceDownError, ServiceError, ServiceRefusedError
from mediaserver.bridges.outbox import Outbox
from mediaserver.bridges.pcm import BadAudioError, to_pcm
from mediaserver.bridges.retries import Limits, Retries
from mediaserver.errors import CallEndedError
from mediaserver.logs import shown
from mediaserver.media.frames import Int16Array, Track
from mediaserver.processors.api import Call
from telephony_codecs import Resampler

# A service that says so many things in a row that are no messages is taken for another one.
MAX_ODD = 20
IDLE_S = 4.0
WATCHES_A_LIMIT = 20


class AudioSocket:
    """A connection to a speech service; a base class for your own services.

    Use it with ``async with``: inside the block the caller's audio goes to the service. After a
    lost connection it reconnects, and then sends the audio that came meanwhile. If the service
    is down for good, the block is left with a ``ServiceError``. When the call is over, the
    service may send its last messages, and the connection is closed.

    A subclass defines what is sent and read: ``opened``, ``encode``, ``received``, ``lost``,
    ``unanswered``, ``finish``, ``ended``.

    Args:
        call: the call.
        url: ``wss://…``.
        headers: of the handshake, the key among them.
        secret: the key: it is removed from all that is logged.
        rate: of the audio that the service wants, in Hz; None: it is sent no audio.
        track: which track it hears.
        limits: how long a caller is to wait for it.

    Attributes:
        service: its name, for logs and errors.
        idle_message: sent when nothing else was sent for 4 s; None: no such message.
    """

    service: str = "speech service"
    idle_message: str | None = None

    def __init__(
        self,
        call: Call,
        url: str,
        headers: Mapping[str, str],
        secret: str,
        *,
        rate: int | None = None,
        track: Track = "inbound",
        limits: Limits | None = None,
    ) -> None:
        self.call = call
        self.limits: Limits = limits or Limits()
        self._url, self._headers, self._secret = url, dict(headers), secret
        self._rate, self._track = rate, track
        self._outbox = Outbox(self.limits.queue_s)
        self._resampler: Resampler | None = None
        self._wake, self._over = asyncio.Event(), asyncio.Event()
        self._taken_s = 0.0
        self._due_at: float | None = None
        self._has_worked, self._n_odd = False, 0
        self._task: asyncio.Task[None] | None = None
        self._owner: asyncio.Task[Any] | None = None
        self._has_interrupted = False
        package_call: Any = call  # what only processors of the package may ask of a call
        self.count: Callable[[str], None] = package_call.count

    # What a subclass says.

    async def opened(self, connection: ClientConnection) -> None:
        """A connection is there: what is sent here goes before all that waits."""

    def encode(self, samples: Int16Array) -> str | bytes:
        """Return audio as the service wants it, int16 ``(n,)`` at ``rate``: raw octets."""
        return to_pcm(samples)

    async def received(self, message: dict[str, Any]) -> None:
        """The service said something. A ``msgspec.ValidationError`` counts as an odd message."""

    def lost(self) -> None:
        """A connection is gone, with what was sent on it; another try may follow."""

    def unanswered(self) -> Exception:
        """Return what to raise when an answer is overdue: the service is down."""
        return ServiceDownError(self.service, "it is connected, but does not answer")

    def finish(self) -> bool:
        """The call is over: send a last message; return whether the service will answer it."""
        return False

    def ended(self) -> None:
        """Nothing comes any more."""

    # What a subclass and a user call.

    @property
    def at_s(self) -> float:
        """Seconds of the caller's audio that have been sent, or given up."""
        return self._taken_s - self._outbox.audio_s

    @property
    def dropped_s(self) -> float:
        """Seconds of the caller's audio that the service never got."""
        return self._outbox.dropped_s

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a JSON object behind all that waits.

        Raises:
            ServiceDownError: a thousand messages wait.
        """
        if not self._outbox.put(msgspec.json.encode(message).decode()):
            raise ServiceDownError(self.service, "it does not read what is sent")
        self._wake.set()

    def send_audio(self, samples: Int16Array, rate: int) -> None:
        """Send audio, int16 ``(n,)``; if too much waits, the oldest is dropped and counted."""
        assert self._rate is not None, "this service hears nothing"
        if rate != self._rate:
            if self._resampler is None or self._resampler.in_hz != rate:
                self._resampler = Resampler(rate, self._rate)
            samples = self._resampler.process(samples)
        seconds = len(samples) / self._rate
        self._taken_s += seconds
        n_dropped = self._outbox.put_audio(self.encode(samples), seconds)
        for _ in range(n_dropped):
            self.count("bridge_audio_dropped")
        self._wake.set()

    def expect_answer(self) -> None:
        """An answer is due: without ``answered()`` within ``answer_s`` the service is down."""
        if self._due_at is None:
            self._due_at = monotonic() + self.limits.answer_s

    def answered(self) -> None:
        """No answer is due."""
        self._due_at = None

    def warn(self, text: str) -> None:
        """Log a warning about the call; the key is taken out."""
        self.call.log.warning("%s: %s", self.service, self._clean(text))

    def _clean(self, text: str) -> str:
        return shown(text.replace(self._secret, "…") if self._secret else text)

    async def finished(self) -> None:
        """Wait until the call is over."""
        assert self._task is not None, "it is to be used in `async with`"
        await asyncio.wait([self._task])

    # Holding it.

    async def __aenter__(self) -> Self:
        self._owner = asyncio.current_task()
        self._task = asyncio.create_task(self._run(), name=f"{self.service} {self.call.id}")
        self._task.add_done_callback(self._interrupt)
        return self

    def _interrupt(self, task: asyncio.Task[None]) -> None:
        """The service is down: leave the block, which may wait for anything."""
        failed = not task.cancelled() and task.exception() is not None
        if failed and self._owner is not None:
            self._has_interrupted = True
            self._owner.cancel()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        owner, self._owner = self._owner, None
        task = self._task
        assert owner is not None
        assert task is not None
        self._over.set()
        if kind is not None and not issubclass(kind, CallEndedError):
            task.cancel()
        try:
            await asyncio.wait([task])
        finally:
            task.cancel()  # where this was cancelled
        failure = None if task.cancelled() else task.exception()
        # A cancellation that came from elsewhere as well goes on; so does another error.
        if self._has_interrupted and owner.uncancel() > 0:
            return
        is_ours = kind is None or (self._has_interrupted and kind is asyncio.CancelledError)
        if failure is not None and is_ours:
            raise failure from None

    async def _run(self) -> None:
        feed = asyncio.create_task(self._feed())
        try:
            await self._hold()
            if feed.done():
                feed.result()  # raises what a subclass's ``encode`` raised
        except ServiceRefusedError:
            self.count("bridge_refused")
            raise
        except ServiceError:
            self.count("bridge_down")
            raise
        finally:
            feed.cancel()
            await asyncio.wait([feed])
            # It holds the reader of the call's frames, and an error's traceback would hold it.
            del feed
            self.ended()

    async def _feed(self) -> None:
        """Take in the caller's audio until the call is over."""
        try:
            if self._rate is None:
                async for _ in self.call.events():
                    pass
            else:
                async for frame in self.call.frames(self._track):
                    self.send_audio(frame.samples, frame.rate)
        finally:
            self._over.set()

    async def _hold(self) -> None:
        """Be connected until the call is over."""
        retries = Retries(self.limits, monotonic())
        while not self._over.is_set():
            why, asked_s, self._has_worked = "", 0.0, False
            connection = None
            try:
                connection = await self._connect(retries.left_s(monotonic()))
                if connection is not None:
                    why = await self._use(connection)
            except TryAgainError as error:
                why, asked_s = str(error), error.asked_s
            if not self._over.is_set():
                if connection is not None:
                    self._due_at = None
                    self._outbox.forget_messages()
                    self.lost()
                await self._wait(retries, why, asked_s)

    async def _connect(self, left_s: float) -> ClientConnection | None:
        """Return a connection, or None where the call is over."""
        within_s = min(self.limits.connect_s, left_s)
        attempt = asyncio.create_task(
            open_connection(self.service, self._url, self._headers, self.limits.close_s, within_s)
        )
        over = asyncio.create_task(self._over.wait())
        try:
            await asyncio.wait([attempt, over], return_when=asyncio.FIRST_COMPLETED)
            return await attempt if attempt.done() else None
        finally:
            attempt.cancel()
            over.cancel()

    async def _wait(self, retries: Retries, why: str, asked_s: float) -> None:
        """Wait for the next try; a ServiceDownError where there is none."""
        self.count("bridge_lost")
        wait_s = retries.lost(
            monotonic(), worked=self._has_worked, chance=random.random(), asked_s=asked_s
        )
        if wait_s is None:
            raise ServiceDownError(self.service, self._clean(why))
        self.warn(f"{why}; another try in {wait_s:.1f} s")
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._over.wait()

    async def _use(self, connection: ClientConnection) -> str:
        """Speak over a connection until it or the call is over; return how it ended."""
        receiving = asyncio.create_task(self._receive(connection))
        over = asyncio.create_task(self._over.wait())
        others = [asyncio.create_task(self._send(connection)), asyncio.create_task(self._watch())]
        jobs = [receiving, over, *others]
        try:
            await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
            if over.done() and not receiving.done() and self.finish():
                await asyncio.wait([receiving], timeout=self.limits.close_s)
        finally:
            for job in jobs:
                job.cancel()
            ends = await asyncio.gather(*jobs, return_exceptions=True)
            await _close(connection)
        for end in ends:
            if isinstance(end, Exception) and not isinstance(end, ConnectionClosed | OSError):
                raise end
        return why_closed(connection)

    async def _send(self, connection: ClientConnection) -> None:
        await self.opened(connection)
        while True:
            while (data := self._outbox.take()) is not None:
                await connection.send(data)
            self._wake.clear()
            try:
                async with asyncio.timeout(IDLE_S):
                    await self._wake.wait()
            except TimeoutError:
                if self.idle_message is not None:
                    await connection.send(self.idle_message)

    async def _receive(self, connection: ClientConnection) -> None:
        with suppress(ConnectionClosed):
            while True:
                data = await connection.recv()
                try:
                    message = msgspec.json.decode(data)
                    if not isinstance(message, dict):
                        raise msgspec.ValidationError("it is no object")
                    await self.received(message)
                except (msgspec.DecodeError, BadAudioError, UnicodeDecodeError) as error:
                    self._odd(str(error))
                else:
                    self._has_worked, self._n_odd = True, 0

    def _odd(self, why: str) -> None:
        """A message that cannot be used is left out."""
        self.count("bridge_odd")
        self._n_odd += 1
        if self._n_odd == 1:
            self.warn(f"a message that cannot be read was left out: {why}")
        if self._n_odd >= MAX_ODD:
            raise ServiceDownError(self.service, "what it says cannot be read")

    async def _watch(self) -> None:
        """Raise where an answer is due for too long."""
        while True:
            await asyncio.sleep(self.limits.answer_s / WATCHES_A_LIMIT)
            if self._due_at is not None and monotonic() > self._due_at:
                raise self.unanswered()


async def _close(connection: ClientConnection) -> None:
    """End a connection; at once where nobody may wait any more."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        connection.transport.abort()
    else:
        await connection.close()
