"""Where a server listens: one port for media and HTTP.

A stranger's connection goes from room to room, each with its own cap and time:

    mute       nothing, or half a head, has come       5 s, 16 KiB
    unproven   a WebSocket without a right token       10 s, 16 KiB
    HTTP       any other request                       60 s

Where a room is full the oldest gives way, so that who comes is always heard. Proven ones are
calls: ``admission`` counts those.
"""

from __future__ import annotations

import asyncio
import http
import ipaddress
import logging
import socket
from collections.abc import Sequence
from time import monotonic
from typing import Protocol

from starlette.routing import BaseRoute
from websockets.http11 import Request
from websockets.server import ServerProtocol

from mediaserver.errors import ConfigurationError
from mediaserver.logs import LimitedLog
from mediaserver.server.admission import AdmissionControl, Upgrade
from mediaserver.server.calls.connection import MediaConnection
from mediaserver.server.sockets.acceptor import LATE_TOGETHER, Acceptor
from mediaserver.server.sockets.first_bytes import FirstBytes, Peer, Waiting
from mediaserver.server.sockets.heads import PLAIN, BadHead
from mediaserver.server.sockets.http import BoundedProtocol, Health, HttpHost, make_app, status_of
from mediaserver.server.sockets.media_socket import Connection, SocketMaker
from mediaserver.server.sockets.peers.room import Addresses, Room
from mediaserver.server.sockets.peers.sources import TELNYX, Sources, networks
from mediaserver.server.sockets.tls import Certificate, Knock
from mediaserver.settings import Settings

MAX_MUTE = 2048
MAX_MUTE_OF_ADDRESS = 1024
MAX_UNPROVEN = 512
MAX_UNPROVEN_OF_ADDRESS = 256
SAY_EVERY_S = 60.0

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))


class ListenerHost(Health, Protocol):
    """What the listener must know of the service behind it."""

    def connection(self, upgrade: Upgrade, now: float) -> MediaConnection:
        """What an admitted upgrade becomes."""

    def count(self, name: str) -> None:
        """One more of ``name``."""


class Listening(Protocol):
    """Where connections come in: a ``Listener``, or what stands in for it.

    Attributes:
        connections: the media connections.
    """

    connections: set[MediaConnection]

    @property
    def port(self) -> int:
        """The TCP port."""

    @property
    def status(self) -> str:
        """``ready``, or why no new call is taken now."""

    @property
    def sockets(self) -> Sequence[socket.socket]:
        """What it listens on."""

    async def bind(self, given: Sequence[socket.socket] = ()) -> None:
        """Take the address, if it is not given; nobody is accepted before ``listen``."""

    def listen(self) -> None:
        """Accept connections."""

    def proven(self, connection: MediaConnection) -> None:
        """It is no stranger's any more."""

    def forget(self, connection: MediaConnection) -> None:
        """The connection is gone."""

    def leave_port(self) -> None:
        """Accept nobody any more: whoever comes next may listen there."""

    def stop(self) -> None:
        """Accept nobody, and end the connections."""

    async def close(self) -> None:
        """End what is left of HTTP."""


