"""Pieces of audio and their places."""

from __future__ import annotations

import numpy as np
import pytest

from mediaserver.media.frames import Frame, Int16Array
from mediaserver.processors.builtin.recording.pieces import KEPT_S, Came, Piece, joined, silenced

RATE = 1000


def piece(at: float, *values: int) -> Piece:
    return Piece(at, np.array(values, np.int16), RATE)


def values(of: Piece) -> list[int]:
    return [int(each) for each in of.samples]


def frame(at: float, seconds: float = 0.1, value: int = 1, lag: float = 0.0) -> Frame:
    samples: Int16Array = np.full(round(seconds * RATE), value, np.int16)
    return Frame(samples, RATE, "inbound", round(at / seconds), at, False, lag)


def test_what_follows_is_joined() -> None:
    """Pieces without a gap become one; a gap, and another rate, begin a new one."""
    other = Piece(0.007, np.array([5], np.int16), 8000)
    found = joined([piece(0.0, 1, 2), piece(0.002, 3), piece(0.006, 4), other])
    assert [(each.at, values(each)) for each in found] == [
        (0.0, [1, 2, 3]),
        (0.006, [4]),
        (0.007, [5]),
    ]


@pytest.mark.parametrize(
    ("at", "before", "behind"),
    [(0.0, [], [1, 2, 3]), (1.001, [1], [2, 3]), (5.0, [1, 2, 3], []), (1.0, [], [1, 2, 3])],
)
def test_a_piece_is_split(at: float, before: list[int], behind: list[int]) -> None:
    """At any time, also outside of it."""
    first, second = piece(1.0, 1, 2, 3).split(at)
    assert (values(first), values(second)) == (before, behind)
    assert second.at == pytest.approx(1.0 + len(before) / RATE)


@pytest.mark.parametrize(
    ("pauses", "found"),
    [
        ([], [1, 2, 3, 4]),
        ([(0.0, 0.5)], [1, 2, 3, 4]),
        ([(1.001, 1.003)], [1, 0, 0, 4]),
        ([(0.0, 1.001), (1.003, float("inf"))], [0, 2, 3, 0]),
        ([(0.0, float("inf"))], [0, 0, 0, 0]),
    ],
)
def test_pauses_are_silent(pauses: list[tuple[float, float]], found: list[int]) -> None:
    """From the sample to the sample; the array that came is not written to."""
    given = piece(1.0, 1, 2, 3, 4)
    given.samples.flags.writeable = False
    assert values(silenced(given, pauses)) == found
    assert values(given) == [1, 2, 3, 4]


def test_what_is_young_is_kept_back() -> None:
    """A pause may still concern it; at the end it comes."""
    came = Came()
    for n in range(10):
        came.add(frame(n * 0.1))
    (taken,) = came.take()
    assert taken.at == 0.0
    assert taken.end == pytest.approx(1.0 - KEPT_S)
    assert came.pending_s == pytest.approx(KEPT_S)
    assert came.take() == []
    (rest,) = came.take_all()
    assert (rest.at, rest.end) == (pytest.approx(1.0 - KEPT_S), pytest.approx(1.0))
    assert came.take() == came.take_all() == []


def test_a_hold_is_a_gap() -> None:
    """What comes behind a pause with a lag is placed by it."""
    came = Came()
    came.add(frame(0.0))
    came.add(frame(0.1, lag=2.0))
    first, second = came.take_all()
    assert (first.at, first.end) == (0.0, pytest.approx(0.1))
    assert second.at == pytest.approx(2.1)


def test_rounding_is_no_gap() -> None:
    """A start that differs by less than a sample goes on where the last one ended."""
    came = Came()
    came.add(frame(0.0))
    came.add(frame(0.1 - 1e-9))
    came.add(frame(0.2 + 1e-9))
    assert [each.at for each in came.take_all()] == [0.0]
