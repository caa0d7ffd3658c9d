"""The ASGI application: its life, and which part answers what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.types import Receive, Scope, Send

from mediaserver.app import MediaServer
from mediaserver.asgi.door import Door
from mediaserver.control.webhooks.receiver import WebhookReceiver
from mediaserver.settings import Settings


class MediaApp:
    """An ASGI application that carries calls in the process of its host.

    It starts with the first request, or with its lifespan, on the event loop of that; it serves
    one loop, once.

    Args:
        settings: see ``asgi.app``.
        webhooks: see ``asgi.app``.

    Attributes:
        server: what it is made of: ``server.webhooks``, ``server.client``, ``server.service``.

    Raises:
        ConfigurationError: see ``asgi.app``.
    """

    def __init__(
        self, settings: Settings | None = None, *, webhooks: WebhookReceiver | None = None
    ) -> None:
        self._door: Door | None = None
        self.server: MediaServer = MediaServer(
            settings, webhooks=webhooks, make_listener=self._make_door
        )
        self._starting: asyncio.Task[object] | None = None
        self._is_over = False

    def _make_door(self, *args: Any) -> Door:
        self._door = Door(*args)
        return self._door

    @property
    def door(self) -> Door:
        """Where connections come in."""
        assert self._door is not None, "the server makes it"
        return self._door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the specification of ASGI: types ``http``, ``websocket`` and ``lifespan``."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        await self.start()
        if scope["type"] == "websocket":
            await self.door.media(scope, receive, send)
        else:
            await self.door.http(scope, receive, send)

    async def start(self) -> None:
        """Be ready for calls; the first request does it, if nobody has before.

        Raises:
            ConfigurationError: a setting cannot be used.
        """
        if self._starting is None:
            self._starting = asyncio.ensure_future(self.server.__aenter__())
        # A request that is cancelled leaves the others waiting.
        await asyncio.shield(self._starting)

    async def aclose(self) -> None:
        """End every call; what still comes is refused."""
        if self._starting is None or self._is_over:
            return
        self._is_over = True
        await asyncio.wait({self._starting})
        if self._starting.exception() is None:
            await self.server.__aexit__(None, None, None)

    @asynccontextmanager
    async def lifespan(self, _: object = None) -> AsyncIterator[None]:
        """The ``lifespan`` of the application that this one is mounted in, or a part of it.

        Most applications do not tell those mounted in them when they start and end.
        """
        await self.start()
        try:
            yield
        finally:
            await self.aclose()

    async def _live(self, receive: Receive, send: Send) -> None:
        """Be told of start and end by the host itself."""
        await receive()
        try:
            await self.start()
        except Exception as exc:  # the host says it, and ends
            await send({"type": "lifespan.startup.failed", "message": str(exc)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.aclose()
        await send({"type": "lifespan.shutdown.complete"})