class Listener:
    """Listens, serves HTTP, and asks who may come in.

    Args:
        settings: see ``Settings``.
        host: who has the calls.
        admission: decides who may come in.
        make_socket: makes the socket of an admitted connection.
        routes: further HTTP routes on the same port.

    Attributes:
        connections: the media connections of this process.

    Raises:
        ConfigurationError: a setting cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        host: ListenerHost,
        admission: AdmissionControl,
        make_socket: SocketMaker,
        routes: Sequence[BaseRoute] = (),
    ) -> None:
        self.connections: set[MediaConnection] = set()
        self._settings = settings
        self._host = host
        self._make_socket = make_socket
        self._admission = admission
        self._addresses = Addresses(networks("trusted_proxies", settings.trusted_proxies))
        self._sources = Sources(settings.media_sources)
        self._mute: Room[Waiting] = Room(MAX_MUTE, MAX_MUTE_OF_ADDRESS)
        self._late: Room[Waiting] = Room(LATE_TOGETHER, LATE_TOGETHER)
        self._unproven: Room[MediaConnection] = Room(MAX_UNPROVEN, MAX_UNPROVEN_OF_ADDRESS)
        app = make_app(host, lambda: self.is_short, routes, settings.path_prefix)
        self._http = HttpHost(app, self.count)
        self._acceptor: Acceptor | None = None
        self._certificate: Certificate | None = None
        if settings.tls_cert is not None and settings.tls_key is not None:
            self._certificate = Certificate(settings.tls_cert, settings.tls_key)
        elif settings.tls_cert is not None or settings.tls_key is not None:
            raise ConfigurationError("tls_cert and tls_key go together")
        self._say_from: dict[str, float] = {}
        self._is_over = False

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        assert self._acceptor is not None
        return self._acceptor.port

    @property
    def is_short(self) -> bool:
        """Descriptors run out."""
        return self._acceptor is not None and self._acceptor.is_short

    @property
    def status(self) -> str:
        """``ready``, or why no new call is taken now."""
        return status_of(self._host, is_short=self.is_short)

    @property
    def sockets(self) -> Sequence[socket.socket]:
        """What it listens on."""
        return () if self._acceptor is None else self._acceptor.sockets

    async def bind(self, given: Sequence[socket.socket] = ()) -> None:
        """Take the address; nobody is accepted before ``listen``.

        Args:
            given: sockets that have it already, from systemd or an older generation.

        Raises:
            ConfigurationError: it cannot be had.
        """
        self._acceptor = Acceptor(self)
        if given:
            self._acceptor.adopt(given)
            return
        try:
            await self._acceptor.bind(self._settings.host, self._settings.port)
        except (OSError, socket.gaierror) as exc:
            raise self._no_address(exc) from exc

    def listen(self) -> None:
        """Accept connections.

        Raises:
            ConfigurationError: somebody else listens there by now.
        """
        assert self._acceptor is not None
        try:
            self._acceptor.listen()
        except OSError as exc:
            raise self._no_address(exc) from exc
        if self._certificate is not None:
            self._certificate.watch()
        if self._settings.auth_token is None and self._is_reachable():
            text = (
                "the server is open to anybody who reaches port %d of this machine: set auth_token"
            )
            limited.each(logging.WARNING, "open to anybody", text, self.port)

        if TELNYX in map(str.lower, self._settings.media_sources):
            limited.warning(
                "media sources named",
                "media_sources has `telnyx`: networks of November 2026. Telnyx publishes none of"
                " its newer sites; streams from there get 403 and count as refused_source",
            )

    def _is_reachable(self) -> bool:
        """It listens where others than this machine can come from."""
        assert self._acceptor is not None
        hosts = {host.partition("%")[0] for host in self._acceptor.hosts}
        return not all(ipaddress.ip_address(host).is_loopback for host in hosts)

    def _no_address(self, exc: OSError) -> ConfigurationError:
        where = f"{self._settings.host}:{self._settings.port}"
        return ConfigurationError(f"cannot listen on {where}: {exc.strerror or exc}")

    # Entrance: who comes, and who goes for it.

    def make_protocol(self, *, is_late: bool) -> FirstBytes:
        """The protocol of a new connection."""
        return FirstBytes(self, is_late=is_late)

    def begin_tls(self, accepted: socket.socket, *, is_late: bool) -> bool:
        """Begin a new connection by TLS, if this port has it."""
        if self._certificate is None:
            return False

        def make(is_plain: bool) -> FirstBytes:
            return FirstBytes(self, is_late=is_late, unwanted=PLAIN if is_plain else None)

        Knock(self, make, self._certificate.context, accepted, is_late=is_late)
        return True

    def give_way(self) -> bool:
        """End one connection that is worth less than a new one; False if there is none.

        Those that came late have their own room: by their places nothing else is to be had.
        """
        mute = self._mute.take_oldest()
        if mute is None and self._http.give_way():
            self.count("gave_way")
            return True
        oldest = mute or self._unproven.take_oldest()
        self._must_go(oldest)
        return oldest is not None

    def is_crowded(self) -> bool:
        """Whoever comes costs another its place."""
        return len(self._mute) >= MAX_MUTE or len(self._unproven) >= MAX_UNPROVEN

    def count(self, name: str) -> None:
        """One more of ``name``."""
        self._host.count(name)

    # Gatekeeper: new connections.

    def waits(self, connection: Waiting) -> None:
        """Its head is awaited."""
        if self._is_over:
            connection.abort()
            return
        address = self._addresses.direct(connection.peer.address)
        room = self._late if connection.peer.is_late else self._mute
        self._must_go(room.enter(connection, address))

    def waits_no_more(self, connection: Waiting) -> None:
        """Its head is complete, or will never be."""
        self._mute.leave(connection)
        self._late.leave(connection)

    def refused(self, peer: Peer, problem: BadHead) -> None:
        """A connection brought what is no sound request."""
        self.count(f"bad_request.{problem.kind}")
        now = monotonic()
        if problem.advice and now >= self._say_from.get(problem.kind, now):
            self._say_from[problem.kind] = now + SAY_EVERY_S
            text = "a connection from %s was closed: %s"
            limited.warning("connections closed", text, peer.address, problem.advice)

    def http_protocol(self, peer: Peer, forwarded: list[str]) -> BoundedProtocol:
        """What goes on with a request that is no upgrade."""
        return self._http.protocol(self._addresses.behind(peer.address, forwarded))

    def admit(
        self, request: Request, peer: Peer, now: float
    ) -> MediaConnection | tuple[http.HTTPStatus, str]:
        """A connection for this upgrade request, or why not."""
        forwarded = request.headers.get_all("X-Forwarded-For")
        if not self._sources.has(self._addresses.whole(peer.address, forwarded)):
            self.count("refused_source")
            return http.HTTPStatus.FORBIDDEN, "Your address is not in `media_sources`.\n"
        judged = self._admission.judge_upgrade(request)
        if not isinstance(judged, Upgrade):
            return judged
        connection = self._host.connection(judged, now)
        self.connections.add(connection)
        if not connection.is_proven:
            address = self._addresses.behind(peer.address, forwarded)
            self._must_go(self._unproven.enter(connection, address))
        return connection

    def make_socket(
        self, protocol: ServerProtocol, transport: asyncio.Transport, connection: Connection
    ) -> asyncio.Protocol:
        """What an admitted upgrade goes on with."""
        return self._make_socket(protocol, transport, connection)

    def proven(self, connection: MediaConnection) -> None:
        """It is no stranger's any more."""
        self._unproven.leave(connection)

    def forget(self, connection: MediaConnection) -> None:
        """The connection is gone, or no longer of this process."""
        self.connections.discard(connection)
        self._unproven.leave(connection)

    def _must_go(self, oldest: Waiting | MediaConnection | None) -> None:
        if oldest is not None:
            self.count("gave_way")
            oldest.abort()

    # The end.

    def leave_port(self) -> None:
        """Accept no more, so that another process can listen; what is connected goes on."""
        self._stop_accepting()
        self._http.retire()

    def _stop_accepting(self) -> None:
        if self._acceptor is not None:
            self._acceptor.close()
        if self._certificate is not None:
            self._certificate.close()

    def stop(self) -> None:
        """Listen no more, and end the connections of this process: media with 1001."""
        self._is_over = True
        self._stop_accepting()
        for waiting in [*self._mute, *self._late]:
            waiting.abort()
        for connection in list(self.connections):
            connection.close(1001, "server shuts down")

    async def close(self) -> None:
        """End what is left of HTTP."""
        await self._http.close()
