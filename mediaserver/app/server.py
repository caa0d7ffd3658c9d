"""The server as a whole, and the way to embed it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from starlette.routing import BaseRoute

from mediaserver.app.generations import Generations, Handed
from mediaserver.app.history import history_of
from mediaserver.app.loop import loop_factory
from mediaserver.app.relations import Followers, Relations
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
from mediaserver.figures.figures import Figures
from mediaserver.history.call_store import CallStore
from mediaserver.logs import LimitedLog
from mediaserver.monitor import access, metrics
from mediaserver.monitor.calls import CallPages
from mediaserver.monitor.live.pages import LivePages
from mediaserver.monitor.static import PAGES, static_routes
from mediaserver.observer import CallObserver
from mediaserver.processes.systemd import notify
from mediaserver.processors.discovery import check_importable
from mediaserver.processors.routing import silences, told
from mediaserver.server.base import Service
from mediaserver.server.calls.hangups import Perform
from mediaserver.server.listener import Listener
from mediaserver.server.service import MakeListener, SingleProcessService
from mediaserver.server.workers.process import WorkerLimits
from mediaserver.server.workers.service import MultiProcessService
from mediaserver.settings import Settings

__all__ = ["MediaServer", "client_from", "loop_factory"]

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

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
        handed: what this process was given at its start, by systemd or by the server before it.
        make_listener: makes where connections come in, if that is no port of its own; see
            ``mediaserver.asgi``.
        followers: told what becomes of the calls, too.

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
        handed: Handed | None = None,
        make_listener: MakeListener = Listener,
        followers: Sequence[CallObserver] = (),
    ) -> None:
        settings = settings or Settings()
        self.settings: Settings = settings
        self.client: TelnyxClient | None = client_from(settings)
        self._own_webhooks = _receiver(settings) if webhooks is None else None
        self.webhooks: WebhookReceiver | None = webhooks or self._own_webhooks
        store = CallStore(Path(settings.state_file)) if settings.state_file else None
        self._history = history_of(settings, self._count)
        self._relations = Relations(
            self.client,
            self.webhooks,
            _restart_limits(settings),
            store,
            self._history.recorder if self._history is not None else None,
        )
        self._generations = Generations(
            settings, handed or Handed(), self._relations, self._own_webhooks
        )
        self._observer: CallObserver = Followers((self._generations, *followers))
        if settings.answer:
            self._answer_calls()
        self._metrics = metrics.Metrics(settings, lambda: self.service, self._own_figures)
        self._live = LivePages(settings, lambda: self.service, self._count)
        admin_routes = self._all_admin_routes()
        on_media_port = access.on_media_port(admin_routes, settings)
        self.service: Service = self._make_service(limits, on_media_port, make_listener)
        self._admin_port = access.on_own_port(admin_routes, settings, self._count)
        self._signals: StopSignals | None = None

    def _all_admin_routes(self) -> list[BaseRoute]:
        """Each for those whom it is for."""
        return [
            *access.guarded(self._admin_routes(), self.settings, self._count),
            *access.for_listeners(self._live.listener_routes(), self.settings, self._count),
            # A page itself tells nothing: what it shows it asks for, with the token.
            *self._live.open_routes(),
            *static_routes("/live", PAGES / "live"),
        ]

    def _admin_routes(self) -> list[BaseRoute]:
        """What only whoever runs the server may see; see ``monitor.access``."""
        path = None if self._history is None else self._history.path
        calls = CallPages(lambda: self.service, path, self._commands, self.settings.numbers)
        return [self._metrics.route, *calls.routes(), *self._live.routes()]

    def _own_figures(self) -> Figures:
        """What is measured beside the media."""
        webhooks, client = self.webhooks, self.client
        parts = [each.figures for each in (webhooks, client) if each is not None]
        return metrics.own_figures({} if webhooks is None else webhooks.counts, parts)

    def _count(self, name: str) -> None:
        self.service.count(name)

    @property
    def _commands(self) -> Perform | None:
        """What commands phone calls; None without an API key."""
        return None if self.client is None else partial(perform, self.client.calls.actions)

    def _make_service(
        self,
        limits: WorkerLimits | None,
        routes: Sequence[BaseRoute],
        make_listener: MakeListener,
    ) -> Service:
        own = self._own_webhooks
        routes = [*routes, *([webhook_route(own)] if own is not None else [])]
        if self.settings.workers == 1:
            service = SingleProcessService(
                self.settings,
                routes=routes,
                perform=self._commands,
                observer=self._observer,
                elsewhere=self._generations.older,
                runners=runners_for(self.settings),
                make_listener=make_listener,
            )
            if self.client is not None:
                self.client.calls.receive_forks(service.forks)
            return service
        if make_listener is not Listener:
            raise ConfigurationError("inside another application workers must be 1")
        if self.settings.fork_ports:
            raise ConfigurationError(
                "fork_ports needs workers = 1: forks are received in one process"
            )
        for _, setting in self.settings.named():
            check_importable(setting.name)
        return MultiProcessService(
            self.settings,
            routes=routes,
            perform=self._commands,
            encoding=encoding,
            observer=self._observer,
            elsewhere=self._generations.older,
            limits=limits,
        )

    @property
    def url(self) -> str:
        """Where streams connect to, as seen from this machine."""
        scheme = "ws" if self.settings.tls_cert is None else "wss"
        return f"{scheme}://{_reached(self.settings.host)}:{self.service.port}/media"

    @property
    def admin_url(self) -> str | None:
        """Where the admin pages are, as seen from this machine; None: nowhere."""
        settings = self.settings
        if self._admin_port is not None:
            return f"http://{_reached(settings.admin_host)}:{self._admin_port.port}"
        if settings.admin_token is None:
            return None
        scheme = "http" if settings.tls_cert is None else "https"
        return f"{scheme}://{_reached(settings.host)}:{self.service.port}"

    def show_phone(self, url: str) -> None:
        """The page ``/live`` leads to the phone's page at this URL."""
        self._live.show_phone(url)

    async def __aenter__(self) -> MediaServer:
        try:
            await self._generations.enter(self.service)
            await self.service.start()
            if self._history is not None:
                self._history.start()
            if self._admin_port is not None:
                # An older generation has it until it knows that this one listens.
                await self._admin_port.start(patient=self._generations.older.n > 0)
            if self.admin_url is not None:
                self._metrics.start()
        except BaseException:  # a cancellation as well: the media port is given back
            await self._generations.close()
            await self.service.close()
            if self._history is not None:
                await self._history.aclose()
            raise
        if self.settings.routes:
            for line in told(self.settings, self.settings.numbers):
                limited.each(logging.INFO, "route", "%s", line)
        for line in silences(self.settings):
            limited.each(logging.WARNING, "calls without a processor", "%s", line)
        await self._relations.restore(self._generations.older.calls)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        signals = self._signals
        hurry = signals is not None and signals.now.is_set()
        self._live.close()
        await self._metrics.close()
        await self.service.close(hurry=hurry)
        await self._generations.close()
        await self._relations.aclose()
        if self._history is not None:
            await self._history.aclose()
        if self._admin_port is not None:
            await self._admin_port.close()
        if self._own_webhooks is not None:
            await self._own_webhooks.aclose(0.0 if hurry else WEBHOOKS_WITHIN_S)
        if self.webhooks is not None:
            self.webhooks.off(self._answer)
        if self.client is not None:
            await self.client.aclose()
        if signals is not None:
            signals.close()

    async def run(self, ready: Callable[[], None] = lambda: None, *, reload: bool = False) -> None:
        """Serve until SIGTERM or SIGINT, then drain.

        The port is free at once then, and a server that is started on it knows the calls that
        go on here. A second signal ends the server now, and within two seconds the process,
        whatever users' code does. ``ready`` is called when signals are heard.

        With ``reload`` the program is started again, as it was started, on SIGHUP. Once the new
        process listens, this one serves until its calls are over.
        """
        signals = self._signals = StopSignals(self.service.abort)
        signals.listen(self._generations.reload if reload else None)
        self._generations.serving(signals.end)
        ready()
        await _first(signals.stop.wait(), self._generations.replaced.wait())
        if self._admin_port is not None:  # the next generation's, or whoever is started here
            await self._admin_port.close()
        if not signals.stop.is_set():
            await _first(signals.stop.wait(), self._generations.deserted())
        if signals.stop.is_set():
            await self._drain(signals)

    async def _drain(self, signals: StopSignals) -> None:
        notify("STOPPING=1")
        self._generations.give_up_next()
        self._generations.wait_for_next()  # before the port is free: whoever takes it may ask
        self.service.leave_port()
        self.service.drain()
        self._generations.older.end(now=False)
        await _first(signals.now.wait(), self._drained())
        if signals.now.is_set():
            self._generations.older.end(now=True)

    async def _drained(self) -> None:
        await self.service.drained()
        await self._generations.older.ended()

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


def _reached(host: str) -> str:
    """How an address that is listened on is written in a URL on this machine."""
    # One that listens everywhere is reached at loopback of its own family.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]" if ":" in host else host


async def _first(*waits: Coroutine[Any, Any, object]) -> None:
    """Wait for one of these, and cancel the others."""
    tasks = [asyncio.ensure_future(each) for each in waits]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


def _receiver(settings: Settings) -> WebhookReceiver | None:
    if not settings.public_keys:
        return None
    return WebhookReceiver(key.strip() for key in settings.public_keys.split(",") if key.strip())


def _restart_limits(settings: Settings) -> RestartLimits | None:
    if not settings.auto_restart:
        return None
    if settings.api_key is None or settings.public_url is None:
        raise ConfigurationError("auto_restart needs api_key and public_url")
    return RestartLimits(grace_s=settings.reconnect_grace_s)
