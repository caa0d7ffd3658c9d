"""HTTP on the media port: health for machines, and whatever routes are added.

uvicorn's ``H11Protocol`` is made here by hand, on a connection whose first bytes were
no upgrade. It is no public API: ``tests/server/sockets/test_http.py`` holds what is used of
it, and ``make versions`` runs that with older versions.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from mediaserver.logs import LimitedLog, address
from mediaserver.server.sockets.heads import MAX_HEAD_BYTES, problem_of_framing
from mediaserver.server.sockets.peers.room import Room

# A connection may carry several requests, but not for ever: a slow sender has no
# deadline inside the protocol, so its connection has one.
CONNECTION_S = 60.0
LAST_RESPONSE_S = 10.0
MAX_CONNECTIONS = 512
MAX_OF_ADDRESS = 128
# A peer that sends its requests without waiting for answers would take all of the loop's time.
# Webhooks may be hundreds a second, and a proxy may send them all on one connection.
MAX_REQUESTS = 1_000
REQUESTS_PER_SECOND = 500

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

# It has a line for each malformed request: as many as strangers like.
_quiet = logging.getLogger(f"{__name__}.uvicorn")
_quiet.setLevel(logging.ERROR)


class Health(Protocol):
    """What the health routes report."""

    @property
    def draining(self) -> bool:
        """No new calls are taken."""

    @property
    def is_able(self) -> bool:
        """There is a process that can take a call."""

    @property
    def overload(self) -> str:
        """Why new calls must wait: ``late``, ``memory``, or nothing."""

    @property
    def n_calls(self) -> int:
        """Live calls."""


class BoundedProtocol(H11Protocol):
    """The HTTP protocol of one connection whose life is bounded.

    Args:
        config: of all connections.
        state: of all connections.
        over: called once, when the connection is gone.
    """

    def __init__(
        self, config: Config, state: ServerState, over: Callable[[BoundedProtocol], None]
    ) -> None:
        super().__init__(config, state, {"connection": self})
        self.logger: logging.Logger = _quiet
        self._over = over
        self._timer = self.loop.call_later(CONNECTION_S, self.retire)
        self._requests = 0
        self._second = 0.0
        self._requests_in_second = 0

    @property
    def is_idle(self) -> bool:
        """No request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def is_used_up(self) -> bool:
        """It has brought as many requests as a connection may."""
        return self._requests >= MAX_REQUESTS

    def may_ask(self, now: float) -> bool:
        """Whether one more request is answered; call it once for each."""
        if now - self._second >= 1.0:
            self._second, self._requests_in_second = now, 0
        self._requests += 1
        self._requests_in_second += 1
        return self._requests_in_second <= REQUESTS_PER_SECOND

    def keep_open(self) -> None:
        """The response under way has no end of its own: the connection lives until ``retire``.

        For a route whose caller has proven who they are; it gets this connection in its scope's
        ``state``.
        """
        self._timer.cancel()

    def retire(self) -> None:
        """End the connection behind its last response."""
        self._timer.cancel()
        self._timer = self.loop.call_later(LAST_RESPONSE_S, self.abort)
        self.shutdown()

    def abort(self) -> None:
        """End the connection now."""
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """From the transport."""
        self._timer.cancel()
        self._over(self)
        super().connection_lost(exc)


