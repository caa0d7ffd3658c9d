"""The link between a process that carries calls and one processor host: audio and messages.

It sends packets, in order, over a Unix socket pair. All packets of one iteration of the event loop
are written together. Samples are sent as they are in memory.

A packet has a head (length of what follows, kind, number of the call) and a content, which is
padded to a multiple of 8 octets so that arrays in it are aligned.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Callable
from time import monotonic

from mediaserver.errors import MediaServerError
from mediaserver.logs import LimitedLog

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

HEAD = struct.Struct("<IHHI4x")  # length, kind, padding of the content, call
# Audio is dropped beyond this, messages are not: the other side has not read for a while.
FULL_BYTES = 1 << 20
# The other side reads nothing at all.
MAX_UNSENT_BYTES = 32 << 20
# A longer packet is not sent, and ends the link where it is announced.
MAX_PACKET_BYTES = 1 << 20
READ_BYTES = 64 * 1024
# So many packets are dealt with, and for so long, before the loop has its turn again. A host
# that floods its carrier is read no faster than this; the calls beside it do not notice.
MAX_PACKETS_A_TURN = 64
TURN_S = 0.005
PAUSE_S = 0.005
_PADDING = (b"", *(bytes(n) for n in range(1, 8)))


class PacketTooLongError(MediaServerError):
    """A message is longer than a packet of the link may be.

    Attributes:
        n_bytes: how long it is.
    """

    def __init__(self, n_bytes: int) -> None:
        super().__init__(n_bytes)
        self.n_bytes = n_bytes

    def __str__(self) -> str:
        return (
            f"{self.n_bytes} octets are too many between a server and its processor host,"
            f" {MAX_PACKET_BYTES} at most"
        )


class Link:
    """One end of a socket pair, on the running loop.

    Args:
        end: a connected Unix stream socket; the link owns it from now on.
        received: called with kind, call and content of each packet; the content may be kept.
        ended: called once, when the other side is gone, or sends what is no packet.
    """

    def __init__(
        self,
        end: socket.socket,
        received: Callable[[int, int, memoryview], None],
        ended: Callable[[], None],
    ) -> None:
        end.setblocking(False)
        self._end = end
        self._on_packet = received
        self._on_end = ended
        self._loop = asyncio.get_running_loop()
        self._unsent = bytearray()
        self._is_flushing = False
        self._rest = memoryview(b"")
        self._pause: asyncio.TimerHandle | None = None
        self._drained: asyncio.Event | None = None
        self._closed = False
        self._loop.add_reader(end, self._readable)

    @property
    def is_full(self) -> bool:
        """No audio should be sent: the other side does not read what was sent before."""
        return len(self._unsent) >= FULL_BYTES

    def send(self, kind: int, call: int, *content: bytes) -> None:
        """Send a packet, together with what else is sent in this turn of the loop.

        Raises:
            PacketTooLongError: nothing was sent.
        """
        if self._closed:
            return
        n = 0
        for part in content:
            n += len(part)
        padding = -n & 7
        if n + padding > MAX_PACKET_BYTES:
            raise PacketTooLongError(n)
        unsent = self._unsent
        unsent += HEAD.pack(n + padding, kind, padding, call)
        for part in content:
            unsent += part
        if padding:
            unsent += _PADDING[padding]
        if not self._is_flushing:
            self._is_flushing = True
            self._loop.call_soon(self._flush)

    async def drained(self) -> None:
        """Wait until the link is not full."""
        while self.is_full and not self._closed:
            if self._drained is None:
                self._drained = asyncio.Event()
            await self._drained.wait()

    def close(self) -> None:
        """Send and receive no more; what was sent before is tried once."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(OSError):
            self._end.send(self._unsent)
        self._loop.remove_reader(self._end)
        self._loop.remove_writer(self._end)
        if self._pause is not None:
            self._pause.cancel()
        self._end.close()
        self._unsent.clear()
        self._let_go()

    def _flush(self) -> None:
        """Send what the socket takes."""
        if self._closed:
            return
        try:
            n = self._end.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            n = 0
        except OSError:  # gone: reading says so
            self._over()
            return
        if n == len(self._unsent):
            self._unsent.clear()
            self._is_flushing = False
            self._loop.remove_writer(self._end)
        else:
            del self._unsent[:n]
            self._loop.add_writer(self._end, self._flush)
            if len(self._unsent) > MAX_UNSENT_BYTES:
                self._over()
        if self._drained is not None and not self.is_full:
            self._let_go()

    def _let_go(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.set()

    def _readable(self) -> None:
        try:
            data = self._end.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._over()
            return
        # A new object each time: arrays may refer to it for as long as they live.
        self._rest = memoryview(bytes(self._rest) + data if self._rest else data)
        self._deliver()

    def _deliver(self) -> None:
        """Give out the whole packets that are there, up to what is decent in one turn."""
        data, at = self._rest, 0
        until = monotonic() + TURN_S
        n = 0
        while True:
            if len(data) - at < HEAD.size:
                break
            length, kind, padding, call = HEAD.unpack_from(data, at)
            if length > MAX_PACKET_BYTES or padding > length:
                self._over()
                return
            begin = at + HEAD.size
            if len(data) - begin < length:
                break
            at = begin + length
            try:
                self._on_packet(kind, call, data[begin : at - padding])
            except Exception as exc:  # as an event loop does: the next packet is another call's
                text = "a packet of a processor host's link failed"
                limited.error("packets that failed", text, exc_info=exc)
            if self._closed:
                return
            n += 1
            if n == MAX_PACKETS_A_TURN or monotonic() > until:
                self._loop.remove_reader(self._end)
                self._pause = self._loop.call_later(PAUSE_S, self._go_on)
                break
        self._rest = data[at:]

    def _go_on(self) -> None:
        self._pause = None
        self._loop.add_reader(self._end, self._readable)
        self._deliver()

    def _over(self) -> None:
        if not self._closed:
            self.close()
            self._on_end()
