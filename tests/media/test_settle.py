"""Frames behind a pause, held back until it is known where they belong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mediaserver.media.frames import Frame
from mediaserver.media.settle import HELD_S, Settler
from mediaserver.media.timeline import Timeline

RATE_HZ = 8000
SAMPLES = np.ones(160, np.int16)


def frame_of(index: int, start: float, lag: float = 0.0) -> Frame:
    return Frame(SAMPLES, RATE_HZ, "inbound", index, start, False, lag)


def test_push_each_frame_then_flush() -> None:
    """Frames come out once, in order; those without a lag at once, the others at the end."""
    settler = Settler()
    first = frame_of(0, 0.0)
    assert settler.push(first) == [first]
    assert settler.held_from is None
    assert settler.push(frame_of(1, 0.02, 3.0)) == []
    assert settler.push(frame_of(2, 0.04, 3.01)) == []
    assert settler.held_from == 0.02
    placed = settler.flush()
    assert [f.start for f in placed] == pytest.approx([3.02, 3.05])
    assert [f.lag for f in placed] == [0.0, 0.0]
    assert settler.flush() == []


def test_a_stall_adds_no_silence() -> None:
    """Where the backlog follows, frames go on where they were."""
    settler = Settler()
    frames = [frame_of(n, n * 0.02, max(1 - n * 0.02, 0)) for n in range(52)]
    placed = [each for frame in frames for each in settler.push(frame)]
    assert [f.start for f in placed] == [f.start for f in frames]


def test_a_hold_goes_where_it_was() -> None:
    """Once starts have jumped, what was held is moved by as much."""
    settler = Settler()
    assert [x for n in range(50) for x in settler.push(frame_of(n, n * 0.02, 2.0))] == []
    placed = settler.push(frame_of(50, 3.0))
    assert [f.start for f in placed] == pytest.approx([2 + n * 0.02 for n in range(51)])


def test_two_holds_within_a_second_each_have_their_place() -> None:
    """A jump settles the frames of the first one; those behind the second go on waiting."""
    settler = Settler()
    for n in range(25):
        settler.push(frame_of(n, n * 0.02, 1.0))
    for n in range(25, 40):
        assert settler.push(frame_of(n, n * 0.02, 1.5)) == []
    placed = settler.push(frame_of(40, 0.8 + 1.0, 0.5))
    assert [f.start for f in placed] == pytest.approx([1 + n * 0.02 for n in range(25)])
    placed = settler.push(frame_of(41, 0.82 + 1.5))
    assert [f.start for f in placed] == pytest.approx([1.5 + n * 0.02 for n in range(25, 42)])


def test_what_is_held_is_bounded() -> None:
    """The backlog of a stall of a minute goes on where it is, ten seconds of it held at most."""
    settler = Settler()
    frames = [frame_of(n, n * 0.02, max(60 - n * 0.02, 0)) for n in range(3001)]
    n_out = 0
    for n, frame in enumerate(frames):
        placed = settler.push(frame)
        assert [f.start for f in placed] == [f.start for f in frames[n_out : n_out + len(placed)]]
        n_out += len(placed)
        assert n + 1 - n_out <= HELD_S * 50 + 1
    assert n_out == 3001


def test_missing_frames_are_no_hold() -> None:
    """What a reader was too slow for leaves a gap where it was, in a stall as in a hold."""
    settler = Settler()
    stall = [frame_of(n, n * 0.02, max(2 - n * 0.02, 0)) for n in range(102) if not 20 <= n < 40]
    placed = [each for frame in stall for each in settler.push(frame)]
    assert [f.start for f in placed] == [f.start for f in stall]
    hold = [frame_of(n, n * 0.02, 2.0) for n in range(200, 250) if not 210 <= n < 220]
    placed = [each for frame in hold for each in settler.push(frame)]
    placed += settler.push(frame_of(250, 7.0))
    assert [f.start for f in placed] == pytest.approx([f.start + 2 for f in hold] + [7.0])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1.5), st.booleans(), st.integers(1, 400)), max_size=80))
def test_nothing_is_lost_and_nothing_overlaps(steps: list[tuple[float, bool, int]]) -> None:
    """Whatever a clock makes of arrivals comes out whole, in order, one behind the other."""
    clock, settler = Timeline(0.0).clock("inbound"), Settler()
    now, placed = 0.0, []
    for wait_s, lost, n_samples in steps:
        now += wait_s
        samples = np.zeros(n_samples, np.int16)
        made = clock.lost_frame(samples, RATE_HZ) if lost else clock.frame(samples, RATE_HZ, now)
        placed += settler.push(made)
    placed += settler.flush()
    assert [frame.index for frame in placed] == list(range(len(steps)))
    end = 0.0
    for frame in placed:
        assert frame.start >= end - 1e-6
        end = frame.start + frame.duration
