"""The file of ended calls, as the settings say."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

from mediaserver.history.recorder import CallRecorder
from mediaserver.history.stores import Limits
from mediaserver.history.writer import HistoryWriter
from mediaserver.settings import Settings


class History:
    """Who makes the records of ended calls, and who writes them.

    **Call ``start`` on the loop; at the end, behind the last call's, call ``aclose``.**

    Args:
        path: the file.
        settings: how much is kept.
        count: counts what could not be written, on the loop.

    Attributes:
        path: the file.
        recorder: is to be told what becomes of calls.

    Raises:
        ConfigurationError: the file cannot be used.
    """

    def __init__(self, path: Path, settings: Settings, count: Callable[[str], None]) -> None:
        self.path = path
        self.count = count
        self._loop: asyncio.AbstractEventLoop | None = None
        limits = Limits(settings.history_days, settings.history_mb << 20)
        self._writer = HistoryWriter(path, limits, self._lost, self._failed)
        self.recorder: CallRecorder = CallRecorder(self._writer.put, settings.numbers)

    def start(self) -> None:
        """The loop runs on which is counted."""
        self._loop = asyncio.get_running_loop()

    async def aclose(self) -> None:
        """Write what waits, within a few seconds."""
        await asyncio.to_thread(self._writer.close)
        await asyncio.sleep(0)  # for what was counted last

    def _lost(self, n: int) -> None:
        self._soon(self._count_lost, n)

    def _failed(self) -> None:
        self._soon(self._count_failed)

    def _count_lost(self, n: int) -> None:
        for _ in range(n):
            self.count("history_lost")

    def _count_failed(self) -> None:
        self.count("history_failed")

    def _soon(self, count: Callable[..., None], *args: int) -> None:
        """From any thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it is closed
                self._loop.call_soon_threadsafe(count, *args)


def history_of(settings: Settings, count: Callable[[str], None]) -> History | None:
    """The file that the settings name; None: none.

    Raises:
        ConfigurationError: it cannot be used.
    """
    return None if settings.history is None else History(Path(settings.history), settings, count)
