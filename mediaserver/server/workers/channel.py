"""Messages and open sockets between a server and its workers.

A stream of pickles, each behind its length, over a Unix socket pair between processes of
one program; a message may bring a descriptor along. Nothing blocks: what the other side
does not take yet is queued, and ``is_full`` says when that is too much.
"""

from __future__ import annotations

import array
import asyncio
import logging
import os
import pickle
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)

# Some calls' beginnings, each with up to a message's worth of octets behind its start.
MAX_QUEUED_BYTES = 4 << 20
_READ_BYTES = 64 * 1024
_HEAD = struct.Struct("!I?")
# So that no program that a processor starts inherits a call; not every system has the flag.
_CLOEXEC: int = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class Channel:
    """One end of a socket pair, on the running loop.

    Args:
        end: a connected Unix stream socket; the channel owns it from now on.
        received: called with each message and the descriptor that came with it, or None:
            also where one was lost because this process has too many open.
        ended: called once, when the other side is gone.
    """

    def __init__(
        self,
        end: socket.socket,
        received: Callable[[Any, int | None], None],
        ended: Callable[[], None],
    ) -> None:
        end.setblocking(False)
        self._end = end
        self._on_message = received
        self._on_end = ended
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

    def send(self, message: object, fd: int | None = None) -> None:
        """Send a message, and with it a descriptor, which is closed here once it is sent.

        After the other side's end it does nothing.

        Raises:
            PickleError, RecursionError: the message cannot be pickled; ``fd`` stays open.
        """
        body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        if self._closed:
            _close(fd)
            return
        packet = memoryview(_HEAD.pack(len(body), fd is not None) + body)
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
                logger.warning("a channel broke: %s", exc)
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

    def _next(self) -> bool:
        """Deliver one message, if there is a whole one."""
        if len(self._read) < _HEAD.size:
            return False
        n, has_fd = _HEAD.unpack_from(self._read)
        if len(self._read) < _HEAD.size + n:
            return False
        body = bytes(self._read[_HEAD.size : _HEAD.size + n])
        del self._read[: _HEAD.size + n]
        fd = self._fds.popleft() if has_fd else None
        message = pickle.loads(body)
        try:
            self._on_message(message, fd)
        except Exception:  # as an event loop does: the next message is another call's
            logger.exception("a message failed: %s", type(message).__name__)
        return True

    def _over(self) -> None:
        if not self._closed:
            self.close()
            self._on_end()


def send_last(end: socket.socket, message: object) -> None:
    """Send a message where there is no channel, waiting until it is taken."""
    body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    end.sendall(_HEAD.pack(len(body), False) + body)


def receive_first(end: socket.socket) -> Any:
    """The first message, waited for.

    Raises:
        EOFError: the other side is gone.
    """
    n, _ = _HEAD.unpack(_exactly(end, _HEAD.size))
    return pickle.loads(_exactly(end, n))


def _exactly(end: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = end.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data


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
