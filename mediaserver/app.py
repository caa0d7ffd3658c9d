"""The server as a whole, and the way to embed it."""

from __future__ import annotations

import asyncio
import logging
import signal
from types import TracebackType

from mediaserver.server.service import MediaService
from mediaserver.settings import Settings

logger = logging.getLogger(__name__)


class MediaServer:
    """Server, processors and control of one process.

    Use it as an async context manager to embed it, or ``run`` it until it is told to stop::

        async with MediaServer(Settings(port=0)) as server:
            print(server.url)

    Args:
        settings: see ``Settings``.

    Raises:
        ConfigurationError: a setting cannot be used; from here and from entering.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.service = MediaService(self.settings)

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

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain; a second signal ends at once."""
        loop = asyncio.get_running_loop()
        stop, now = asyncio.Event(), asyncio.Event()

        def signalled() -> None:
            if stop.is_set():
                now.set()
            stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, signalled)
        try:
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
