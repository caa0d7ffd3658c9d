"""Messages and open sockets between a process and its child.

Frames over a Unix socket pair: a length, whether a descriptor comes along, and a message in
MessagePack. A message is a tagged ``msgspec`` struct, and only the types that an end was
made for are accepted there. Nothing blocks: what the other side does not take yet is
queued, and ``is_full`` says when that is too much.
"""

from __future__ import annotations

import array
import asyncio
import logging
import os
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from mediaserver.errors import MediaServerError
from mediaserver.logs import LimitedLog, shown

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

# Some calls' beginnings, each with up to a message's worth of octets behind its start.
MAX_QUEUED_BYTES = 4 << 20
# A longer frame is not sent, and ends the channel where it is announced: it would be kept
# in memory while it comes.
MAX_MESSAGE_BYTES = 64 << 20
# A descriptor waits here for the rest of its own message only: no more than one can wait,
# unless the other side sends descriptors without messages.
MAX_WAITING_FDS = 8
_READ_BYTES = 64 * 1024
_HEAD = struct.Struct("!I?")
# So that no program that a processor starts inherits a call; not every system has the flag.
_CLOEXEC: int = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class UnsendableError(MediaServerError):
    """A message cannot be encoded.

    Attributes:
        kind: the class of the message.
        reason: what is wrong, without the message's content.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(kind, reason)
        self.kind = kind
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.kind} cannot be sent: {self.reason}"


class Channel:
    """One end of a socket pair, on the running loop.

    Args:
        end: a connected Unix stream socket; the channel owns it from now on.
        types: the message types that may come: a tagged struct, or a union of some.
        received: called with each message and the descriptor that came with it, or None:
            also where one was lost because this process has too many open.
        ended: called once, when the other side is gone, or sends what is no frame.
        name: who is at the other side, for the log.

    Attributes:
        n_malformed: frames that held no message of ``types``; they are dropped.
    """

    def __init__(
        self,
        end: socket.socket,
        types: Any,
        received: Callable[[Any, int | None], None],
        ended: Callable[[], None],
        name: str = "other side",
    ) -> None:
        end.setblocking(False)
        self.n_malformed: int = 0
        self._end = end
        self._decoder = msgspec.msgpack.Decoder(types)
        self._on_message = received
        self._on_end = ended
        self._name = name
        self._loop = asyncio.get_running_loop()
        # The kernel passes the descriptors of one sendmsg() at a time, and ours has one at most.
        self._room = socket.CMSG_SPACE(array.array("i").itemsize)
        self._read = bytearray()
        self._fds: deque[int | None] = deque()
        self._unsent: deque[tuple[memoryview, int | None]] = deque()
        self._n_unsent = 0
        self._closed = False
        self._flushed = asyncio.Event()
        self._flushed.set()
        self._loop.add_reader(end, self._readable)

    @property
    def is_full(self) -> bool:
        """The other side has not taken what was sent for so long that no more should be."""
        return self._n_unsent >= MAX_QUEUED_BYTES

    @property
    def is_flushed(self) -> bool:
        """Everything has been sent."""
        return self._flushed.is_set()

    async def flushed(self) -> None:
        """Wait until everything has been sent, or the other side is gone."""
        await self._flushed.wait()

    def send(self, message: msgspec.Struct, fd: int | None = None) -> None:
        """Send a message, and with it a descriptor, which is closed here once it is sent.

        After the other side's end it does nothing.

        Raises:
            UnsendableError: the message cannot be encoded; ``fd`` stays open.
        """
        packet = memoryview(encode(message, has_fd=fd is not None))
        if self._closed:
            _close(fd)
            return
        self._unsent.append((packet, fd))
        self._n_unsent += len(packet)
        if len(self._unsent) == 1:
            self._flushed.clear()
            self._writable()

    def close(self) -> None:
        """Send and receive no more."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._end)
        self._loop.remove_writer(self._end)
        self._end.close()
        for _, fd in self._unsent:
            _close(fd)
        for fd in self._fds:
            _close(fd)
        self._unsent.clear()
        self._flushed.set()

    def _writable(self) -> None:
        """Send what the socket takes."""
        while self._unsent:
            packet, fd = self._unsent[0]
            with_fd = [] if fd is None else [_rights(fd)]
            try:
                n = self._end.sendmsg([packet], with_fd)
            except (BlockingIOError, InterruptedError):
                self._loop.add_writer(self._end, self._writable)
                return
            except OSError as exc:  # also where the system is out of descriptors in flight
                limited.warning("channels broken", "%s: the channel broke: %s", self._name, exc)
                self._over()
                return
            _close(fd)  # the kernel holds it now: it goes with the first octet
            self._n_unsent -= n
            if n < len(packet):
                self._unsent[0] = packet[n:], None
            else:
                self._unsent.popleft()
        self._loop.remove_writer(self._end)
        self._flushed.set()

    def _readable(self) -> None:
        try:
            data, rights, flags, _ = self._end.recvmsg(_READ_BYTES, self._room, _CLOEXEC)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data, rights, flags = b"", [], 0
        came = _fds(rights)
        self._fds += came
        if flags & socket.MSG_CTRUNC and not came:
            self._fds.append(None)  # else the next message would get another one's socket
        if not data:
            self._over()
            return
        self._read += data
        while not self._closed and self._next():
            pass
        if len(self._fds) > MAX_WAITING_FDS:
            self._break("descriptors without messages")

    def _next(self) -> bool:
        """Deliver one message, if there is a whole one."""
        if len(self._read) < _HEAD.size:
            return False
        n, has_fd = _HEAD.unpack_from(self._read)
        if n > MAX_MESSAGE_BYTES:
            self._break(f"a frame of {n} octets")
            return False
        if len(self._read) < _HEAD.size + n:
            return False
        body = bytes(self._read[_HEAD.size : _HEAD.size + n])
        del self._read[: _HEAD.size + n]
        fd = self._fds.popleft() if has_fd and self._fds else None
        try:
            message = self._decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
            _close(fd)
            self.n_malformed += 1
            text = "%s: message %d is malformed: %s"
            limited.error("malformed messages", text, self._name, self.n_malformed, shown(exc, 300))
            return True
        try:
            self._on_message(message, fd)
        except Exception as exc:  # as an event loop does: the next message is another call's
            text, what = "%s: a message failed: %s", type(message).__name__
            limited.error("messages that failed", text, self._name, what, exc_info=exc)
        return True

    def _break(self, what: str) -> None:
        text = "%s: the channel is closed, for it brought %s"
        limited.error("channels closed", text, self._name, what)
        self._over()

    def _over(self) -> None:
        if not self._closed:
            self.close()
            self._on_end()


