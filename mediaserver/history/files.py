"""What all files that the server keeps have in common."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

from mediaserver.logs import LimitedLog

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

BUSY_S = 5.0
"""So long another process may have the file locked."""


def open_sqlite(path: Path, schema: str) -> sqlite3.Connection:
    """A database for one thread, with these tables; what goes wrong is an ``sqlite3.Error``."""
    file = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
    try:
        # Before the first table: what is deleted is given back to the disk.
        file.execute("PRAGMA auto_vacuum = INCREMENTAL")
        file.execute("PRAGMA journal_mode = WAL")
        file.execute("PRAGMA synchronous = NORMAL")
        file.executescript(schema)
    except sqlite3.Error:
        file.close()
        raise
    return file


class Health:
    """Logs once that a file cannot be written, and once that it can be written again.

    Args:
        what: the file, in words: ``the state file calls.db``.
    """

    def __init__(self, what: str) -> None:
        self.is_broken: bool = False
        self._what = what

    def failed(self, exc: Exception) -> None:
        """It could not be written."""
        if not self.is_broken:
            self.is_broken = True
            text = "%s cannot be written: %s; it is tried again"
            limited.error("file failed", text, self._what, exc)

    def written(self) -> None:
        """It was."""
        if self.is_broken:
            self.is_broken = False
            limited.info("file works", "%s is written again", self._what)
