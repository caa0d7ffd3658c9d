"""How long a gap waits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediaserver.media.gap_wait import LEAST_S, MARGIN_S, MOST_S, GapWait


def test_filled_or_given_up_for_each_gap_then_seconds() -> None:
    """The wait rises at once to what a late chunk has needed, and falls by and by."""
    wait = GapWait(0.06, follows=True)
    wait.filled(0.1, 1.0)
    assert wait.seconds == pytest.approx(0.1 + MARGIN_S)
    wait.given_up(11.0)
    assert LEAST_S < wait.seconds < 0.08
    wait.given_up(100.0)
    assert wait.seconds == pytest.approx(LEAST_S, abs=1e-3)


def test_no_chunk_is_waited_for_longer_than_the_most() -> None:
    """A chunk just within the most gets the most; one that needed more changes nothing."""
    wait = GapWait(0.06, follows=True)
    wait.filled(0.5, 1.0)
    assert wait.seconds == 0.06
    wait.filled(0.195, 1.0)
    assert wait.seconds == MOST_S


@pytest.mark.parametrize(("start_s", "follows"), [(0.0, True), (0.0, False), (0.06, False)])
def test_a_wait_that_does_not_follow_stays(start_s: float, follows: bool) -> None:
    """0 waits for nothing, whatever comes; so does any wait that was asked to stay."""
    wait = GapWait(start_s, follows=follows)
    for now in range(20):
        wait.filled(0.15, float(now))
        wait.given_up(float(now))
    assert wait.seconds == start_s


@given(
    st.sampled_from([0.01, 0.06, 0.5]),
    st.lists(st.tuples(st.floats(0, 5), st.none() | st.floats(0, 1)), max_size=30),
)
def test_the_wait_is_bounded(start_s: float, gaps: list[tuple[float, float | None]]) -> None:
    """Whatever comes, it stays between the least and the most, or where it began."""
    wait, now = GapWait(start_s, follows=True), 0.0
    for passed_s, late_s in gaps:
        now += passed_s
        if late_s is None:
            wait.given_up(now)
        else:
            wait.filled(late_s, now)
        assert min(LEAST_S, start_s) <= wait.seconds <= max(MOST_S, start_s)