def encode(message: msgspec.Struct, *, has_fd: bool = False) -> bytes:
    """A message as a frame.

    Raises:
        UnsendableError: it holds what MessagePack cannot, or is too long.
    """
    kind = type(message).__name__
    try:
        body = msgspec.msgpack.encode(message)
    # OverflowError: a number beyond 64 bits; ValueError: a text with lone surrogates.
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as exc:
        raise UnsendableError(kind, str(exc)) from exc
    if len(body) > MAX_MESSAGE_BYTES:
        raise UnsendableError(kind, f"{len(body)} octets are too many")
    return _HEAD.pack(len(body), has_fd) + body


def send_blocking(end: socket.socket, message: msgspec.Struct) -> None:
    """Send a message where there is no channel, waiting until it is taken.

    Raises:
        UnsendableError: the message cannot be encoded.
        OSError: the other side is gone.
    """
    end.sendall(encode(message))


def receive_blocking(end: socket.socket, types: Any) -> Any:
    """The next message, waited for where there is no channel.

    Raises:
        EOFError: the other side is gone.
        msgspec.MsgspecError: it is no message of ``types``.
    """
    n, _ = _HEAD.unpack(_exactly(end, _HEAD.size))
    return msgspec.msgpack.decode(_exactly(end, n), type=types)


def receive_with_fd(end: socket.socket, types: Any) -> tuple[Any, int | None]:
    """The next message and the descriptor that came with it, waited for; see ``Channel``.

    Raises:
        EOFError: the other side is gone.
        msgspec.MsgspecError: it is no message of ``types``.
    """
    # A descriptor comes with the first octet of its message.
    head, rights, _, _ = end.recvmsg(1, socket.CMSG_SPACE(4), _CLOEXEC)
    if not head:
        raise EOFError
    came = _fds(rights)
    n, _ = _HEAD.unpack(head + _exactly(end, _HEAD.size - 1))
    message = msgspec.msgpack.decode(_exactly(end, n), type=types)
    return message, came[0] if came else None


def _exactly(end: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        try:
            more = end.recv(size - len(data))
        except ConnectionError:
            more = b""
        if not more:
            raise EOFError
        data += more
    return bytes(data)


def _rights(fd: int) -> tuple[int, int, array.array[int]]:
    return socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd])


def _fds(rights: list[tuple[int, int, bytes]]) -> list[int]:
    """The descriptors in what came beside the data."""
    came = array.array("i")
    for level, kind, data in rights:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            came.frombytes(data[: len(data) - len(data) % came.itemsize])
    for fd in came:
        os.set_inheritable(fd, False)
    return list(came)


def _close(fd: int | None) -> None:
    if fd is not None:
        os.close(fd)
