"""Writes records in a thread of its own: calls never wait for a disk."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path

from mediaserver.errors import ConfigurationError
from mediaserver.history.database import Database, read_database
from mediaserver.history.files import Health
from mediaserver.history.lines import Lines, read_lines
from mediaserver.history.records import CallRecord
from mediaserver.history.stores import Limits, Query, Store, UnwritableError
from mediaserver.logs import LimitedLog

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

QUEUED_MOST = 2000
"""Records that wait for the thread, and as many that wait for the disk."""
RETRY_S = 5.0
PRUNE_EVERY_S = 600.0
PRUNE_EVERY_N = 200
CLOSE_WITHIN_S = 5.0


class HistoryWriter:
    """Writes records, and deletes old ones.

    If records cannot be written, this is tried again every few seconds and with each new record.
    If too many are waiting, further ones are lost, and counted.

    Args:
        path: the file.
        limits: how much is kept.
        lost: told how many records were lost; called in any thread.
        failed: told that the file could not be written; called in the writer's thread.

    Raises:
        ConfigurationError: the file cannot be used.
    """

    def __init__(
        self,
        path: Path,
        limits: Limits,
        lost: Callable[[int], None],
        failed: Callable[[], None],
    ) -> None:
        self._lost = lost
        self._failed = failed
        self._health = Health(f"the history {path}")
        self._queue: queue.Queue[CallRecord | None] = queue.Queue(QUEUED_MOST)
        self._unwritten: list[CallRecord] = []
        self._closing = False
        self._opened: queue.SimpleQueue[UnwritableError | None] = queue.SimpleQueue()
        self._thread = threading.Thread(
            target=self._run, args=(path, limits), name="history", daemon=True
        )
        self._thread.start()
        problem = self._opened.get()
        if problem is not None:
            raise ConfigurationError(f"history {path}: {problem}") from problem

    def put(self, record: CallRecord) -> None:
        """Have it written, soon; never waits."""
        try:
            self._queue.put_nowait(record)
        except queue.Full:
            self._lost(1)

    def close(self) -> None:
        """Write what waits, for a few seconds at most; then no more."""
        self._closing = True
        with contextlib.suppress(queue.Full):  # the thread has something to look at then
            self._queue.put_nowait(None)
        self._thread.join(CLOSE_WITHIN_S)

    # In the thread.

    def _run(self, path: Path, limits: Limits) -> None:
        try:
            store = open_store(path, limits)
        except UnwritableError as exc:
            self._opened.put(exc)
            return
        self._opened.put(None)
        n_written, prune_at = PRUNE_EVERY_N, 0.0
        while not (self._closing and self._queue.empty()):
            self._take()
            n_written += self._write(store)
            if n_written >= PRUNE_EVERY_N or time.monotonic() >= prune_at:
                n_written, prune_at = 0, time.monotonic() + PRUNE_EVERY_S
                self._prune(store)
        if self._unwritten:
            self._lost(len(self._unwritten))
            text = "%d records of calls could not be written: lost"
            limited.error("records lost", text, len(self._unwritten))
        store.close()

    def _take(self) -> None:
        """Wait for what is to be written, and take all of it."""
        unwritten = self._unwritten
        try:
            record = self._queue.get(timeout=RETRY_S if unwritten else PRUNE_EVERY_S)
            while True:
                if record is not None:
                    unwritten.append(record)
                record = self._queue.get_nowait()
        except queue.Empty:
            pass
        n_over = len(unwritten) - QUEUED_MOST
        if n_over > 0 and self._health.is_broken:
            del unwritten[:n_over]
            self._lost(n_over)

    def _write(self, store: Store) -> int:
        """Write what waits; how many were."""
        n = len(self._unwritten)
        if not n:
            return 0
        try:
            store.put(self._unwritten)
        except UnwritableError as exc:
            self._broken(exc)
            return 0
        self._health.written()
        self._unwritten = []
        return n

    def _prune(self, store: Store) -> None:
        if not self._health.is_broken:
            try:
                store.prune(time.time())
            except UnwritableError as exc:
                self._broken(exc)

    def _broken(self, exc: UnwritableError) -> None:
        self._health.failed(exc)
        self._failed()


def open_store(path: Path, limits: Limits) -> Store:
    """The file by its name: JSON lines where it ends in ``.jsonl``, else SQLite.

    Raises:
        UnwritableError: it cannot be used.
    """
    return Lines(path, limits) if _is_lines(path) else Database(path, limits)


def read_history(path: Path, query: Query) -> list[CallRecord]:
    """The records in a file that are asked for, the newest first.

    Raises:
        ConfigurationError: it cannot be read.
    """
    if not path.exists():
        raise ConfigurationError(f"history {path}: there is no such file")
    read = read_lines if _is_lines(path) else read_database
    return list(read(path, query))


def _is_lines(path: Path) -> bool:
    return path.suffix == ".jsonl"
