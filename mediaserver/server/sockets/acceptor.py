"""Takes new connections, and knows when descriptors run out.

An event loop's own server either closes connections silently then, or stops listening for a
second. Here the last descriptors are kept for what the server itself has to do: a connection
that gets one of them has something else make room for it, or is told that it came too late.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import sys
from collections.abc import Sequence
from time import monotonic
from typing import Protocol

from mediaserver.logs import LimitedLog

if sys.platform != "win32":
    import resource

BACKLOG = 2048
# Taken together, before the calls of this process have their turn again.
TOGETHER = 16
# Then so long a pause, where each one costs another its place: strangers who come again and
# again take a small part of the processor's time, and nobody's place before it was of use.
PAUSE_S = 0.03
# Taken together while descriptors are short; as many as there may be that came too late.
LATE_TOGETHER = 8
# Descriptors that no stranger gets: for health, control, recordings; a part of all.
RESERVE = 64
LEAST_RESERVE = 12
RESERVED_PART = 8
SHORT_FOR_S = 1.0
# Of the event loop, until a connection that was aborted has given its descriptor back.
TURNS_TO_CLOSE = 3
SAY_EVERY_S = 60.0
_OUT = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))


class Entrance(Protocol):
    """What new connections are taken for."""

    def make_protocol(self, *, is_late: bool) -> asyncio.Protocol:
        """The protocol of a new connection; see ``Peer.is_late``."""

    def begin_tls(self, accepted: socket.socket, *, is_late: bool) -> bool:
        """Begin a new connection by TLS, if this port has it; it needs no protocol then."""

    def give_way(self) -> bool:
        """End one connection that is worth less than a new one; False if there is none."""

    def is_crowded(self) -> bool:
        """Whoever comes costs another its place."""

    def count(self, name: str) -> None:
        """One more of ``name``."""


class Acceptor:
    """Takes the connections of listening sockets.

    **Call ``bind`` or ``adopt``, then ``listen``, then ``close``.**

    Args:
        entrance: what they are taken for.
    """

    def __init__(self, entrance: Entrance) -> None:
        self._entrance = entrance
        self._loop = asyncio.get_running_loop()
        self._sockets: list[socket.socket] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._spare: int | None = None
        self._port = 0
        self._short_until = self._say_from = float("-inf")

    @property
    def port(self) -> int:
        """The TCP port, once bound; also of one that is closed."""
        if self._sockets:
            self._port = self._sockets[0].getsockname()[1]
        return self._port

    @property
    def hosts(self) -> list[str]:
        """The addresses it listens on, once bound."""
        return [each.getsockname()[0] for each in self._sockets]

    @property
    def is_short(self) -> bool:
        """Hardly any descriptor was left a moment ago."""
        return monotonic() < self._short_until

    async def bind(self, host: str, port: int) -> None:
        """Take all addresses of a host; nobody is accepted before ``listen``.

        Raises:
            OSError: one cannot be had.
        """
        found = await self._loop.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        try:
            for family, kind, protocol, _, address in dict.fromkeys(found):
                try:
                    listening = socket.socket(family, kind, protocol)
                except OSError:  # a machine without IPv6
                    continue
                self._sockets.append(listening)
                listening.setblocking(False)
                if os.name == "posix":
                    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                listening.bind(address)
            if not self._sockets:
                raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
        except OSError:
            self.close()
            raise

    def adopt(self, sockets: Sequence[socket.socket]) -> None:
        """Take sockets that are bound already, in the place of ``bind``."""
        for listening in sockets:
            listening.setblocking(False)
            self._sockets.append(listening)

    @property
    def sockets(self) -> Sequence[socket.socket]:
        """Those it listens on; another process may listen on them as well."""
        return self._sockets

    def listen(self) -> None:
        """Accept connections.

        Raises:
            OSError: somebody else listens there by now.
        """
        for listening in self._sockets:
            listening.listen(BACKLOG)
        self._have_spare()
        self._tasks = [self._loop.create_task(self._serve(each)) for each in self._sockets]

    def close(self) -> None:
        """Accept no more. Twice does nothing."""
        self._port = self.port
        for task in self._tasks:
            task.cancel()
        for listening in self._sockets:
            # A task that waits on it is cancelled first, and lets go of it in its own turn.
            self._loop.call_soon(listening.close)
        if self._spare is not None:
            os.close(self._spare)
        self._sockets, self._tasks, self._spare = [], [], None

    async def _serve(self, listening: socket.socket) -> None:
        while True:
            accepted = await self._accept(listening)
            if accepted:
                # Whoever was taken begins, also where no more are taken by now.
                await asyncio.wait([self._loop.create_task(self._begin(a)) for a in accepted])
            if self.is_short or self._entrance.is_crowded():
                await asyncio.sleep(PAUSE_S)

    async def _accept(self, listening: socket.socket) -> list[socket.socket]:
        """Wait for one connection, and take a few more that are there."""
        accepted: list[socket.socket] = []
        self._have_spare()
        # No await from here to the caller, where no connection is lost: this task may be
        # cancelled at any, as when another process listens on from here.
        await self._somebody_comes(listening)
        try:
            while len(accepted) < (LATE_TOGETHER if self.is_short else TOGETHER):
                accepted.append(listening.accept()[0])
        except BlockingIOError:
            pass
        except OSError as exc:  # of one connection, by accept(2), unless there are no descriptors
            if not accepted and exc.errno in _OUT:
                accepted = self._accept_without_any(listening)
            if not accepted:
                await asyncio.sleep(PAUSE_S)
        return accepted

    async def _somebody_comes(self, listening: socket.socket) -> None:
        comes = asyncio.Event()
        fd = listening.fileno()
        self._loop.add_reader(fd, comes.set)
        try:
            await comes.wait()
        finally:
            self._loop.remove_reader(fd)

    def _accept_without_any(self, listening: socket.socket) -> list[socket.socket]:
        """Not even a reserved descriptor is left: have some back, or use the one held open."""
        self._say_short()
        n_given = sum(self._entrance.give_way() for _ in range(LEAST_RESERVE))
        if n_given or self._spare is None:
            return []
        os.close(self._spare)
        self._spare = None
        with contextlib.suppress(OSError):
            return [listening.accept()[0]]
        return []

    def _have_spare(self) -> None:
        if self._spare is None:
            with contextlib.suppress(OSError):
                self._spare = os.open(os.devnull, os.O_RDONLY)

    async def _begin(self, accepted: socket.socket) -> None:
        is_late = False
        if self._is_reserved(accepted.fileno()):
            is_late = not self._entrance.give_way()
            if not is_late:
                accepted = await self._moved(accepted)
        try:
            accepted.setblocking(False)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._entrance.begin_tls(accepted, is_late=is_late):
                return
            await self._loop.connect_accepted_socket(
                lambda: self._entrance.make_protocol(is_late=is_late), accepted
            )
        except (OSError, RuntimeError):  # gone in the meantime; uvloop's is no OSError
            accepted.close()

    async def _moved(self, accepted: socket.socket) -> socket.socket:
        """The same connection by the lowest descriptor: the one of the connection that went."""
        for _ in range(TURNS_TO_CLOSE):
            await asyncio.sleep(0)
        with contextlib.suppress(OSError):
            moved = accepted.dup()
            accepted.close()
            return moved
        return accepted

    def _is_reserved(self, fd: int) -> bool:
        """A connection has got one of the last descriptors: a new one has the lowest number."""
        limit = descriptor_limit()
        if limit is None or fd < limit - reserve_of(limit):
            return False
        self._say_short()
        return True

    def _say_short(self) -> None:
        now = monotonic()
        self._short_until = now + SHORT_FOR_S
        self._entrance.count("no_descriptor")
        if now >= self._say_from:
            self._say_from = now + SAY_EVERY_S
            limited.warning(
                "descriptors run out",
                "file descriptors run out (limit %s): connections that have said nothing are"
                " closed, and where there are none, new calls refused; raise the limit"
                " (ulimit -n) well above twice max_calls",
                descriptor_limit(),
            )


def descriptor_limit() -> int | None:
    """How many descriptors this process may have; None: not known, or any number."""
    if sys.platform == "win32":  # pragma: no cover - another system
        return None
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def reserve_of(limit: int) -> int:
    """How many of so many descriptors are kept for what is no connection of strangers."""
    return min(RESERVE, max(LEAST_RESERVE, limit // RESERVED_PART))
