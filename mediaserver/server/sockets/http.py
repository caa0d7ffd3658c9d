"""HTTP on the media port: health for machines, and whatever routes are added.

uvicorn's ``H11Protocol`` is made here by hand, on a connection whose first bytes were
no upgrade. It is no public API: ``tests/server/sockets/test_http.py`` holds what is used of
it, and ``make versions`` runs that with older versions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from mediaserver.server.sockets.first_bytes import MAX_HEAD_BYTES

# A connection may carry several requests, but not for ever: a slow sender has no
# deadline inside the protocol, so its connection has one.
CONNECTION_S = 60.0
LAST_RESPONSE_S = 10.0
MAX_CONNECTIONS = 512


class Health(Protocol):
    """What the health routes report."""

    @property
    def draining(self) -> bool:
        """No new calls are taken."""

    @property
    def is_able(self) -> bool:
        """There is a process that can take a call."""

    @property
    def n_calls(self) -> int:
        """Live calls."""


class HttpHost:
    """Makes and ends the HTTP protocols of one server."""

    def __init__(self, app: Starlette) -> None:
        config = Config(
            app,
            http=H11Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,  # request lines may hold tokens
            proxy_headers=False,
            server_header=False,
            limit_concurrency=MAX_CONNECTIONS,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        )
        config.load()
        self._config = config
        self._state = ServerState()

    def protocol(self) -> asyncio.Protocol:
        """A protocol for one new connection, whose life is bounded."""
        protocol = H11Protocol(self._config, self._state, {})
        asyncio.get_running_loop().call_later(CONNECTION_S, self._retire, protocol)
        return protocol

    async def close(self) -> None:
        """Let responses under way finish for a moment, then end every connection."""
        for connection in list(self._state.connections):
            if isinstance(connection, H11Protocol):  # the only kind made here
                self._retire(connection)
        if self._state.tasks:
            await asyncio.wait(self._state.tasks, timeout=1.0)
        for connection in list(self._state.connections):
            connection.transport.abort()

    def _retire(self, protocol: H11Protocol) -> None:
        """End a connection behind its last response."""
        if protocol in self._state.connections:
            protocol.shutdown()
            asyncio.get_running_loop().call_later(LAST_RESPONSE_S, protocol.transport.abort)


def make_app(health: Health, routes: Sequence[BaseRoute] = (), prefix: str = "") -> Starlette:
    """The HTTP side: ``/healthz``, ``/readyz``, a hint on ``/media``, and ``routes``.

    All are behind ``prefix`` as well, where there is one.
    """

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok", "calls": health.n_calls})

    async def readyz(_: Request) -> Response:
        if health.draining:
            return JSONResponse({"status": "draining", "calls": health.n_calls}, 503)
        if not health.is_able:
            return JSONResponse({"status": "no worker", "calls": health.n_calls}, 503)
        return JSONResponse({"status": "ready", "calls": health.n_calls})

    async def media(_: Request) -> Response:
        return PlainTextResponse(
            "This is a media stream: connect with WebSocket.\n", 426, {"Upgrade": "websocket"}
        )

    plain = [
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/media", media),
        Route("/media/{name_or_token:path}", media),
        *routes,
    ]
    return Starlette(routes=[*plain, *([Mount(prefix, routes=plain)] if prefix else [])])
