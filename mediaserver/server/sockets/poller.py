"""Reads many sockets together: what came within a moment is handled in one go.

Frames that come one by one are each met by a processor whose near caches the kernel has
filled with its own code in the meantime, and fetching ours again costs more than running
it. So where there are many frames they are taken in three steps, each of which stays warm:
read from several sockets, handle what was read, write what came of it. The price is the
wait: up to the period set and the millisecond by which an event loop rounds it up
(``benchmarks/frame_cost.py`` shows both sides).

Two states. *Woken*: the event loop watches the epoll descriptor, and every arrival is
handled at once. *Ticking*: nobody watches; it is looked at once a period.

  woken    at least ``_BUSY`` frames a period came         → ticking
  ticking  fewer than ``_QUIET`` frames a period came      → woken
"""

from __future__ import annotations

import asyncio
import os
import select
import sys
from time import monotonic

from mediaserver.interrupts import is_operators

# Elsewhere each transport reads for itself.
AVAILABLE = sys.platform == "linux"

# Frames of one read-handle-write: enough for all to be warm, few enough that the first
# reply does not wait long for the last frame.
_TOGETHER = 16
# Rounds before the event loop has its turn.
_ROUNDS = 16
_READ_BYTES = 8192
_BUSY = 2.0
_QUIET = 1.0
# Periods over which frames are counted.
_WINDOW = 16


class SocketPoller:
    """Reads for transports, in turn with all others of this poller.

    Args:
        period_s: how often to look while there is much to read.

    Attributes:
        handling: what was read is being handled; what comes of it goes to ``unwritten``.
        unwritten: octets and the transports to write them to.
    """

    def __init__(self, period_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._period_s = period_s
        self._epoll = select.epoll()
        self._read_by: dict[int, tuple[asyncio.Transport, asyncio.Protocol]] = {}
        self.handling: bool = False
        self.unwritten: list[tuple[asyncio.Transport, bytes]] = []
        self._frames = 0
        self._ticks = 0
        self._since = monotonic()
        self._timer: asyncio.TimerHandle | None = None
        self._loop.add_reader(self._epoll.fileno(), self._woken)

    @property
    def is_ticking(self) -> bool:
        """It looks once a period, and is not woken by each arrival."""
        return self._timer is not None

    def add(self, transport: asyncio.Transport, protocol: asyncio.Protocol) -> int:
        """Read for ``transport`` from now on, which itself reads no more; a key for ``remove``.

        Args:
            transport: a TCP connection that reads.
            protocol: its protocol, which hears of data, the stream's end and an error as ever.
        """
        fd: int = transport.get_extra_info("socket").fileno()
        transport.pause_reading()
        self._epoll.register(fd, select.EPOLLIN)
        self._read_by[fd] = transport, protocol
        return fd

    def remove(self, key: int) -> None:
        """Read for it no more; must come before its descriptor is closed."""
        if self._read_by.pop(key, None) is not None:
            self._epoll.unregister(key)

    def flush(self) -> None:
        """Write what waits."""
        unwritten, self.unwritten = self.unwritten, []
        for transport, data in unwritten:
            if not transport.is_closing():  # else its protocol hears of the end by itself
                transport.write(data)

    def close(self) -> None:
        """Look no more; who is left reads for itself. Twice does nothing."""
        if self._epoll.closed:
            return
        for fd, (transport, _) in list(self._read_by.items()):
            self.remove(fd)
            if not transport.is_closing():
                transport.resume_reading()
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    def _woken(self) -> None:
        self._take()
        if self._frames >= _WINDOW * _BUSY and self._rate(monotonic()) >= _BUSY:
            self._loop.remove_reader(self._epoll.fileno())
            self._timer = self._loop.call_later(self._period_s, self._tick)

    def _tick(self) -> None:
        # Before anything can go wrong: a poller that does not tick again would be deaf.
        self._timer = self._loop.call_later(self._period_s, self._tick)
        self._take()
        self._ticks += 1
        if self._ticks >= _WINDOW:
            self._ticks = 0
            if self._rate(monotonic()) < _QUIET:
                self._timer.cancel()
                self._timer = None
                self._loop.add_reader(self._epoll.fileno(), self._woken)

    def _rate(self, now: float) -> float:
        """Frames a period since this was last asked."""
        periods = (now - self._since) / self._period_s
        frames, self._frames, self._since = self._frames, 0, now
        return frames / max(periods, 1.0)

    def _take(self) -> None:
        """Read, handle and write until nothing is left, or others must have their turn."""
        for _ in range(_ROUNDS):
            ready = self._epoll.poll(0, _TOGETHER)
            if ready:
                self._handle(ready)
            if len(ready) < _TOGETHER:
                return

    def _handle(self, ready: list[tuple[int, int]]) -> None:
        reads, ends = [], []
        read_by, read = self._read_by, os.read  # hot path: bound once, see docs/architecture.md
        for fd, _ in ready:
            try:
                data = read(fd, _READ_BYTES)
            except BlockingIOError:
                continue
            except OSError:
                data = None
            if data:
                reads.append((fd, data))
            else:
                ends.append((fd, data is None))
        self._frames += len(reads)
        self.handling = True
        try:
            for fd, data in reads:
                try:
                    read_by[fd][1].data_received(data)
                except BaseException as exc:  # as an event loop does: nobody else's frame is lost
                    self._failed(fd, exc)
        finally:
            self.handling = False
        self.flush()
        for fd, is_broken in ends:
            self._over(fd, is_broken=is_broken)

    def _over(self, fd: int, *, is_broken: bool) -> None:
        """The stream has ended, or the connection broke; at once, as its call may wait."""
        transport, protocol = self._read_by[fd]
        try:
            if is_broken:
                transport.abort()
            elif not protocol.eof_received():
                transport.close()
        except BaseException as exc:  # see above
            self._failed(fd, exc)
        else:
            self.remove(fd)

    def _failed(self, fd: int, exc: BaseException) -> None:
        transport, _ = self._read_by[fd]
        self.remove(fd)
        transport.abort()
        if is_operators(exc):
            raise exc
        self._loop.call_exception_handler(
            {"message": "data_received failed", "exception": exc, "transport": transport}
        )
