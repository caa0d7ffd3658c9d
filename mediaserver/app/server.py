"""The server as a whole, and the way to embed it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import cast

from mediaserver.app.call_store import CallStore
from mediaserver.app.loop import loop_factory
from mediaserver.app.relations import Relations
from mediaserver.app.runners import runners_for
from mediaserver.app.signals import StopSignals
from mediaserver.control import (
    RestartLimits,
    WebhookReceiver,
    answer_incoming,
    encoding,
    webhook_route,
)
from mediaserver.control.client import TelnyxClient, client_from
from mediaserver.control.events import Event
from mediaserver.control.rest.actions.bound import perform
from mediaserver.control.rest.fields import BidirectionalCodec, BidirectionalRate
from mediaserver.errors import ConfigurationError
from mediaserver.observer import masked
from mediaserver.processors.discovery import check_importable
from mediaserver.processors.routing import silences, told
from mediaserver.server.base import Service
from mediaserver.server.service import SingleProcessService
from mediaserver.server.workers.process import WorkerLimits
from mediaserver.server.workers.service import MultiProcessService
from mediaserver.settings import Settings

__all__ = ["MediaServer", "client_from", "loop_factory"]

logger = logging.getLogger(__name__)

# At the server's end, for handlers of webhooks.
WEBHOOKS_WITHIN_S = 5.0


class MediaServer:
    """Server, processors and control; with ``workers`` in processes of their own.

    Use it as an async context manager to embed it, or ``run`` it until it is told to stop::

        async with MediaServer(Settings(port=0)) as server:
            print(server.url)

    Args:
        settings: see ``Settings``.
        limits: how long workers may be silent; tests are less patient.
        webhooks: a receiver of the program's own, which its own web application serves by
            ``webhook_route``, on this event loop; this server serves none then.

    Attributes:
        service: the media side: its port, calls and counters; see ``Service``.
        client: the control client; None without an API key.
        webhooks: what Telnyx reports, ``@server.webhooks.on("call.hangup")``: the receiver that
            was given, or one of its own; None where neither that nor a public key is given.

    Raises:
        ConfigurationError: a setting cannot be used; from here and from entering.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        limits: WorkerLimits | None = None,
        webhooks: WebhookReceiver | None = None,
    ) -> None:
        settings = settings or Settings()
        self.settings: Settings = settings
        self.client: TelnyxClient | None = client_from(settings)
        self.webhooks = webhooks
        self._own_webhooks: WebhookReceiver | None = None
        if settings.public_keys and webhooks is None:
            self.webhooks = self._own_webhooks = WebhookReceiver(
                key.strip() for key in settings.public_keys.split(",") if key.strip()
            )
        store = CallStore(Path(settings.state_file)) if settings.state_file else None
        self._relations = Relations(self.client, self.webhooks, _restart_limits(settings), store)
        if settings.answer:
            self._answer_calls()
        self.service: Service = self._make_service(limits)
        self._signals: StopSignals | None = None

    def _make_service(self, limits: WorkerLimits | None) -> Service:
        own = self._own_webhooks
        routes = [webhook_route(own)] if own is not None else []
        commands = partial(perform, self.client.calls.actions) if self.client is not None else None
        if self.settings.workers == 1:
            return SingleProcessService(
                self.settings,
                routes=routes,
                perform=commands,
                observer=self._relations,
                runners=runners_for(self.settings),
            )
        for _, setting in self.settings.named():
            check_importable(setting.name)
        return MultiProcessService(
            self.settings,
            routes=routes,
            perform=commands,
            encoding=encoding,
            observer=self._relations,
            limits=limits,
        )

    @property
    def url(self) -> str:
        """Where streams connect to, as seen from this machine."""
        # An address that listens everywhere is reached at loopback of its own family.
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.settings.host, self.settings.host)
        shown = f"[{host}]" if ":" in host else host
        return f"ws://{shown}:{self.service.port}/media"

    async def __aenter__(self) -> MediaServer:
        await self.service.start()
        if self.settings.routes:
            for line in told(self.settings, masked):
                logger.info("%s", line)
        for line in silences(self.settings):
            logger.warning("%s", line)
        await self._relations.restore()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        signals = self._signals
        hurry = signals is not None and signals.now.is_set()
        await self.service.close(hurry=hurry)
        await self._relations.aclose()
        if self._own_webhooks is not None:
            await self._own_webhooks.aclose(0.0 if hurry else WEBHOOKS_WITHIN_S)
        if self.webhooks is not None:
            self.webhooks.off(self._answer)
        if self.client is not None:
            await self.client.aclose()
        if signals is not None:
            signals.close()

    async def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Serve until SIGTERM or SIGINT, then drain.

        A second signal ends the server now, and within two seconds the process, whatever
        users' code does. ``ready`` is called when signals are heard.
        """
        signals = self._signals = StopSignals(self.service.abort)
        signals.listen()
        ready()
        await signals.stop.wait()
        self.service.drain()
        waits = [
            asyncio.create_task(self.service.drained()),
            asyncio.create_task(signals.now.wait()),
        ]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    async def _answer(self, event: Event) -> None:
        assert self.client is not None
        codec = cast(BidirectionalCodec, self.settings.send_codec)
        rate = cast(BidirectionalRate | None, self.settings.send_rate)
        await answer_incoming(
            self.client,
            event,
            stream_bidirectional_codec=codec,
            stream_bidirectional_sampling_rate=rate,
        )

    def _answer_calls(self) -> None:
        if self.client is None or self.webhooks is None or self.settings.public_url is None:
            raise ConfigurationError("answer needs api_key, public_keys and public_url")
        self.webhooks.on("call.initiated")(self._answer)


def _restart_limits(settings: Settings) -> RestartLimits | None:
    if not settings.auto_restart:
        return None
    if settings.api_key is None or settings.public_url is None:
        raise ConfigurationError("auto_restart needs api_key and public_url")
    return RestartLimits(grace_s=settings.reconnect_grace_s)
