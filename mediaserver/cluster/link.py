"""Questions and answers over a Unix socket, both ways."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import struct
from collections.abc import Awaitable, Callable

import msgspec

from mediaserver.errors import MediaServerError
from mediaserver.logs import LimitedLog, shown

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

Answer = Callable[[str, bytes], Awaitable[bytes]]

MAX_BYTES = 64 << 20
_LENGTH = struct.Struct("!I")


class LinkError(MediaServerError):
    """The other side is gone, does not answer in time, or could not answer."""


class _Message(msgspec.Struct, frozen=True, array_like=True):
    """A question (with its word), or an answer (without one); ``failed``: why there is none."""

    number: int
    word: str = ""
    body: bytes = b""
    failed: str = ""


_read = msgspec.msgpack.Decoder(_Message).decode
_write = msgspec.msgpack.encode


class Link:
    """One connection. **Call ``run``, which ends with it; meanwhile ``ask``.**

    Args:
        reader: of the socket.
        writer: of the socket.
        answer: answers what the other side asks.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer
    ) -> None:
        self._reader, self._writer = reader, writer
        self._answer = answer
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Read until the other side is gone."""
        try:
            while True:
                head = await self._reader.readexactly(_LENGTH.size)
                (length,) = _LENGTH.unpack(head)
                if length > MAX_BYTES:
                    return
                self._take(_read(await self._reader.readexactly(length)))
        except (OSError, asyncio.IncompleteReadError, msgspec.MsgspecError):
            return
        finally:
            self.close()

    def close(self) -> None:
        """End it; whoever waits for an answer gets a ``LinkError``."""
        self._writer.close()
        for task in self._tasks:
            task.cancel()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(LinkError("the other side is gone"))
        self._waiting.clear()

    async def ask(self, word: str, body: bytes = b"", within_s: float = 2.0) -> bytes:
        """The other side's answer.

        Raises:
            LinkError: there is none.
        """
        if self._writer.is_closing():
            raise LinkError("the other side is gone")
        number = next(self._numbers)
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._send(_Message(number, word, body))
        try:
            return await asyncio.wait_for(waiting, within_s)
        except TimeoutError:
            raise LinkError(f"no answer within {within_s:g} s") from None
        finally:
            self._waiting.pop(number, None)

    def _send(self, message: _Message) -> None:
        body = _write(message)
        if not self._writer.is_closing():
            self._writer.write(_LENGTH.pack(len(body)) + body)

    def _take(self, message: _Message) -> None:
        if message.word:
            task = asyncio.create_task(self._reply(message))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        waiting = self._waiting.get(message.number)
        if waiting is None or waiting.done():
            return
        if message.failed:
            waiting.set_exception(LinkError(message.failed))
        else:
            waiting.set_result(message.body)

    async def _reply(self, message: _Message) -> None:
        try:
            answered = _Message(message.number, "", await self._answer(message.word, message.body))
        except Exception as exc:  # whatever it is, the other side must not wait for it
            limited.warning("cluster questions failed", "%s failed: %s", message.word, shown(exc))
            answered = _Message(message.number, failed=shown(exc) or type(exc).__name__)
        self._send(answered)


async def listen(
    path: str, connected: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
) -> asyncio.Server:
    """Wait at a Unix socket for processes of this user; a file that a dead one left is replaced.

    Raises:
        OSError: the path cannot be had.
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    mask = os.umask(0o177)
    try:
        return await asyncio.start_unix_server(connected, path)
    finally:
        os.umask(mask)