class HttpHost:
    """Makes and ends the HTTP protocols of one server.

    There is always room for one more: where there is not, the oldest that is idle goes, else the
    oldest.

    Args:
        app: answers the requests.
        count: counts by name: ``gave_way``, a connection that goes because of another;
            ``refused_requests``, one that goes because it brings too many requests a second.

    Attributes:
        count: as given.
    """

    def __init__(self, app: Starlette, count: Callable[[str], None]) -> None:
        config = Config(
            _Bounded(_Sound(app), count),
            http=H11Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,  # request lines may hold tokens
            proxy_headers=False,
            server_header=False,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        )
        config.load()
        self._config = config
        self._state = ServerState()
        self.count = count
        self._is_retired = False
        self._room: Room[BoundedProtocol] = Room(MAX_CONNECTIONS, MAX_OF_ADDRESS)

    def protocol(self, address: str | None) -> BoundedProtocol:
        """A protocol for one new connection of this address, if it is known."""
        protocol = BoundedProtocol(self._config, self._state, self._room.leave)
        if self._is_retired:
            asyncio.get_running_loop().call_soon(protocol.retire)
        goes = self._room.enter(protocol, address, lambda each: each.is_idle)
        if goes is not None:
            self.count("gave_way")
            goes.abort()
        return protocol

    def give_way(self) -> bool:
        """End an idle connection for something else; False if there is none."""
        oldest = self._room.take_oldest(lambda each: each.is_idle)
        if oldest is not None:
            oldest.abort()
        return oldest is not None

    def retire(self) -> None:
        """End every connection behind its response, those to come behind their first."""
        self._is_retired = True
        for connection in list(self._room):
            connection.retire()

    async def close(self) -> None:
        """Let responses under way finish for a moment, then end every connection."""
        self.retire()
        if self._state.tasks:
            await asyncio.wait(self._state.tasks, timeout=1.0)
        for connection in list(self._room):
            connection.abort()


class _Bounded:
    """Bounds how many requests one connection may bring, and how many a second."""

    def __init__(self, app: ASGIApp, count: Callable[[str], None]) -> None:
        self._app = app
        self.count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection: BoundedProtocol = scope["state"]["connection"]
        if not connection.may_ask(monotonic()):
            await self._refuse(connection, scope, receive, send)
            return

        async def send_last(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        await self._app(scope, receive, send_last if connection.is_used_up else send)

    async def _refuse(
        self, connection: BoundedProtocol, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """End the connection; a peer that does not read the answer is not waited for long."""
        self.count("refused_requests")
        text = "a connection from %s was closed: it brought more than %d HTTP requests in a second"
        limited.warning("connections closed", text, address(scope["client"]), REQUESTS_PER_SECOND)
        connection.retire()
        reason = "Too many requests on one connection.\n"
        await PlainTextResponse(reason, 429, {"Connection": "close"})(scope, receive, send)


class _Sound:
    """Refuses what two readers could read in two ways, also in a connection's later requests."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            fields: list[tuple[bytes, bytes]] = scope["headers"]
            lengths, codings, hosts = (
                [value for field, value in fields if field == name]
                for name in (b"content-length", b"transfer-encoding", b"host")
            )
            problem = problem_of_framing(lengths, codings)
            reason = problem.reason if problem else "There must be one Host field."
            if problem or len(hosts) > 1:
                refusal = PlainTextResponse(f"{reason}\n", 400, {"Connection": "close"})
                await refusal(scope, receive, send)
                return

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                # What is text is no script, whatever a browser makes of it.
                message["headers"] = [*message["headers"], (b"x-content-type-options", b"nosniff")]
            await send(message)

        await self._app(scope, receive, send_on)


READY = "ready"


def status_of(health: Health, *, is_short: bool) -> str:
    """``ready``, or why no new call is taken now."""
    if health.draining:
        return "draining"
    if not health.is_able:
        return "no worker"
    if is_short:
        return "no descriptors"
    return f"overload: {health.overload}" if health.overload else READY


def make_app(
    health: Health,
    is_short: Callable[[], bool],
    routes: Sequence[BaseRoute] = (),
    prefix: str = "",
) -> Starlette:
    """The HTTP side: ``/healthz``, ``/readyz``, a hint on ``/media``, and ``routes``.

    All are behind ``prefix`` as well, where there is one. ``is_short`` says whether descriptors
    run out.
    """

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok", "calls": health.n_calls})

    async def readyz(_: Request) -> Response:
        status = status_of(health, is_short=is_short())
        code = 200 if status == READY else 503
        return JSONResponse({"status": status, "calls": health.n_calls}, code)

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
