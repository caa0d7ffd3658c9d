"""Serves the page: one port, for its files and for its socket.

Who may open the socket: on loopback, anybody on this machine, but no web page of another site
(a browser would allow that); on another address, anybody with the token of this start. The
files hold no secret.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hmac
import ipaddress
import logging
import secrets
import socket
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

from starlette.applications import Starlette
from starlette.requests import Request as WebRequest
from starlette.responses import RedirectResponse
from starlette.routing import Route
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from mediaserver.errors import ConfigurationError
from mediaserver.monitor.static import static_routes
from mediaserver.phone.desk import Desk, formats
from mediaserver.phone.web import answer, plain

DEFAULT_PORT = 8087
"""Always the same, as browsers remember by it who may use the microphone."""
PREFIX = "/phone"
SOCKET_PATH = "/phone/call"
MAX_PAGES = 16
MAX_MESSAGE = 64 * 1024
AGAIN_S = 0.2
# For pages and their calls, when the server ends; then nobody waits for them.
CLOSE_WITHIN_S = 8.0

# The library has a line, with a traceback, for each connection that says nothing.
_quiet = logging.getLogger(f"{__name__}.websockets")
_quiet.setLevel(logging.CRITICAL)


class PhoneServer:
    """Serves the page. Entering listens; leaving ends all calls of its pages.

    Args:
        url: of the media server that is called.
        token: auth token of the streams.
        host: address to listen on; if other machines reach it, a token is required.
        port: TCP port; 0 takes a free one.
        patient: if another process has the port, try again later, without blocking.

    Raises:
        ConfigurationError: the address cannot be listened on; from entering.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        host: str = "127.0.0.1",
        port: int = DEFAULT_PORT,
        patient: bool = False,
    ) -> None:
        self._call_url = url
        self._call_token = token
        self._host = host
        self._wanted = port
        self._patient = patient
        self._page_token: str | None = None
        self._server: Server | None = None
        self._waiting: asyncio.Task[None] | None = None
        self._n_pages = 0
        self._app = Starlette(
            routes=[
                Route("/", _to_page, methods=["GET"]),
                *static_routes(PREFIX, Path(__file__).parent / "page"),
            ]
        )

    @property
    def url(self) -> str:
        """Where the page is; on an address that others reach, with the token that it needs."""
        port = self._wanted
        if self._server is not None:
            port = next(iter(self._server.sockets)).getsockname()[1]
        shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host, self._host)
        shown = f"[{shown}]" if ":" in shown else shown
        token = "" if self._page_token is None else f"#{self._page_token}"
        return f"http://{shown}:{port}{PREFIX}/{token}"

    async def __aenter__(self) -> Self:
        formats()  # now, as it is slow for the first time
        try:
            await self._listen()
        except OSError as exc:
            if not self._patient or exc.errno != errno.EADDRINUSE:
                text = exc.strerror or exc
                raise ConfigurationError(
                    f"phone: cannot listen on {self._host}:{self._wanted}: {text}"
                ) from exc
            self._waiting = asyncio.create_task(self._listen_later())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Listen no more, and end all calls of the pages; twice does nothing."""
        if self._waiting is not None:
            self._waiting.cancel()
            await asyncio.gather(self._waiting, return_exceptions=True)
        if self._server is not None:
            self._server.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_WITHIN_S):
                    await self._server.wait_closed()

    async def _listen_later(self) -> None:
        while self._server is None:
            await asyncio.sleep(AGAIN_S)
            with contextlib.suppress(OSError):
                await self._listen()

    async def _listen(self) -> None:
        server = await serve(
            self._serve_page,
            self._host,
            self._wanted,
            process_request=self._judge,
            compression=None,
            max_size=MAX_MESSAGE,
            close_timeout=2.0,
            server_header=None,
            logger=_quiet,
        )
        if self._page_token is None and _is_reachable(list(server.sockets)):
            self._page_token = secrets.token_urlsafe(16)
        self._server = server

    async def _serve_page(self, page: ServerConnection) -> None:
        if self._n_pages >= MAX_PAGES:
            await page.close(1013, "too many pages are open")
            return
        self._n_pages += 1
        try:
            await Desk(page, self._call_url, self._call_token).serve()
        finally:
            self._n_pages -= 1

    async def _judge(self, _: ServerConnection, request: Request) -> Response | None:
        """Answer a request; None: it may become a WebSocket."""
        target = urlsplit(request.path)
        if target.path != SOCKET_PATH:
            return await answer(self._app, request)
        if _is_of_another_site(request.headers, named=self._page_token is not None):
            return plain(HTTPStatus.FORBIDDEN, "This page is not for other sites.")
        given = parse_qs(target.query).get("token", [""])[0]
        if self._page_token is not None and not hmac.compare_digest(
            given.encode(), self._page_token.encode()
        ):
            return plain(HTTPStatus.UNAUTHORIZED, "The address of the page holds its token.")
        return None


async def _to_page(_: WebRequest) -> RedirectResponse:
    return RedirectResponse(f"{PREFIX.removeprefix('/')}/", 307)


def _is_reachable(sockets: list[socket.socket]) -> bool:
    """Others than this machine can come."""
    hosts = {each.getsockname()[0].partition("%")[0] for each in sockets}
    return not all(ipaddress.ip_address(host).is_loopback for host in hosts)


def _is_of_another_site(headers: Headers, *, named: bool) -> bool:
    """Whether a browser asks for a page of another site.

    Also, unless this machine may have a name of its own (``named``), where that site's name was
    made to lead here.
    """
    origins, hosts = headers.get_all("Origin"), headers.get_all("Host")
    if not origins:
        return False
    if len(origins) > 1 or len(hosts) != 1 or origins[0].partition("://")[2] != hosts[0]:
        return True
    return not named and not _is_own_name(urlsplit(f"//{hosts[0]}").hostname or "")


def _is_own_name(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return True
