"""Windows of one length out of frames of any length, of calls that come and go."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediaserver.media.frames import Int16Array
from mediaserver.processors.api import Call
from mediaserver.processors.batch import BatchCall, BatchProcessor, Collector, Rows

RATE_HZ = 8000


def ramp(n: int, first: int = 0) -> Int16Array:
    """Samples that tell where they are from."""
    return (np.arange(first, first + n) % 30_000).astype(np.int16)


def test_call_join_then_push_for_each_frame_then_take_at_each_tick_at_last_leave() -> None:
    """A window is the next 256 samples of its call, and says when it began."""
    collector = Collector(256, RATE_HZ)
    row = collector.join()
    assert collector.push(row, ramp(160), 1.0) == 0
    assert collector.take() is None
    assert collector.push(row, ramp(160, 160), 1.02) == 0
    taken = collector.take()
    assert taken is not None
    assert (taken.rows, taken.at) == ([row], [1.0])
    np.testing.assert_array_equal(taken.windows, ramp(256)[None])
    assert not collector.is_behind
    collector.push(row, ramp(160, 320), 1.04)
    collector.push(row, ramp(160, 480), 1.06)
    taken = collector.take()
    assert taken is not None
    assert taken.at == [pytest.approx(1.032)]
    collector.leave(row)
    assert collector.n_members == 0
    assert collector.take() is None


@given(st.lists(st.integers(0, 700), max_size=60), st.sampled_from([160, 240, 256, 512]))
def test_any_cut_gives_the_same_windows(cuts: list[int], n: int) -> None:
    """Frames of any length give the same windows, if they are taken in time."""
    collector = Collector(n, RATE_HZ, most=8)
    other, row = collector.join(), collector.join()
    found, at = [], 0
    for cut in cuts:
        collector.push(other, np.full(cut, -1, np.int16), 0.0)
        assert collector.push(row, ramp(cut, at), at / RATE_HZ) == 0
        at += cut
        while (taken := collector.take()) is not None:
            place = taken.rows.index(row)
            assert taken.at[place] == pytest.approx(len(found) * n / RATE_HZ)
            found.append(taken.windows[place])
            assert (np.delete(taken.windows, place, axis=0) == -1).all()
    assert len(found) == at // n
    if found:
        np.testing.assert_array_equal(np.concatenate(found), ramp(len(found) * n))


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=40))
def test_what_is_not_taken_goes_oldest_first(cuts: list[int]) -> None:
    """At most so many windows wait; what comes out is whole, and the newest there was."""
    collector = Collector(100, RATE_HZ, most=4)
    row = collector.join()
    at = 0
    for cut in cuts:
        collector.push(row, ramp(cut, at), at / RATE_HZ)
        at += cut
    windows = []
    while (taken := collector.take()) is not None:
        windows.append(taken.windows[0])
        first = int(windows[-1][0])
        np.testing.assert_array_equal(windows[-1], ramp(100, first))
        assert taken.at[0] * RATE_HZ % 30_000 == pytest.approx(first, abs=0.01)
    assert len(windows) <= 5
    assert len(windows) >= min(at // 100, 4)


def test_what_was_displaced_is_counted() -> None:
    """So many windows as were lost."""
    collector = Collector(100, RATE_HZ, most=2)
    row = collector.join()
    assert sum(collector.push(row, ramp(50, 50 * n), 0.0) for n in range(6)) == 0
    assert collector.push(row, ramp(50, 300), 0.0) == 1
    assert collector.push(row, ramp(1000, 350), 0.0) >= 7


def test_a_row_is_anothers_after_its_call_has_left() -> None:
    """Nothing of the former call is in its first window; rows are as many as calls at once."""
    collector = Collector(100, RATE_HZ)
    rows = [collector.join() for _ in range(20)]
    assert len(set(rows)) == 20
    for row in rows:
        collector.push(row, np.full(150, row, np.int16), 0.0)
    for row in rows[::2]:
        collector.leave(row)
    again = [collector.join() for _ in range(10)]
    assert collector.n_rows < 40
    for row in again:
        collector.push(row, np.full(100, 1000 + row, np.int16), 5.0)
    taken = collector.take()
    assert taken is not None
    for row, window, at in zip(taken.rows, taken.windows, taken.at, strict=True):
        wanted = 1000 + row if row in again else row
        assert (window == wanted).all()
        assert at == (5.0 if row in again else 0.0)


def test_state_has_a_row_for_each_call() -> None:
    """New calls begin with 0; what is gathered comes back to its own rows."""
    rows = Rows({"sum": ((2,), "f4"), "n": ((), "i8")})
    rows.clear([0, 3], 4)
    state = rows.gather([3, 0])
    assert state["sum"].shape == (2, 2)
    state["sum"][:] = [[1, 2], [3, 4]]
    state["n"][:] = [7, 8]
    rows.scatter([3, 0], state)
    rows.clear([1], 16)
    assert rows.gather([0, 1, 3])["n"].tolist() == [8, 0, 7]
    rows.clear([3], 16)
    assert rows.gather([3, 0])["sum"].tolist() == [[0, 0], [3, 4]]


def test_a_processor_without_process_is_none() -> None:
    """What a subclass need not write does nothing."""
    processor = BatchProcessor()
    with pytest.raises(NotImplementedError):
        processor.process(np.zeros((0, 160), np.int16), [], {})
    assert processor.n_samples == 160
    call: Call = None  # type: ignore[assignment]  # nothing is asked of it
    member = BatchCall("a")
    processor.joined(call, member)
    assert processor.deliver(call, {}) is False
    processor.left(call, member)
    processor.close()
    assert (member.id, member.at, member.own) == ("a", 0.0, None)
