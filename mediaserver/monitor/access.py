"""Who may use the admin pages: metrics, the lists of calls, hanging up a call.

    admin_token   admin_port   the pages are
    no            no           not there (404)
    yes           no           on the media port, with the token
    no            yes          on the second port, for everybody, but not for other sites' pages
    yes           yes          on the second port, with the token

The token comes as `Authorization: Bearer TOKEN`. `listen_token` opens them as well; and it alone
opens what lets somebody listen in to a call, or take part in it, wherever the pages are.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import Receive, Scope, Send

from mediaserver.logs import LimitedLog
from mediaserver.monitor.port import HttpPort
from mediaserver.settings import Settings

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))


class Guarded(BaseRoute):
    """A route with access control: a request without a right token gets 401.

    Args:
        inner: the route.
        tokens: a request must present one of them; empty: nobody may use the route. None: no
            token is needed; but a request that a web page of another site makes, in the browser
            of somebody who can reach this port, gets 403.
        count: counts refused requests.
    """

    def __init__(
        self, inner: BaseRoute, tokens: Sequence[str] | None, count: Callable[[str], None]
    ) -> None:
        self._inner = inner
        self.count = count
        self._tokens = tokens

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As the route itself."""
        return self._inner.matches(scope)

    def url_path_for(self, name: str, /, **path_params: object) -> NoReturn:
        """Nothing here asks for addresses by names."""
        raise NoMatchFound(name, path_params)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse."""
        refusal = self._refusal(Headers(scope=scope))
        if refusal is None:
            await self._inner.handle(scope, receive, send)
            return
        self.count("refused_admin")
        limited.warning("requests refused", "an admin page was refused: %s", refusal.status_code)
        await refusal(scope, receive, send)

    def _refusal(self, headers: Headers) -> Response | None:
        if self._tokens is None:
            if _is_of_another_site(headers):
                return PlainTextResponse("This page is not for other sites.\n", 403)
        elif not self._tokens:
            return PlainTextResponse("Nobody may do this: `listen_token` is not set.\n", 403)
        elif not _presents(headers, self._tokens):
            return PlainTextResponse(
                "This page needs `Authorization: Bearer` and the admin token.\n",
                401,
                {"WWW-Authenticate": 'Bearer realm="mediaserver"'},
            )
        return None


def _presents(headers: Headers, tokens: Sequence[str]) -> bool:
    """Whether the one ``Authorization`` field has one of these tokens."""
    given = headers.getlist("authorization")
    if len(given) != 1:
        return False
    scheme, _, presented = given[0].partition(" ")
    # Fields are read as Latin-1, which turns back into the octets that came.
    octets = presented.strip().encode("latin-1")
    right = [hmac.compare_digest(octets, token.encode()) for token in tokens]
    return scheme.lower() == "bearer" and any(right)


def _is_of_another_site(headers: Headers) -> bool:
    """Whether a browser asks for a page of another site.

    Also where that site's name was made to lead here: this one has none but ``localhost``.
    """
    origin = headers.get("origin")
    if origin is None:
        return False
    host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
    return origin.partition("://")[2] != headers.get("host") or not _is_own_name(host)


def _is_own_name(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return True


def guarded(
    routes: Iterable[BaseRoute], settings: Settings, count: Callable[[str], None]
) -> list[BaseRoute]:
    """These routes, for those whom the settings let see them; ``count`` counts the others."""
    admin = settings.admin_token
    tokens = None if admin is None else (admin, *_listeners(settings))
    return [Guarded(route, tokens, count) for route in routes]


def for_listeners(
    routes: Iterable[BaseRoute], settings: Settings, count: Callable[[str], None]
) -> list[BaseRoute]:
    """These routes, for those who may listen in to calls; ``count`` counts the others."""
    return [Guarded(route, _listeners(settings), count) for route in routes]


def may_listen(headers: Headers, settings: Settings) -> bool:
    """Whether whoever asks may listen in to calls."""
    return _presents(headers, _listeners(settings))


def _listeners(settings: Settings) -> tuple[str, ...]:
    return () if settings.listen_token is None else (settings.listen_token,)


def on_media_port(routes: Sequence[BaseRoute], settings: Settings) -> Sequence[BaseRoute]:
    """What of these guarded routes is served beside the media."""
    is_there = settings.admin_port is None and settings.admin_token is not None
    return routes if is_there else ()


def on_own_port(
    routes: Sequence[BaseRoute], settings: Settings, count: Callable[[str], None]
) -> HttpPort | None:
    """The port that serves these guarded routes alone; None: there is none."""
    if settings.admin_port is None:
        return None
    is_open = settings.admin_token is None
    app = Starlette(routes=routes)
    return HttpPort(app, settings.admin_host, settings.admin_port, count, is_open=is_open)
