"""Records are written beside the calls: a full or locked file delays nobody, and is said once."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mediaserver.errors import ConfigurationError
from mediaserver.history import files, writer
from mediaserver.history.stores import Limits, Query
from mediaserver.history.writer import HistoryWriter, read_history
from tests.history.made import record

PLENTY = Limits(36500 * 2, 100 << 20)


class Told:
    """What the writer tells."""

    def __init__(self) -> None:
        self.n_lost = 0
        self.n_failed = 0

    def lost(self, n: int) -> None:
        self.n_lost += n

    def failed(self) -> None:
        self.n_failed += 1


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def count(path: Path) -> int:
    return len(read_history(path, Query(limit=100_000)))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little patience with a locked file."""
    monkeypatch.setattr(files, "BUSY_S", 0.05)
    monkeypatch.setattr(writer, "RETRY_S", 0.1)


@pytest.mark.parametrize("name", ["calls.db", "calls.jsonl"])
def test_what_was_put_is_written_at_the_end(name: str, tmp_path: Path) -> None:
    """All of it, and nothing is lost."""
    told = Told()
    history = HistoryWriter(tmp_path / name, PLENTY, told.lost, told.failed)
    for n in range(500):
        history.put(record(f"v3:{n}"))
    history.close()
    assert count(tmp_path / name) == 500
    assert (told.n_lost, told.n_failed) == (0, 0)


@pytest.mark.usefixtures("impatient")
def test_a_locked_file_is_said_once_and_written_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever puts a record does not wait; it is written when the file can be."""
    caplog.set_level(logging.INFO)
    path, told = tmp_path / "calls.db", Told()
    history = HistoryWriter(path, PLENTY, told.lost, told.failed)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for n in range(3):
        history.put(record(f"v3:{n}"))
    wait_until(lambda: told.n_failed >= 2)
    other.execute("ROLLBACK")
    other.close()
    wait_until(lambda: count(path) == 3)
    wait_until(lambda: "is written again" in caplog.text)
    history.close()
    assert caplog.text.count("cannot be written: database is locked") == 1
    assert told.n_lost == 0


@pytest.mark.usefixtures("impatient")
def test_what_never_could_be_written_is_lost_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what waits the oldest goes; the rest at the end. The end comes all the same."""
    monkeypatch.setattr(writer, "QUEUED_MOST", 10)
    path, told = tmp_path / "calls.db", Told()
    history = HistoryWriter(path, PLENTY, told.lost, told.failed)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for n in range(40):
        history.put(record(f"v3:{n}"))
        time.sleep(0.005)
    wait_until(lambda: told.n_lost >= 20)
    history.close()
    other.close()
    assert told.n_lost == 40
    assert "records of calls could not be written: lost" in caplog.text


def test_a_thread_that_is_behind_loses_what_is_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that takes its time makes nobody wait."""
    monkeypatch.setattr(writer, "QUEUED_MOST", 10)
    told, go = Told(), threading.Event()
    history = HistoryWriter(tmp_path / "calls.db", PLENTY, told.lost, told.failed)
    monkeypatch.setattr(history, "_write", lambda _: go.wait() and 0)
    for n in range(30):
        history.put(record(f"v3:{n}"))
    assert told.n_lost >= 30 - 10 - 11
    go.set()
    history.close()


def test_a_file_that_cannot_be_used_is_an_error_at_the_start(tmp_path: Path) -> None:
    """With the path and the reason; no thread is left."""
    with pytest.raises(ConfigurationError, match=r"history .*none/calls\.db: unable to open"):
        HistoryWriter(tmp_path / "none/calls.db", PLENTY, print, print)
    assert not [each for each in threading.enumerate() if each.name == "history"]
