"""The server as a whole, and the way to embed it."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, cast

from mediaserver.app.loop import loop_factory
from mediaserver.control import (
    RestartLimits,
    StreamRestarter,
    WebhookReceiver,
    answer_incoming,
    webhook_route,
)
from mediaserver.control.client import client_of
from mediaserver.control.encoding import encode_error
from mediaserver.control.events import Event
from mediaserver.control.rest.fields import BidirectionalCodec, BidirectionalMode, BidirectionalRate
from mediaserver.control.rest.streams import StartStreamingOptions
from mediaserver.errors import ConfigurationError
from mediaserver.observer import StreamRequest
from mediaserver.server.service import SingleProcessService
from mediaserver.server.workers.process import WorkerLimits
from mediaserver.server.workers.service import MultiProcessService
from mediaserver.settings import Settings

__all__ = ["MediaServer", "client_of", "loop_factory"]

logger = logging.getLogger(__name__)


class MediaServer:
    """Server, processors and control; with ``workers`` in processes of their own.

    Use it as an async context manager to embed it, or ``run`` it until it is told to stop::

        async with MediaServer(Settings(port=0)) as server:
            print(server.url)

    Args:
        settings: see ``Settings``.
        limits: how long workers may be silent; tests are less patient.

    Attributes:
        service: the media side: its calls and counters.
        client: the control client; None without an API key.
        webhooks: what Telnyx reports, ``@server.webhooks.on("call.hangup")``; None without
            a public key.

    Raises:
        ConfigurationError: a setting cannot be used; from here and from entering.
    """

    def __init__(
        self, settings: Settings | None = None, *, limits: WorkerLimits | None = None
    ) -> None:
        self.settings = settings = settings or Settings()
        self.client = client_of(settings)
        self.webhooks: WebhookReceiver | None = None
        if settings.public_keys:
            self.webhooks = WebhookReceiver(
                key.strip() for key in settings.public_keys.split(",") if key.strip()
            )
        self._restarter = _restarter(settings, self._restart)
        self._requests: dict[str, StreamRequest] = {}
        self._callbacks: dict[str, Callable[[Event], None]] = {}
        self._wire()
        routes = [webhook_route(self.webhooks)] if self.webhooks is not None else []
        hangup = self.client.calls.actions.hangup if self.client is not None else None
        self.service: SingleProcessService | MultiProcessService
        if settings.workers == 1:
            self.service = SingleProcessService(
                settings, routes=routes, hangup=hangup, observer=self
            )
        else:
            self.service = MultiProcessService(
                settings,
                routes=routes,
                hangup=hangup,
                encode_error=encode_error,
                observer=self,
                limits=limits,
            )

    @property
    def url(self) -> str:
        """Where streams connect to, as seen from this machine."""
        host = self.settings.host
        if host in ("0.0.0.0", "::"):
            host = "127.0.0.1"
        shown = f"[{host}]" if ":" in host else host
        return f"ws://{shown}:{self.service.port}/media"

    async def __aenter__(self) -> MediaServer:
        await self.service.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.service.close()
        if self._restarter is not None:
            await self._restarter.aclose()
        if self.webhooks is not None:
            await self.webhooks.aclose()
        if self.client is not None:
            await self.client.aclose()

    async def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Serve until SIGTERM or SIGINT, then drain; a second signal ends at once.

        ``ready`` is called when signals are heard.
        """
        loop = asyncio.get_running_loop()
        stop, now = asyncio.Event(), asyncio.Event()

        def signalled() -> None:
            if stop.is_set():
                now.set()
            stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, signalled)
        try:
            ready()
            await stop.wait()
            self.service.drain()
            waits = [
                asyncio.create_task(self.service.drained()),
                asyncio.create_task(now.wait()),
            ]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    # CallObserver: webhooks join their call, broken streams are started again.

    def opened(
        self, call_id: str, request: StreamRequest, webhook: Callable[[Any, str], None]
    ) -> None:
        """A call has its media socket."""
        self._requests[call_id] = request
        if self.webhooks is not None:
            # A second socket may have brought a new session, while the old one's handlers end.
            if call_id in self._callbacks:
                self.webhooks.detach(call_id, self._callbacks[call_id])

            def callback(event: Event) -> None:
                webhook(event, event.event_type)

            self._callbacks[call_id] = callback
            self.webhooks.attach(call_id, callback)
        if self._restarter is not None:
            self._restarter.connected(call_id)

    def lost(self, call_id: str) -> None:
        """A call lost its socket without ``stop``."""
        if self._restarter is not None:
            self._restarter.socket_lost(call_id)

    def closed(self, call_id: str, reason: str) -> None:
        """A call's media is over."""
        callback = self._callbacks.pop(call_id, None)
        if self.webhooks is not None and callback is not None:
            self.webhooks.detach(call_id, callback)
        if reason == "lost" and self._restarter is not None:
            return  # the restarter still needs to know what to ask for
        self._requests.pop(call_id, None)
        if self._restarter is not None:
            self._restarter.ended(call_id)

    async def _restart(self, call_id: str) -> None:
        """Ask for the stream that broke, as it was."""
        assert self.client is not None
        request = self._requests.get(call_id)
        options: StartStreamingOptions = {}
        if request is not None:
            options["processor"] = request.processor
            options["processor_parameters"] = request.parameters or None
            options["stream_bidirectional_mode"] = cast(BidirectionalMode, request.send_mode)
            if request.send_mode == "rtp":
                options["stream_bidirectional_codec"] = cast(BidirectionalCodec, request.send_codec)
                rate = cast(BidirectionalRate, request.send_rate)
                options["stream_bidirectional_sampling_rate"] = rate
        await self.client.calls.actions.start_streaming(call_id, **options)

    async def _answer(self, event: Event) -> None:
        assert self.client is not None
        codec = cast(BidirectionalCodec, self.settings.send_codec)
        await answer_incoming(self.client, event, stream_bidirectional_codec=codec)

    def _wire(self) -> None:
        if self.settings.answer:
            if self.client is None or self.webhooks is None or self.settings.public_url is None:
                raise ConfigurationError("answer needs api_key, public_keys and public_url")
            self.webhooks.on("call.initiated")(self._answer)
        if self._restarter is not None and self.webhooks is not None:
            self.webhooks.on("*")(self._restarter.on_event)


def _restarter(
    settings: Settings, restart: Callable[[str], Awaitable[None]]
) -> StreamRestarter | None:
    if not settings.auto_restart:
        return None
    if settings.api_key is None or settings.public_url is None:
        raise ConfigurationError("auto_restart needs api_key and public_url")
    return StreamRestarter(restart, limits=RestartLimits(grace_s=settings.reconnect_grace_s))
