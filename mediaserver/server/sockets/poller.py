"""Reads many sockets together: what came within a moment is handled in one go.

Between two frames that come alone, the kernel runs its own code, and our code and data leave
the CPU's caches. To load them again costs more than to run them. So where there are many frames,
they are taken in batches of three steps: read from several sockets, handle what was read, write
the replies. The price is latency: up to one period, plus the millisecond by which an event loop
rounds it up (``benchmarks/frame_cost.py`` measures both).

Two states. *Woken*: the event loop watches the epoll descriptor, and every arrival is handled at
once. *Ticking*: the event loop does not watch it; a timer polls it once a period.

  woken    at least ``BUSY`` frames a second came          → ticking
  ticking  fewer than ``QUIET`` frames a second came       → woken

Below that ticking costs latency, and what it saves depends on the machine: with 100 calls 1 of
30 µs a frame on one; with 150 calls 22 of 49 on another (``benchmarks/frame_cost.py --only a,d``).
"""

from __future__ import annotations

import asyncio
import os
import select
import sys
from time import monotonic

from mediaserver.interrupts import is_operators

# epoll is there on Linux only. Elsewhere each transport reads its own socket.
AVAILABLE = sys.platform == "linux"

# Frames of one batch: enough that the caches pay, few enough that the first reply does not wait
# long for the last frame.
_TOGETHER = 16
# Batches in a row; then the event loop runs what else is due.
_ROUNDS = 16
_READ_BYTES = 8192
BUSY, QUIET = 6000, 4500
"""Frames a second, as of 120 calls and of 90."""
# Frames, or periods, over which the rate is taken.
_WINDOW_FRAMES, _WINDOW = 200, 16


class SocketPoller:
    """Reads the sockets of many transports, in batches.

    **Call `add` for a transport; call `remove` before its descriptor is closed.** While
    ``handling`` is true, append what is to be written to ``unwritten``.

    Args:
        period_s: time between two looks while there is much to read.

    Attributes:
        handling: a batch is being handled; replies are collected in ``unwritten``.
        unwritten: transports, each with the octets to write to it.
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
        """A timer polls it once a period; single arrivals do not wake it."""
        return self._timer is not None

    def add(self, transport: asyncio.Transport, protocol: asyncio.Protocol) -> int:
        """Read the transport's socket from now on in its place; returns a key for ``remove``.

        Args:
            transport: a TCP connection that is reading.
            protocol: its protocol; data, end of stream and errors reach it as before.
        """
        fd: int = transport.get_extra_info("socket").fileno()
        transport.pause_reading()
        self._epoll.register(fd, select.EPOLLIN)
        self._read_by[fd] = transport, protocol
        return fd

    def remove(self, key: int) -> None:
        """Stop reading this socket. Call it before the descriptor is closed."""
        if self._read_by.pop(key, None) is not None:
            self._epoll.unregister(key)

    def flush(self) -> None:
        """Write the collected replies."""
        unwritten, self.unwritten = self.unwritten, []
        for transport, data in unwritten:
            if not transport.is_closing():  # its protocol is told of the end anyway
                transport.write(data)

    def close(self) -> None:
        """Stop polling; the transports that are left read for themselves again. Idempotent."""
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
        if self._frames >= _WINDOW_FRAMES and self._rate(monotonic()) >= BUSY:
            self._loop.remove_reader(self._epoll.fileno())
            self._timer = self._loop.call_later(self._period_s, self._tick)

    def _tick(self) -> None:
        # Set the next timer first: handling may raise, and without a timer nothing is read.
        self._timer = self._loop.call_later(self._period_s, self._tick)
        self._take()
        self._ticks += 1
        if self._ticks >= _WINDOW:
            self._ticks = 0
            if self._rate(monotonic()) < QUIET:
                self._timer.cancel()
                self._timer = None
                self._loop.add_reader(self._epoll.fileno(), self._woken)

    def _rate(self, now: float) -> float:
        """Frames a second since the last call."""
        took_s = max(now - self._since, self._period_s)
        frames, self._frames, self._since = self._frames, 0, now
        return frames / took_s

    def _take(self) -> None:
        """Take batches until nothing is left to read, at most ``_ROUNDS``."""
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
                except BaseException as exc:  # as an event loop does: lose no other frame
                    self._failed(fd, exc)
        finally:
            self.handling = False
        self.flush()
        for fd, is_broken in ends:
            self._over(fd, is_broken=is_broken)

    def _over(self, fd: int, *, is_broken: bool) -> None:
        """End of stream, or a broken connection: tell the protocol at once."""
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
