"""Live calls in a file, over the death of a server."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mediaserver.errors import ConfigurationError
from mediaserver.history.call_store import CallStore
from mediaserver.observer import StreamRequest

REQUEST = StreamRequest("L16", 16000, "rtp", "echo", {"db": "-6"})


async def test_what_is_live_is_found_again(tmp_path: Path) -> None:
    """Calls that were opened and not closed, with how their streams were asked for."""
    store = CallStore(tmp_path / "state.db")
    for call_id in ("a", "b", "c"):
        store.opened(call_id, REQUEST)
    store.closed("b")
    store.opened("c", StreamRequest("PCMU", 8000, "rtp"))
    await store.aclose()
    again = CallStore(tmp_path / "state.db")
    assert await again.live() == {"a": REQUEST, "c": StreamRequest("PCMU", 8000, "rtp")}
    await again.aclose()


async def test_a_row_that_cannot_be_read_goes(tmp_path: Path) -> None:
    """One of another version harms no other, and is not met again."""
    store = CallStore(tmp_path / "state.db")
    store.opened("a", REQUEST)
    await store.live()
    with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as file:
        file.execute("INSERT INTO live_calls VALUES ('x', '{')")
    assert await store.live() == {"a": REQUEST}
    await store.aclose()
    with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as file:
        assert file.execute("SELECT call_id FROM live_calls").fetchall() == [("a",)]


def test_a_file_that_is_none_is_one_clear_line(tmp_path: Path) -> None:
    """No database, or no such folder."""
    (tmp_path / "text").write_text("not a database, but long enough to be looked at" * 100)
    for path in (tmp_path / "text", tmp_path / "missing" / "state.db", tmp_path):
        with pytest.raises(ConfigurationError, match="state_file"):
            CallStore(path)


async def test_writing_in_vain_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A table that is gone: one line, and the server goes on."""
    store = CallStore(tmp_path / "state.db")
    with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as file:
        file.execute("DROP TABLE live_calls")
    store.opened("a", REQUEST)
    await store.aclose()
    assert "cannot be written" in caplog.text
