"""ASGI applications under real servers, in the loop of the test."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import pytest
import uvicorn

from mediaserver import MediaServer, Settings, asgi
from mediaserver.server.workers.process import WorkerLimits
from tests.asgi.applicable import SERVED_BY

HostName = Literal["uvicorn", "hypercorn"]
HOSTS: tuple[HostName, ...] = ("uvicorn", "hypercorn")


class _Uvicorn(uvicorn.Server):
    """One whose signals are the test's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def hosted(app: Any, host: HostName, *, port: int = 0) -> AsyncIterator[int]:
    """Serve the application on a port of loopback, a free one if it is 0; the port."""
    # Named as TCP, else asyncio lets small answers wait for one another.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(256)
        port = listener.getsockname()[1]
        if host == "uvicorn":
            config = uvicorn.Config(
                app,
                ws="websockets-sansio",
                log_level="error",
                ws_ping_interval=None,
                ws_max_queue=1000,
                timeout_graceful_shutdown=2,
            )
            server = _Uvicorn(config)
            running = asyncio.create_task(server.serve([listener]))
            while not server.started:  # it has no event to wait for
                if running.done():
                    await running
                await asyncio.sleep(0.01)
            try:
                yield port
            finally:
                server.should_exit = True
                await running
            return
        # Not at the top: fixtures import this, also where the wheel alone is installed.
        from hypercorn.asyncio import serve
        from hypercorn.config import Config

        over = asyncio.Event()
        settings = Config()
        # It binds again what it is given by number.
        settings.bind = [f"fd://{listener.detach()}"]
        settings.errorlog = settings.accesslog = None
        settings.graceful_timeout = 2.0
        settings.websocket_ping_interval = None
        running = asyncio.create_task(serve(app, settings, shutdown_trigger=over.wait))
        try:
            yield port
        finally:
            over.set()
            await running


@asynccontextmanager
async def served(
    settings: Settings, limits: WorkerLimits | None = None
) -> AsyncIterator[MediaServer]:
    """A media server of these settings, by its own listener or as ``SERVED_BY`` says."""
    if not SERVED_BY:
        async with MediaServer(settings, limits=limits) as server:
            yield server
        return
    if settings.workers != 1:
        pytest.skip("the ASGI mount has no workers")
    app = asgi.app(settings)
    async with hosted(
        app, "hypercorn" if SERVED_BY == "hypercorn" else "uvicorn", port=settings.port
    ) as port:
        app.door.port = port
        await app.start()  # some hosts listen before the lifespan has begun
        yield app.server
