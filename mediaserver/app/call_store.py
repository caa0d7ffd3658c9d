"""The calls that are live, in a file: a server that was killed learns which it has lost.

SQLite, written by a thread of its own; a server that ends in order leaves no call in it.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import msgspec

from mediaserver.errors import ConfigurationError
from mediaserver.observer import StreamRequest

logger = logging.getLogger(__name__)

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
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="call store")
        try:
            self._file: sqlite3.Connection = self._thread.submit(self._open).result()
        except sqlite3.Error as exc:
            raise ConfigurationError(f"state_file {path}: {exc}") from exc

    def opened(self, call_id: str, request: StreamRequest) -> None:
        """The call is live."""
        text = msgspec.json.encode(request).decode()
        self._write("INSERT OR REPLACE INTO live_calls VALUES (?, ?)", call_id, text)

    def closed(self, call_id: str) -> None:
        """The call is over."""
        self._write("DELETE FROM live_calls WHERE call_id = ?", call_id)

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

    def _open(self) -> sqlite3.Connection:
        file = sqlite3.connect(self._path, isolation_level=None)
        try:
            file.execute("PRAGMA journal_mode = WAL")
            file.execute("PRAGMA synchronous = NORMAL")
            file.execute(_SCHEMA)
        except sqlite3.Error:
            file.close()
            raise
        return file

    def _read(self) -> list[tuple[str, str]]:
        return self._file.execute("SELECT call_id, request FROM live_calls").fetchall()

    def _write(self, statement: str, *values: str) -> None:
        self._submit(lambda: self._file.execute(statement, values))

    def _submit(self, work: Callable[[], object]) -> None:
        self._thread.submit(work).add_done_callback(self._done)

    def _done(self, done: Future[object]) -> None:
        if not done.cancelled() and done.exception() is not None:
            logger.error("the state file %s cannot be written: %s", self._path, done.exception())
