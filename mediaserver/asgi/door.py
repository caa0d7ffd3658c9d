"""Where connections come in by ASGI: stands where a listener would."""

from __future__ import annotations

import http
import logging
import socket
from collections.abc import Sequence
from time import monotonic
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send
from websockets.datastructures import Headers
from websockets.http11 import Request

from mediaserver.asgi.socket import AsgiSocket
from mediaserver.logs import LimitedLog, address, shown
from mediaserver.server.admission import AdmissionControl, Upgrade
from mediaserver.server.calls.connection import MediaConnection
from mediaserver.server.listener import MAX_UNPROVEN, MAX_UNPROVEN_OF_ADDRESS, ListenerHost
from mediaserver.server.sockets.http import make_app, status_of
from mediaserver.server.sockets.media_socket import Pings, SocketMaker
from mediaserver.server.sockets.peers.room import Addresses, Room
from mediaserver.server.sockets.peers.sources import Sources, networks
from mediaserver.settings import Settings

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))


class Door:
    """Judges WebSockets, and answers HTTP; the host has accepted the connections.

    Args:
        settings: see ``Settings``.
        host: who has the calls.
        admission: decides who may come in.
        _: not needed: the sockets are the host's.
        routes: further HTTP routes.

    Attributes:
        connections: the media connections.
        http: answers what is no WebSocket.
        port: the TCP port, once a request has come; else 0.
    """

    def __init__(
        self,
        settings: Settings,
        host: ListenerHost,
        admission: AdmissionControl,
        _: SocketMaker,
        routes: Sequence[BaseRoute] = (),
    ) -> None:
        self.connections: set[MediaConnection] = set()
        self.http: Starlette = make_app(host, lambda: False, routes, settings.path_prefix)
        self.port: int = 0
        self._host = host
        self._admission = admission
        self._pings = Pings.of(settings)
        self._addresses = Addresses(networks("trusted_proxies", settings.trusted_proxies))
        self._sources = Sources(settings.media_sources)
        self._unproven: Room[MediaConnection] = Room(MAX_UNPROVEN, MAX_UNPROVEN_OF_ADDRESS)
        self._is_over = False

    async def media(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Carry one WebSocket, from the host's question to its end."""
        await receive()  # ``websocket.connect``
        judged = self._judge(scope)
        if not isinstance(judged, Upgrade):
            status, why = judged
            how = f"refused with {status:d}"
            text, peer = "a connection from %s was %s: %s", address(scope.get("client"))
            limited.warning(f"connections {how}", text, peer, how, shown(why.strip(), 300))
            await _refuse(scope, send, status, why)
            return
        connection = self._host.connection(judged, monotonic())
        self.connections.add(connection)
        if not connection.is_proven:
            self._let_in(connection, scope)
        await AsgiSocket(connection, scope.get("client"), receive, send, self._pings).run()

    def _judge(self, scope: Scope) -> Upgrade | tuple[http.HTTPStatus, str]:
        if self._is_over:
            return http.HTTPStatus.SERVICE_UNAVAILABLE, "The server ends.\n"
        # Of a path that was decoded: what stands for itself now must not be decoded again.
        path, query = quote(_path_of(scope)), scope["query_string"].decode("latin-1")
        headers = Headers()
        for name, value in scope["headers"]:
            headers[name.decode("latin-1")] = value.decode("latin-1")
        self.port = (scope.get("server") or ("", 0))[1] or 0
        peer, forwarded = _came_from(scope)
        if not self._sources.has(self._addresses.whole(peer, forwarded)):
            self._host.count("refused_source")
            return http.HTTPStatus.FORBIDDEN, "Your address is not in `media_sources`.\n"
        return self._admission.judge_upgrade(Request(f"{path}?{query}" if query else path, headers))

    def _let_in(self, connection: MediaConnection, scope: Scope) -> None:
        """A stranger: where there are too many, the oldest goes."""
        peer, forwarded = _came_from(scope)
        oldest = self._unproven.enter(connection, self._addresses.behind(peer, forwarded))
        if oldest is not None:
            self._host.count("gave_way")
            oldest.abort()

    # What the service asks of a listener.

    @property
    def status(self) -> str:
        """``ready``, or why no new call is taken now."""
        return status_of(self._host, is_short=False)

    @property
    def sockets(self) -> Sequence[socket.socket]:
        """None: they are the host's."""
        return ()

    async def bind(self, given: Sequence[socket.socket] = ()) -> None:
        """The host listens."""

    def leave_port(self) -> None:
        """The port is the host's."""

    def listen(self) -> None:
        """The host listens."""

    def proven(self, connection: MediaConnection) -> None:
        """It is no stranger's any more."""
        self._unproven.leave(connection)

    def forget(self, connection: MediaConnection) -> None:
        """The connection is gone."""
        self.connections.discard(connection)
        self._unproven.leave(connection)

    def stop(self) -> None:
        """Let nobody in, and end the connections with 1001."""
        self._is_over = True
        for connection in list(self.connections):
            connection.close(1001, "server shuts down")

    async def close(self) -> None:
        """The host ends HTTP."""


def _path_of(scope: Scope) -> str:
    """The path behind the mount: some hosts' applications leave the mount's own part in it."""
    path, root = str(scope["path"]), str(scope.get("root_path", "")).rstrip("/")
    is_whole = bool(root) and (path == root or path.startswith(f"{root}/"))
    return path[len(root) :] if is_whole else path


async def _refuse(scope: Scope, send: Send, status: http.HTTPStatus, text: str) -> None:
    """Answer with status and text where the host can; all else is 403."""
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": 1008, "reason": text.strip()[:120]})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "websocket.http.response.start", "status": int(status), "headers": headers})
    await send({"type": "websocket.http.response.body", "body": text.encode()})


def _came_from(scope: Scope) -> tuple[str, list[str]]:
    """Who connects, and whom proxies say that they connect for."""
    peer = (scope.get("client") or ("",))[0]
    return peer, [v.decode("latin-1") for n, v in scope["headers"] if n == b"x-forwarded-for"]
