"""The control client: Telnyx's call control over REST, by the official SDKs' names."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import httpx

from mediaserver.control.errors import InvalidFieldError
from mediaserver.control.own_server import OwnServer, check_url, is_loopback
from mediaserver.control.rest.applications import CallControlApplications
from mediaserver.control.rest.commander import Commander
from mediaserver.control.rest.commands import Calls
from mediaserver.control.rest.retry import RetryPolicy
from mediaserver.control.rest.transport import Transport
from mediaserver.errors import ConfigurationError
from mediaserver.figures.figures import Figures
from mediaserver.settings import Settings

BASE_URL = "https://api.telnyx.com/v2"


class TelnyxClient:
    """Commands calls over REST, from one event loop; close it with ``aclose()`` or ``async with``.

    Args:
        api_key: of the Telnyx account; appears in no message, log or repr.
        base_url: of the REST interface; plain http to loopback only.
        public_url: how Telnyx reaches our media server; builds ``stream_url``.
        auth_token: the secret shared with our media server; a token per call is made from it.
        allow_insecure: let plain http and ws leave this machine.
        policy: deadlines and retries.
        max_connections: requests at once.
        transport: of httpx, for tests and special networks.
        clock: monotonic seconds.
        sleep: waits between tries.
        draw: jitter, in [0, 1).
        wall_clock: unix seconds, for tokens.

    Raises:
        InvalidFieldError: a setting that cannot be used.
    """

    def __init__(
        self,
        api_key: str,
        *,
        base_url: str = BASE_URL,
        public_url: str | None = None,
        auth_token: str | None = None,
        allow_insecure: bool = False,
        policy: RetryPolicy | None = None,
        max_connections: int = 20,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        draw: Callable[[], float] = random.random,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        if not isinstance(api_key, str) or not re.fullmatch(r"[!-~]+", api_key):
            # Refused here because deeper down an unusable header would be quoted in the error.
            raise InvalidFieldError("api_key", "printable characters without blanks")
        check_url("base_url", base_url, "https", allow_insecure=allow_insecure)
        self.server: OwnServer = OwnServer(public_url, auth_token, allow_insecure)
        http = _pool(api_key, base_url, transport, max_connections)
        self._transport = Transport(http, max_at_once=max_connections)
        commander = Commander(
            self._transport,
            policy or RetryPolicy(),
            secrets=tuple(secret for secret in (api_key, auth_token) if secret),
            clock=clock,
            sleep=sleep,
            draw=draw,
        )
        self._commander = commander
        self.calls: Calls = Calls(commander, self.server, wall_clock)
        self.call_control_applications: CallControlApplications = CallControlApplications(commander)

    @property
    def figures(self) -> Figures:
        """Commands so far: how they ended, and how long they took."""
        return self._commander.figures

    @property
    def webhook_url(self) -> str | None:
        """Where Telnyx is to send webhooks, from ``public_url``."""
        return self.server.webhook_url

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections; requests under way get a moment to finish."""
        await self._transport.aclose()


def _pool(
    api_key: str,
    base_url: str,
    transport: httpx.AsyncBaseTransport | None,
    max_connections: int,
) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=base_url,
        headers={"authorization": f"Bearer {api_key}", "accept": "application/json"},
        transport=transport,
        # No proxy of the environment leads back to this machine.
        trust_env=not is_loopback(urlsplit(base_url).hostname or ""),
        # Shorter than common servers keep a connection, so that one is seldom closed in use.
        limits=httpx.Limits(max_connections=max_connections, keepalive_expiry=3.0),
    )


def client_from(settings: Settings, policy: RetryPolicy | None = None) -> TelnyxClient | None:
    """The control client of these settings; None without an API key.

    Raises:
        ConfigurationError: one of them cannot be used.
    """
    if settings.api_key is None:
        return None
    try:
        return TelnyxClient(
            settings.api_key,
            base_url=settings.api_base_url,
            public_url=settings.public_url,
            auth_token=settings.auth_token,
            allow_insecure=settings.allow_insecure,
            policy=policy,
        )
    except InvalidFieldError as exc:
        name = {"base_url": "api_base_url"}.get(exc.field, exc.field)
        raise ConfigurationError(f"wrong setting {name}: it must be {exc.allowed}") from exc
