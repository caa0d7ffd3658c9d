"""Digits come out in the order of pressing, each within a bounded time, none lost."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mediaserver.media.dtmf import DtmfOrder


def test_swapped_digits_come_out_as_pressed() -> None:
    """A digit that overtook another waits for it, and both go when the first's time is up."""
    order: DtmfOrder[str] = DtmfOrder(0.2)
    assert order.push("2", 100.5, 1.0) == []
    assert order.push("1", 100.3, 1.1) == []
    assert order.next_at == 1.2
    assert order.poll(1.19) == []
    assert order.poll(1.2) == ["1", "2"]
    assert order.next_at is None


def test_a_later_digit_waits_on_its_own() -> None:
    """Giving out one digit does not take along one that was pressed after it."""
    order: DtmfOrder[str] = DtmfOrder(0.25)
    order.push("1", 10.0, 0.0)
    order.push("2", 11.0, 0.125)
    assert order.poll(0.25) == ["1"]
    assert order.next_at == 0.375
    assert order.drain() == ["2"]


def test_one_that_is_too_late_goes_at_once() -> None:
    """A digit pressed before one already given out is late, not lost."""
    order: DtmfOrder[str] = DtmfOrder()
    order.push("2", 20.0, 0.0)
    assert order.poll(0.5) == ["2"]
    assert order.push("1", 19.0, 0.6) == ["1"]
    assert order.next_at is None


def test_a_digit_without_its_time_keeps_its_turn() -> None:
    """Without ``occurred_at`` a digit comes behind all that came before it."""
    order: DtmfOrder[str] = DtmfOrder()
    order.push("1", 20.0, 0.0)
    order.push("2", None, 0.01)
    order.push("3", 21.0, 0.02)
    assert order.drain() == ["1", "2", "3"]
    assert DtmfOrder[str]().push("x", None, 0.0) == []


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 4)), max_size=12))
def test_none_is_lost_and_none_waits_too_long(steps: list[tuple[int, int]]) -> None:
    """Each digit comes out once, within the wait, and in order if it came in time."""
    order: DtmfOrder[int] = DtmfOrder(0.5)
    now = 0.0
    given_out: list[int] = []
    came: dict[int, float] = {}

    def note(digits: list[int]) -> None:
        for digit in digits:
            assert now - came[digit] <= 0.5
        given_out.extend(digits)

    for serial, (pressed, quarters) in enumerate(steps):
        later = now + quarters * 0.25
        while order.next_at is not None and order.next_at <= later:
            now = order.next_at
            note(order.poll(now))
        now = later
        came[serial] = now
        note(order.push(serial, float(pressed), now))
    given_out += order.drain()
    assert sorted(given_out) == list(range(len(steps)))
    if len(set(came.values())) <= 1:
        assert given_out == sorted(range(len(steps)), key=lambda serial: steps[serial][0])
