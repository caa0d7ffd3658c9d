"""Records of calls in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from mediaserver.errors import ConfigurationError
from mediaserver.history.files import open_sqlite
from mediaserver.history.records import BadRecordError, CallRecord, decode_record
from mediaserver.history.stores import Limits, Query, UnwritableError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS calls (
    call_id TEXT NOT NULL,
    started_at REAL NOT NULL,
    ended_at REAL NOT NULL,
    bad TEXT NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (call_id, started_at)
);
CREATE INDEX IF NOT EXISTS calls_by_end ON calls (ended_at, call_id);
"""
_PUT = "INSERT OR REPLACE INTO calls VALUES (?, ?, ?, ?, ?)"
_DROP_OLDEST = """
DELETE FROM calls WHERE rowid IN (SELECT rowid FROM calls ORDER BY ended_at LIMIT ?)
"""


class Database:
    """A file of records; a ``Store``. All calls from one thread.

    Args:
        path: the file; it and its table are made if they are not there.
        limits: how much is kept.

    Raises:
        UnwritableError: the file cannot be used.
    """

    def __init__(self, path: Path, limits: Limits) -> None:
        self._limits = limits
        try:
            self._file = open_sqlite(path, _SCHEMA)
        except sqlite3.Error as exc:
            raise UnwritableError(str(exc)) from exc

    def put(self, records: Sequence[CallRecord]) -> None:
        """See ``Store``."""
        rows = [
            (*each.key, each.ended_at, " ".join(each.bad), each.encode().decode())
            for each in records
        ]
        try:
            with self._file:  # all of them, or none
                self._file.execute("BEGIN")
                self._file.executemany(_PUT, rows)
        except sqlite3.Error as exc:
            raise UnwritableError(str(exc)) from exc

    def prune(self, now: float) -> None:
        """See ``Store``."""
        try:
            self._file.execute("DELETE FROM calls WHERE ended_at < ?", (self._limits.oldest(now),))
            while self._used() > self._limits.n_bytes:
                (n,) = self._file.execute("SELECT COUNT(*) FROM calls").fetchone()
                if not n:
                    break
                self._file.execute(_DROP_OLDEST, (n // 10 + 1,))
            self._file.execute("PRAGMA incremental_vacuum").fetchall()
        except sqlite3.Error as exc:
            raise UnwritableError(str(exc)) from exc

    def close(self) -> None:
        """See ``Store``."""
        self._file.close()

    def _used(self) -> int:
        """Octets that hold something."""
        n, n_free, size = (
            self._file.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((n - n_free) * size)


def read_database(path: Path, query: Query) -> Iterator[CallRecord]:
    """The records that are asked for, the newest first.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    where = ["ended_at >= ?"]
    more: list[object] = [query.since]
    if query.before is not None:
        where.append("(ended_at, call_id) < (?, ?)")
        more += query.before
    if query.call_id is not None:
        where.append("call_id = ?")
        more.append(query.call_id)
    if query.only_bad:
        where.append("bad != ''")
    if query.trouble is not None:
        where.append("instr(' ' || bad || ' ', ?)")
        more.append(f" {query.trouble} ")
    statement = (
        f"SELECT record FROM calls WHERE {' AND '.join(where)}"
        " ORDER BY ended_at DESC, call_id DESC LIMIT ?"
    )
    try:
        file = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            rows = file.execute(statement, (*more, query.limit)).fetchall()
        finally:
            file.close()
    except sqlite3.Error as exc:
        raise ConfigurationError(f"history {path}: {exc}") from exc
    for (record,) in rows:
        try:
            yield decode_record(record.encode())
        except BadRecordError:  # written by another version
            continue
