"""Keeps the live calls in a file, so that after a crash the server knows which ones it lost.

The file is SQLite, and a thread of its own writes it. A server that ends in order leaves no call in
it. If a change cannot be written, for example on a full disk, this is logged once, and the change
is written with the next one that succeeds.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import msgspec

from mediaserver.errors import ConfigurationError
from mediaserver.history.files import Health, open_sqlite
from mediaserver.logs import LimitedLog
from mediaserver.observer import StreamRequest

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

_SCHEMA = """
CREATE TABLE IF NOT EXISTS live_calls (
    call_id TEXT PRIMARY KEY,
    request TEXT NOT NULL
)
"""


class CallStore:
    """Which calls are live, and how their streams were asked for.

    Args:
        path: the file; it and its table are made if they are not there.

    Raises:
        ConfigurationError: the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        # What became of calls whose writing failed, oldest first; of the thread alone.
        self._unwritten: dict[str, str | None] = {}
        self._health = Health(f"the state file {path}")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="call store")
        try:
            self._file: sqlite3.Connection = self._thread.submit(
                open_sqlite, path, _SCHEMA
            ).result()
        except sqlite3.Error as exc:
            raise ConfigurationError(f"state_file {path}: {exc}") from exc

    def opened(self, call_id: str, request: StreamRequest) -> None:
        """The call is live."""
        self._note(call_id, msgspec.json.encode(request).decode())

    def closed(self, call_id: str) -> None:
        """The call is over."""
        self._note(call_id, None)

    async def live(self) -> dict[str, StreamRequest]:
        """The calls that were live when the file was last written."""
        rows = await asyncio.wrap_future(self._thread.submit(self._read))
        found = {}
        for call_id, request in rows:
            try:
                found[call_id] = msgspec.json.decode(request, type=StreamRequest)
            except msgspec.DecodeError:  # written by another version
                self.closed(call_id)
        return found

    async def aclose(self) -> None:
        """Write what waits, and close the file."""
        await asyncio.wrap_future(self._thread.submit(self._file.close))
        self._thread.shutdown(wait=False)

    def _read(self) -> list[tuple[str, str]]:
        return self._file.execute("SELECT call_id, request FROM live_calls").fetchall()

    def _note(self, call_id: str, request: str | None) -> None:
        """Have it written that a call is live, or over where there is no ``request``."""
        self._thread.submit(self._write, call_id, request).add_done_callback(_seen)

    def _write(self, call_id: str, request: str | None) -> None:
        """Write what became of a call, and of those that could not be written before."""
        unwritten = self._unwritten
        unwritten.pop(call_id, None)
        unwritten[call_id] = request
        try:
            while unwritten:
                self._write_one(*next(iter(unwritten.items())))
                del unwritten[next(iter(unwritten))]
        except sqlite3.Error as exc:
            self._health.failed(exc)
        else:
            self._health.written()

    def _write_one(self, call_id: str, request: str | None) -> None:
        if request is None:
            self._file.execute("DELETE FROM live_calls WHERE call_id = ?", (call_id,))
        else:
            self._file.execute(
                "INSERT OR REPLACE INTO live_calls VALUES (?, ?)", (call_id, request)
            )


def _seen(done: Future[None]) -> None:
    """What goes wrong otherwise is a fault of ours."""
    if not done.cancelled() and (exc := done.exception()) is not None:
        limited.error("state file failed", "the state file failed", exc_info=exc)
