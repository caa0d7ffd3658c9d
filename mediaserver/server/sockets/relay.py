"""Octets of a connection with TLS, passed to where a plain descriptor is needed.

Its keys cannot go to another process. So this one goes on with TLS, and what is inside of it
goes through a socket pair, one end of which the other process gets. Each side is read only as
fast as the other one takes it, and an end of either is told to the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import cast


class Half(asyncio.Protocol):
    """One side of a relay: what it brings goes to the other side's transport."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: Half | None = None
        self._has_ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """From the transport."""
        # uvloop's transports have the interface without the base class.
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """From the transport."""
        if (to := self._to()) is not None:
            to.write(data)

    def eof_received(self) -> bool:
        """From the transport: this side sends no more."""
        assert self.transport is not None
        self._has_ended = True
        to = self._to()
        # TLS has no end of one direction alone.
        if to is None or not to.can_write_eof() or is_encrypted(self.transport):
            return False
        to.write_eof()
        return self.other is not None and not self.other._has_ended

    def pause_writing(self) -> None:
        """From the transport: this side does not keep up, so the other one is read no more."""
        if (to := self._to()) is not None:
            to.pause_reading()

    def resume_writing(self) -> None:
        """From the transport: this side keeps up again."""
        if (to := self._to()) is not None:
            to.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """From the transport: this side is gone, and the other one goes."""
        if self.other is None or self.other.transport is None:
            return
        if exc is None:
            self.other.transport.close()  # behind what is still to be written
        else:
            self.other.transport.abort()

    def _to(self) -> asyncio.Transport | None:
        """The other side's transport, if it is there."""
        other = self.other
        if other is None or other.transport is None or other.transport.is_closing():
            return None
        return other.transport


def is_encrypted(transport: asyncio.Transport) -> bool:
    """Whether what the transport's descriptor brings is not what its protocol hears."""
    return transport.get_extra_info("ssl_object") is not None


def relayed(transport: asyncio.Transport) -> int:
    """Relay a connection that is not read from at the moment; the other end's descriptor.

    Raises:
        OSError: there are no descriptors left; nothing has changed.
    """
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    outer, inner = Half(), Half()
    outer.transport, outer.other, inner.other = transport, inner, outer
    transport.set_protocol(outer)
    task = asyncio.get_running_loop().create_task(_connected(ours, outer, inner))
    _connecting.add(task)
    task.add_done_callback(_connecting.discard)
    return theirs.detach()


_connecting: set[asyncio.Task[None]] = set()
"""An event loop keeps no task alive by itself."""


async def _connected(ours: socket.socket, outer: Half, inner: Half) -> None:
    assert outer.transport is not None
    try:
        await asyncio.get_running_loop().create_unix_connection(lambda: inner, sock=ours)
    except (OSError, RuntimeError):  # pragma: no cover - the pair cannot be used
        with contextlib.suppress(OSError):
            ours.close()
        outer.transport.abort()
        return
    assert inner.transport is not None
    if outer.transport.is_closing():
        inner.transport.close()
    else:
        outer.transport.resume_reading()
