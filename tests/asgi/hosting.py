"""ASGI applications under real servers, in the loop of the test."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import uvicorn
from hypercorn.asyncio import serve
from hypercorn.config import Config

HostName = Literal["uvicorn", "hypercorn"]
HOSTS: tuple[HostName, ...] = ("uvicorn", "hypercorn")


class _Uvicorn(uvicorn.Server):
    """One whose signals are the test's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def hosted(app: Any, host: HostName, *, lifespan: str = "auto") -> AsyncIterator[int]:
    """Serve the application on a free port of loopback; the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        if host == "uvicorn":
            config = uvicorn.Config(
                app,
                ws="websockets-sansio",
                log_level="error",
                lifespan=lifespan,  # type: ignore[arg-type]  # one of its words
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
