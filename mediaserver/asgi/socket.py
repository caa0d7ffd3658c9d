"""One WebSocket by ASGI, as a media connection wants it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from time import monotonic
from typing import Any

from starlette.types import Receive, Send

from mediaserver.logs import address
from mediaserver.server.sockets.deadline import Deadline
from mediaserver.server.sockets.frames.websocket import LONG_TEXT_BYTES, MAX_MESSAGE_BYTES
from mediaserver.server.sockets.media_socket import (
    BLOCKED_FOR_S,
    CLOSE_WITHIN_S,
    WRITE_HIGH_BYTES,
    Connection,
    Pings,
)

# Behind it the host has a buffer of its own.
QUEUE_HIGH_BYTES = WRITE_HIGH_BYTES // 2

# The length of a WebSocket frame's head, by its second octet; the host makes heads itself.
_HEADS = {126: 4, 127: 10}


class AsgiSocket:
    """Messages between a host and a media connection; a ``media_socket.Socket``.

    **Call ``run`` once; it returns when the socket is gone.** What is sent goes to a queue, which
    a task of its own empties: ASGI waits where the peer reads slowly, and a call does not.

    Args:
        connection: who hears the messages and the end.
        client: host and port of the peer, for logs; None where the host does not know.
        receive: of ASGI; ``websocket.connect`` has come.
        send: of ASGI.
        pings: how often to look whether the peer is still there; pings are the host's.
    """

    def __init__(
        self,
        connection: Connection,
        client: tuple[str, int] | None,
        receive: Receive,
        send: Send,
        pings: Pings,
    ) -> None:
        self.peer: str = address(client)
        self._connection = connection
        self._receive = receive
        self._send = send
        self._look_every_s = pings.every_s
        self._max_bytes = MAX_MESSAGE_BYTES
        self._queue: deque[str] = deque()
        self._n_bytes = 0
        self._wake: asyncio.Future[None] | None = None
        self._is_blocked = False
        self._closing: tuple[int, str] | None = None
        self._hears = True
        self._heard_at = monotonic()
        self._timers: dict[str, Deadline] = {}
        self._task: asyncio.Task[Any] | None = None
        self._is_aborted = False

    octets: tuple[int, int] = (0, 0)  # only the host knows

    async def run(self) -> None:
        """Accept, and carry messages until the socket is gone."""
        self._task = asyncio.current_task()
        writer = asyncio.create_task(self._write_all())
        code, reason = 1006, ""
        try:
            await self._send({"type": "websocket.accept"})
            self._connection.opened(self)
            self._later("look", self._look_every_s, self._look)
            code, reason = await self._read_all()
        except asyncio.CancelledError:
            if not self._is_aborted:
                raise
        except OSError:
            pass  # the peer was gone before it was accepted
        finally:
            for name in list(self._timers):
                self._cancel(name)
            writer.cancel()
            self._stop_sending()
            # What was closed here is told as it was closed, whatever the host makes of it.
            code, reason = self._closing or (code, reason)
            self._connection.socket_closed(code, reason)

    def limit_messages(self, n_bytes: int) -> None:
        """From now on a longer message closes the socket with 1009."""
        self._max_bytes = n_bytes

    def read_by_poller(self) -> None:
        """The host reads."""

    def send_text(self, data: bytes) -> None:
        """Send a text message."""
        if self._closing is not None:
            return
        self._queue.append(data.decode())
        self._n_bytes += len(data)
        if self._n_bytes > QUEUE_HIGH_BYTES and not self._is_blocked:
            self._is_blocked = True
            self._connection.writing_blocked(True)
            self._later("blocked", BLOCKED_FOR_S, self.abort)
        self._wake_up()

    def write(self, data: bytes) -> None:
        """Send a text message that has the head of its WebSocket frame already."""
        self.send_text(data[_HEADS.get(data[1], 2) :])

    def close(self, code: int, reason: str = "") -> None:
        """Close it behind what was sent; it is gone within 5 s."""
        if self._closing is not None:
            return
        self._closing = code, reason
        self._connection.closing()
        self._later("close", CLOSE_WITHIN_S, self.abort)
        self._wake_up()

    def fail(self, code: int, reason: str) -> None:
        """Close for the peer's fault: what it still sends is not looked at."""
        self._hears = False
        self.close(code, reason)

    def abort(self) -> None:
        """End it now; the host closes what is left."""
        if self._task is not None and not self._task.done():
            self._is_aborted = True
            self._task.cancel()

    async def _read_all(self) -> tuple[int, str]:
        """Hand on what comes; code and reason of the end."""
        receive = self._receive
        while True:
            message = await receive()
            now = self._heard_at = monotonic()
            if message["type"] == "websocket.disconnect":
                return message.get("code") or 1005, message.get("reason") or ""
            if self._hears:
                self._received(message.get("text"), message.get("bytes"), now)

    def _received(self, text: str | None, octets: bytes | None, now: float) -> None:
        data = text.encode() if text is not None else octets or b""
        if len(data) > self._max_bytes:
            self.fail(1009, "the message is too long")
        elif text is None:
            self._connection.binary_received(now)
        elif len(data) > LONG_TEXT_BYTES:
            self._connection.long_text_received(data, now)
        else:
            self._connection.text_received(data, now)

    async def _write_all(self) -> None:
        """Send what is queued, and the close behind it."""
        queue, send = self._queue, self._send
        # The host's own errors of a peer that is gone; the reader hears of that, too.
        with contextlib.suppress(Exception):
            while True:
                while queue:
                    text = queue.popleft()
                    await send({"type": "websocket.send", "text": text})
                    self._n_bytes -= len(text)  # only now: a host that is full keeps it waiting
                    self._unblock()
                if self._closing is not None:
                    code, reason = self._closing
                    await send({"type": "websocket.close", "code": code, "reason": reason[:120]})
                    return
                self._wake = asyncio.get_running_loop().create_future()
                await self._wake

    def _wake_up(self) -> None:
        wake, self._wake = self._wake, None
        if wake is not None and not wake.done():
            wake.set_result(None)

    def _unblock(self) -> None:
        if self._is_blocked and self._n_bytes < QUEUE_HIGH_BYTES // 4:
            self._is_blocked = False
            self._cancel("blocked")
            self._connection.writing_blocked(False)

    def _stop_sending(self) -> None:
        if self._closing is None:
            self._connection.closing()

    def _look(self) -> None:
        """End a socket of which nothing has come for too long."""
        limit_s = self._connection.may_be_silent_s
        if limit_s is not None and monotonic() - self._heard_at >= limit_s:
            self.abort()
            return
        self._later("look", self._look_every_s, self._look)

    def _later(self, name: str, delay_s: float, action: Any) -> None:
        self._cancel(name)
        self._timers[name] = Deadline(delay_s, action)

    def _cancel(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()
