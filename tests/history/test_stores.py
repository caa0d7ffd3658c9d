"""Both kinds of files keep records alike: written, replaced, found, let go."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec
import pytest

from mediaserver.errors import ConfigurationError
from mediaserver.history.files import open_sqlite
from mediaserver.history.lines import N_FILES, files_of
from mediaserver.history.recorder import CallRecorder
from mediaserver.history.records import BadRecordError, CallRecord, HangUp, decode_record
from mediaserver.history.stores import Limits, Query, Store, UnwritableError
from mediaserver.history.writer import open_store, read_history
from mediaserver.observer import CallSummary
from tests.history.made import record

PLENTY = Limits(30, 100 << 20)
in_both = pytest.mark.parametrize("name", ["calls.db", "calls.jsonl"])


def ids(path: Path, **query: object) -> list[str]:
    """The calls that are found."""
    wanted = msgspec.convert(query, Query)
    return [each.call_id for each in read_history(path, wanted)]


def filled(path: Path, limits: Limits = PLENTY) -> Store:
    """A file with three calls, of which two were bad."""
    store = open_store(path, limits)
    store.put([record("v3:a", 1010.0, lost=300), record("v3:b", 1020.0)])
    store.put([record("v3:c", 1030.0, reason="lost")])
    return store


@in_both
def test_what_is_asked_for_is_found(name: str, tmp_path: Path) -> None:
    """The newest first; by time, trouble and id; page by page."""
    path = tmp_path / name
    filled(path).close()
    assert ids(path) == ["v3:c", "v3:b", "v3:a"]
    assert ids(path, only_bad=True) == ["v3:c", "v3:a"]
    assert ids(path, only_bad=True, trouble="cut") == ["v3:c"]
    assert ids(path, trouble="cu") == []
    assert ids(path, call_id="v3:b") == ["v3:b"]
    assert ids(path, since=1020.0) == ["v3:c", "v3:b"]
    assert ids(path, limit=2) == ["v3:c", "v3:b"]
    assert ids(path, limit=2, before=(1020.0, "v3:b")) == ["v3:a"]


@in_both
def test_a_later_record_takes_the_place_of_an_earlier_one(name: str, tmp_path: Path) -> None:
    """Of the same stream; another stream of the same call has a record of its own."""
    path = tmp_path / name
    store = filled(path)
    first = record("v3:b", 1020.0)
    store.put([msgspec.structs.replace(first, hang_up=HangUp("normal_clearing"))])
    store.put([record("v3:b", 1040.0)])
    store.close()
    assert ids(path) == ["v3:b", "v3:c", "v3:b", "v3:a"]
    again = read_history(path, Query(call_id="v3:b"))[1]
    assert again.hang_up == HangUp("normal_clearing")


@in_both
def test_old_calls_go(name: str, tmp_path: Path) -> None:
    """What ended before the oldest day that is kept; a file of lines goes as a whole."""
    path = tmp_path / name
    store = open_store(path, Limits(1, 100 << 20))
    old, new = 1_000_000.0, 1_000_000.0 + 3 * 86400
    store.put([record("v3:old", old)])
    store.prune(old)
    store.prune(old + 86400 / 2)  # lines: another file begins
    for each in files_of(path)[1:]:
        import os

        os.utime(each, (old, old))
    store.put([record("v3:new", new)])
    store.prune(new)
    store.close()
    assert ids(path) == ["v3:new"]


@in_both
def test_the_file_stays_as_small_as_was_asked(name: str, tmp_path: Path) -> None:
    """The oldest calls go; what is left is the newest, and nearly as much as may be."""
    path, n_bytes = tmp_path / name, 200_000
    store = open_store(path, Limits(36500, n_bytes))
    for n in range(40):
        store.put([record(f"v3:{n}-{k}", 1000.0 + 50 * n + k) for k in range(50)])
        store.prune(1000.0)
    store.close()
    kept = ids(path, limit=5000)
    assert kept[0] == "v3:39-49"
    assert "v3:0-0" not in kept
    size = sum(each.stat().st_size for each in files_of(path))
    assert n_bytes / 2 < size < 1.3 * n_bytes
    assert len(files_of(path)) <= N_FILES


@in_both
def test_what_is_no_record_is_passed_over(name: str, tmp_path: Path) -> None:
    """A line that was cut off when the server died, a record of another version."""
    path = tmp_path / name
    filled(path).close()
    if path.suffix == ".jsonl":
        path.write_bytes(path.read_bytes() + b'{"summary":{"call_id":"v3:half')
    else:
        with sqlite3.connect(path) as file:
            file.execute("UPDATE calls SET record = '{}' WHERE call_id = 'v3:b'")
        file.close()
    store = open_store(path, PLENTY)
    store.put([record("v3:d", 1050.0)])
    store.close()
    found = ids(path)
    assert found[:2] == ["v3:d", "v3:c"]
    assert found[-1] == "v3:a"


@in_both
def test_a_place_that_cannot_be_used_is_said(name: str, tmp_path: Path) -> None:
    """No such folder: for the writer and for the reader."""
    path = tmp_path / "none" / name
    with pytest.raises(UnwritableError):
        open_store(path, PLENTY)
    with pytest.raises(ConfigurationError, match="there is no such file"):
        read_history(path, Query())


def test_another_file_is_no_history(tmp_path: Path) -> None:
    """A file that is no database, and one of another program."""
    path = tmp_path / "calls.db"
    path.write_text("no database, and long enough to be seen as none by its first page")
    with pytest.raises(UnwritableError, match="not a database"):
        open_store(path, PLENTY)
    with pytest.raises(ConfigurationError, match="not a database"):
        read_history(path, Query())
    other = tmp_path / "other.db"
    open_sqlite(other, "CREATE TABLE calls (x)").close()
    with pytest.raises(ConfigurationError, match="no such column"):
        read_history(other, Query())


def test_lines_on_a_full_disk_leave_no_half_line() -> None:
    """``/dev/full`` refuses every write."""
    path = Path("/dev/full")
    if not path.exists():
        pytest.skip("no /dev/full on this system")
    from mediaserver.history.lines import Lines

    with pytest.raises(UnwritableError, match="No space"):
        Lines(path, PLENTY).put([record("v3:a")])


def test_numbers_are_kept_masked() -> None:
    """Neither number of a call is in its record."""
    put: list[CallRecord] = []
    CallRecorder(put.append).closed(
        CallSummary(call_id="v3:a", reason="stop", caller="+13122010094", callee="+13122123456")
    )
    (kept,) = put
    assert b"3122010094" not in kept.encode()
    assert kept.summary.caller == "…94"
    assert decode_record(kept.encode()) == kept
    with pytest.raises(BadRecordError):
        decode_record(b"\xff")
