"""The front of a server: where it listens, and who may come in."""

from __future__ import annotations

import asyncio
import http
import logging
import socket
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from starlette.routing import BaseRoute
from websockets.http11 import Request

from mediaserver.errors import ConfigurationError
from mediaserver.server.calls.connection import MediaConnection
from mediaserver.server.sockets.first_bytes import FirstBytes
from mediaserver.server.sockets.http import Health, HttpHost, make_app
from mediaserver.server.sockets.media_socket import SocketMaker
from mediaserver.settings import Settings
from mediaserver.tokens import Admission, TokenGate
from mediaserver.wire.messages import TOKEN_KEY, Start

logger = logging.getLogger(__name__)


class ListenerHost(Health, Protocol):
    """Whose front it is: who has the calls."""

    @property
    def n_connections(self) -> int:
        """Media connections, wherever they are by now."""

    def connection(
        self, query: Mapping[str, str], token: str | None, now: float
    ) -> MediaConnection:
        """What an admitted upgrade becomes."""

    def count(self, name: str) -> None:
        """One more of ``name``."""


class Listener:
    """Listens, serves HTTP, and decides which connections and which calls come in.

    Args:
        settings: see ``Settings``.
        host: who has the calls.
        make_socket: makes the socket of an admitted connection.
        routes: further HTTP routes on the same port.

    Attributes:
        connections: the media connections of this process.
    """

    def __init__(
        self,
        settings: Settings,
        host: ListenerHost,
        make_socket: SocketMaker,
        routes: Sequence[BaseRoute] = (),
    ) -> None:
        self.connections: set[MediaConnection] = set()
        self._settings = settings
        self._host = host
        self._make_socket = make_socket
        self._gate = TokenGate(settings.auth_token, grace_s=settings.reconnect_grace_s)
        self._waiting: set[FirstBytes] = set()
        self._http = HttpHost(make_app(host, routes))
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

    def _no_address(self, exc: OSError) -> ConfigurationError:
        where = f"{self._settings.host}:{self._settings.port}"
        return ConfigurationError(f"cannot listen on {where}: {exc.strerror or exc}")

    # Gatekeeper: new connections.

    def admit(self, request: Request, now: float) -> MediaConnection | tuple[http.HTTPStatus, str]:
        """A connection for this upgrade request, or why not."""
        url = urlsplit(request.path)
        path, _, last = url.path.partition("/media")
        if path or (last and not last.startswith("/")):
            return http.HTTPStatus.NOT_FOUND, "Media streams connect to /media.\n"
        refusal = self._refusal()
        if refusal is not None:
            return http.HTTPStatus.SERVICE_UNAVAILABLE, refusal
        query = dict(parse_qsl(url.query))
        token = (
            request.headers.get(TOKEN_KEY) or unquote(last.strip("/")) or query.get("token") or None
        )
        if token is not None and self.must_refuse(token):
            self._host.count("refused_token")
            return http.HTTPStatus.UNAUTHORIZED, "Wrong auth token.\n"
        connection = self._host.connection(query, token, now)
        self.connections.add(connection)
        return connection

    def _refusal(self) -> str | None:
        """Why no connection at all can come in now."""
        if self._host.draining:
            return "This server takes no new calls.\n"
        if self._host.n_connections >= self._settings.max_calls:
            self._host.count("refused_full")
            return "This server is full.\n"
        if not self._host.is_able:
            self._host.count("refused_no_worker")
            return "No worker is ready.\n"
        return None

    # New calls.

    def must_refuse(self, token: str | None) -> bool:
        """Whether a stream that presented ``token`` must be refused."""
        return not self._gate.looks_valid(token, time.time())

    def judge(self, connection: MediaConnection, start: Start) -> tuple[str, Admission] | None:
        """Id and admission of the call that starts; None when it is refused and closed."""
        call_id = start.start.call_control_id or start.stream_id or str(uuid.uuid4())
        admission = self._gate.admit(connection.token, call_id, time.time())
        if admission.admitted:
            return call_id, admission
        self._host.count("refused_token")
        logger.warning("call %s refused: %s", call_id, admission.value)
        connection.close(1008, admission.value)
        return None

    def call_over(self, call_id: str) -> None:
        """The call has ended: its tokens have their grace, and then are refused."""
        self._gate.call_ended(call_id, time.time())

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
