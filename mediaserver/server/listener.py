"""Where a server listens: one port for media and HTTP."""

from __future__ import annotations

import asyncio
import http
import ipaddress
import logging
import socket
from collections.abc import Sequence
from typing import Protocol

from starlette.routing import BaseRoute
from websockets.http11 import Request

from mediaserver.errors import ConfigurationError
from mediaserver.server.admission import AdmissionControl, Upgrade
from mediaserver.server.calls.connection import MediaConnection
from mediaserver.server.sockets.first_bytes import FirstBytes
from mediaserver.server.sockets.http import Health, HttpHost, make_app
from mediaserver.server.sockets.media_socket import SocketMaker
from mediaserver.settings import Settings

logger = logging.getLogger(__name__)


class ListenerHost(Health, Protocol):
    """What the listener must know of the service behind it."""

    def connection(self, upgrade: Upgrade, now: float) -> MediaConnection:
        """What an admitted upgrade becomes."""


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
        self._waiting: set[FirstBytes] = set()
        self._http = HttpHost(make_app(host, routes, settings.path_prefix))
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def bind(self) -> None:
        """Take the address; nobody is accepted before ``listen``.

        Raises:
            ConfigurationError: it cannot be had.
        """
        settings = self._settings
        try:
            self._server = await asyncio.get_running_loop().create_server(
                lambda: FirstBytes(self, self._http.protocol, self._waiting, self._make_socket),
                settings.host,
                settings.port,
                backlog=2048,
                start_serving=False,
            )
        except (OSError, socket.gaierror) as exc:
            raise self._no_address(exc) from exc

    async def listen(self) -> None:
        """Accept connections.

        Raises:
            ConfigurationError: somebody else listens there by now.
        """
        assert self._server is not None
        try:
            await self._server.start_serving()
        except OSError as exc:
            raise self._no_address(exc) from exc
        if self._settings.auth_token is None and self._is_reachable():
            logger.warning(
                "the server is open to anybody who reaches port %d of this machine: set auth_token",
                self.port,
            )

    def _is_reachable(self) -> bool:
        """It listens where others than this machine can come from."""
        assert self._server is not None
        hosts = {each.getsockname()[0].partition("%")[0] for each in self._server.sockets}
        return not all(ipaddress.ip_address(host).is_loopback for host in hosts)

    def _no_address(self, exc: OSError) -> ConfigurationError:
        where = f"{self._settings.host}:{self._settings.port}"
        return ConfigurationError(f"cannot listen on {where}: {exc.strerror or exc}")

    # Gatekeeper: new connections.

    def admit(self, request: Request, now: float) -> MediaConnection | tuple[http.HTTPStatus, str]:
        """A connection for this upgrade request, or why not."""
        judged = self._admission.judge_upgrade(request)
        if not isinstance(judged, Upgrade):
            return judged
        connection = self._host.connection(judged, now)
        self.connections.add(connection)
        return connection

    def forget(self, connection: MediaConnection) -> None:
        """The connection is gone, or no longer of this process."""
        self.connections.discard(connection)

    # The end.

    def stop(self) -> None:
        """Listen no more, and end the connections of this process: media with 1001."""
        if self._server is not None:
            self._server.close()
        for waiting in list(self._waiting):
            waiting.abort()
        for connection in list(self.connections):
            connection.close(1001, "server shuts down")

    async def close(self) -> None:
        """End what is left of HTTP."""
        await self._http.close()
