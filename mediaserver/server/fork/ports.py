"""UDP ports of forks: pairs from a range, and what reads them all together."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import select
import socket
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import NamedTuple

from mediaserver.errors import ConfigurationError
from mediaserver.interrupts import is_operators
from mediaserver.server.fork.source import Address
from mediaserver.settings import Settings

PacketReceiver = Callable[[bytes, Address, float], None]
"""Gets what came, from where, and the time in monotonic seconds."""

MAX_PACKET_BYTES = 8192
# While packets come they are looked for once a period, and many taken in one go.
PERIOD_S = 0.002
_TOGETHER = 64
# Rounds before the event loop has its turn: one packet of each socket in a round.
_ROUNDS = 8
_BUFFER_BYTES = 256 * 1024


class Pair(NamedTuple):
    """Two bound sockets: of what Telnyx receives, and of what it sends."""

    rx: socket.socket
    tx: socket.socket

    @property
    def ports(self) -> tuple[int, int]:
        """Their ports."""
        return self.rx.getsockname()[1], self.tx.getsockname()[1]


class PortRange:
    """Hands out pairs of ports, each the longest unused one.

    Args:
        settings: ``host`` and ``fork_ports``.

    Raises:
        ConfigurationError: they cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._host = settings.host
        first, last = _ends(settings.fork_ports or "")
        self._free = deque((port, port + 1) for port in range(first, last, 2))

    @property
    def n_free(self) -> int:
        """Pairs that can be taken."""
        return len(self._free)

    def take(self) -> Pair:
        """A pair that nobody has.

        Raises:
            ConfigurationError: there is none; the range is too small.
        """
        for _ in range(len(self._free)):
            ports = self._free.popleft()
            try:
                return _bound(self._host, ports)
            except OSError as exc:
                self._free.append(ports)
                if exc.errno != errno.EADDRINUSE:
                    raise ConfigurationError(
                        f"cannot open UDP port {ports[0]} of {self._host}: {exc.strerror}"
                    ) from exc
        raise ConfigurationError("no UDP port of fork_ports is free: make the range larger")

    def give_back(self, pair: Pair) -> None:
        """Close it; others may take it later."""
        self._free.append((pair.ports[0], pair.ports[1]))
        pair.rx.close()
        pair.tx.close()


def _ends(written: str) -> tuple[int, int]:
    first, dash, last = written.partition("-")
    if not (dash and first.strip().isdecimal() and last.strip().isdecimal()):
        raise ConfigurationError("wrong setting fork_ports: it must be written as 20000-20999")
    low, high = int(first), int(last)
    if not 0 < low < high <= 65535:
        raise ConfigurationError("wrong setting fork_ports: it must hold two ports at least")
    return low, high


def _bound(host: str, ports: tuple[int, int]) -> Pair:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    family = found[0][0]
    sockets: list[socket.socket] = []
    try:
        for port in ports:
            each = socket.socket(family, socket.SOCK_DGRAM)
            sockets.append(each)
            each.setblocking(False)
            with contextlib.suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
            each.bind((host, port))
    except OSError:
        for each in sockets:
            each.close()
        raise
    return Pair(*sockets)


def told_host(settings: Settings) -> str:
    """The address that Telnyx is to send to, as it stands in ``udp:ip:port``.

    Raises:
        ConfigurationError: it is not known.
    """
    host = settings.fork_host or settings.host
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    if address is None or address.is_unspecified:
        raise ConfigurationError("set fork_host to the IP address by which Telnyx reaches this one")
    return f"[{host}]" if address.version == 6 else host


class UdpReader:
    """Reads many UDP sockets together.

    Two states: *woken* by each arrival; *ticking* once a period, from the first time that
    several packets came together until nothing has come for a period.
    """

    def __init__(self) -> None:
        if not hasattr(select, "epoll"):
            raise ConfigurationError("forked media is received on Linux only")
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        self._sockets: dict[int, tuple[socket.socket, PacketReceiver]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop.add_reader(self._epoll.fileno(), self._woken)

    def add(self, sock: socket.socket, receiver: PacketReceiver) -> None:
        """Read it from now on."""
        self._sockets[sock.fileno()] = sock, receiver
        self._epoll.register(sock.fileno(), select.EPOLLIN)

    def remove(self, sock: socket.socket) -> None:
        """Read it no more; must come before it is closed."""
        if self._sockets.pop(sock.fileno(), None) is not None:
            self._epoll.unregister(sock.fileno())

    def close(self) -> None:
        """Read no more."""
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    def _woken(self) -> None:
        if self._take() > 1 and not self._epoll.closed:
            self._loop.remove_reader(self._epoll.fileno())
            self._timer = self._loop.call_later(PERIOD_S, self._tick)

    def _tick(self) -> None:
        # Before anything can go wrong: a reader that does not tick again would be deaf.
        self._timer = self._loop.call_later(PERIOD_S, self._tick)
        if not self._take() and not self._epoll.closed:
            self._timer.cancel()
            self._timer = None
            self._loop.add_reader(self._epoll.fileno(), self._woken)

    def _take(self) -> int:
        """Take what has come, or so much that others must have their turn."""
        n_taken = 0
        for _ in range(_ROUNDS):
            if self._epoll.closed:
                break
            ready = self._epoll.poll(0, _TOGETHER)
            now = monotonic()
            for fd, _event in ready:
                entry = self._sockets.get(fd)
                if entry is not None:  # else its call has ended in this round
                    self._take_one(*entry, now)
            n_taken += len(ready)
            if not ready:
                break
        return n_taken

    def _take_one(self, sock: socket.socket, receiver: PacketReceiver, now: float) -> None:
        try:
            data, address = sock.recvfrom(MAX_PACKET_BYTES)
            receiver(data, address, now)
        except OSError:
            return  # it was not for us, or is told by an ICMP message
        except BaseException as exc:  # as an event loop does: nobody else's packet is lost
            if is_operators(exc):
                raise
            self._loop.call_exception_handler({"message": "a packet failed", "exception": exc})
