"""Chunk numbers that cannot be right are told from losses, repetitions and stalls."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mediaserver.media.numbering import SPELL_S, NumberWatch
from mediaserver.media.reorder import Lost, Reorder


def watched(numbers: list[tuple[float, int]], wait_s: float = 0.06) -> tuple[str | None, float]:
    """What is said of chunks of 20 ms with these arrivals and numbers, and when."""
    reorder: Reorder[float] = Reorder(wait_s, "per_track")
    watch = NumberWatch()
    came_s = 0.0

    def count(items: tuple[float | Lost, ...]) -> None:
        nonlocal came_s
        for item in items:
            if isinstance(item, Lost):
                watch.missed(0.02)
            else:
                came_s += 0.02

    for now, number in numbers:
        while reorder.next_at is not None and reorder.next_at <= now:
            count(reorder.poll(reorder.next_at))
        if reorder.pass_on("inbound", number):
            came_s += 0.02
            continue
        n_dropped = reorder.late + reorder.duplicate
        count(reorder.push("inbound", number, now, now))
        behind_s = now - came_s - 0.02 * reorder.missing
        watch.seen(now, came_s, behind_s, (reorder.late + reorder.duplicate - n_dropped) * 0.02)
        if watch.fault is not None:
            return watch.fault, now
    return None, 0.0


def paced(number_of: Callable[[int], int], n_chunks: int = 100) -> list[tuple[float, int]]:
    return [(n * 0.02, number_of(n)) for n in range(n_chunks)]


@pytest.mark.parametrize(
    ("number_of", "fault"),
    [
        (lambda n: 7 + 0 * n, "standing still"),
        (lambda n: 1000 - n, "standing still"),
        (lambda n: n // 2, "standing still"),
        (lambda n: n % 4, "standing still"),
        (lambda n: 2 * n, "running ahead"),
        (lambda n: 3 * n, "running ahead"),
        (lambda n: 20 * n, "running ahead"),
    ],
)
def test_numbers_that_are_none_are_noticed_within_a_second(
    number_of: Callable[[int], int], fault: str
) -> None:
    """Equal, falling, repeated, or in steps: said within a second of the first chunk."""
    said, at = watched(paced(number_of))
    assert said == fault
    assert at <= 1.0


def test_they_are_noticed_behind_a_stall_too() -> None:
    """What comes all at once has no pace; the second behind it has."""
    numbers = [(max(n * 0.02, 2.0), 2 * n) for n in range(200)]
    said, at = watched(numbers)
    assert said == "running ahead"
    assert at <= 2.0 + 2 * SPELL_S + 0.1


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**32),
    st.sampled_from([0.0, 0.1, 0.3, 0.5]),
    st.sampled_from([1, 2]),
    st.sampled_from([0.0, 0.02, 0.06]),
    st.lists(st.tuples(st.floats(0, 6), st.floats(0.05, 1.5)), max_size=3),
)
def test_right_numbers_are_never_doubted(
    seed: int, loss: float, copies: int, wait_s: float, stalls: list[tuple[float, float]]
) -> None:
    """Losses up to a half, repetition of each chunk, stalls, swaps: no fault of the numbers."""
    dice = random.Random(seed)
    arrivals = []
    for n in range(400):
        came = n * 0.02 + dice.uniform(0, 0.03)
        for begin, length in stalls:
            came = begin + length if begin <= came < begin + length else came
        if dice.random() >= loss:
            arrivals += [(came, n)] * copies
    assert watched(sorted(arrivals), wait_s) == (None, 0.0)
