"""Frames in stream time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mediaserver.media.timeline import Timeline

RATE_HZ = 8000
FRAME = np.ones(160, np.int16)


def test_frames_lie_end_to_end_whatever_the_jitter() -> None:
    """Arrivals up to 200 ms apart do not show in starts; the index counts without gaps."""
    timeline = Timeline(10.0)
    arrivals = [10.0, 10.001, 10.15, 10.151, 10.152, 10.35]
    frames = [timeline.clock("inbound").frame(FRAME, RATE_HZ, now) for now in arrivals]
    assert [f.start for f in frames] == pytest.approx([0.0, 0.02, 0.04, 0.06, 0.08, 0.1])
    assert [f.index for f in frames] == [0, 1, 2, 3, 4, 5]
    assert frames[0].duration == 0.02


def test_a_pause_moves_the_track_to_its_arrival() -> None:
    """After 10 s of hold the next frame begins when it came, and its neighbours follow it."""
    timeline = Timeline(0.0)
    timeline.clock("inbound").frame(FRAME, RATE_HZ, 1.0)
    frames = [timeline.clock("inbound").frame(FRAME, RATE_HZ, 11.0 + n * 0.02) for n in range(2)]
    assert [f.start for f in frames] == pytest.approx([11.0, 11.02])


def test_lost_chunks_explain_a_gap() -> None:
    """A gap that lost chunks fill is no pause; one far longer than they are is."""
    timeline = Timeline(0.0)
    timeline.clock("inbound").frame(FRAME, RATE_HZ, 0.0)
    lost = [timeline.clock("inbound").lost_frame(FRAME, RATE_HZ) for _ in range(14)]
    after = timeline.clock("inbound").frame(FRAME, RATE_HZ, 0.31)
    assert [f.lost for f in lost] == [True] * 14
    assert after.start == pytest.approx(0.3)
    timeline.clock("inbound").lost_frame(FRAME, RATE_HZ)
    assert timeline.clock("inbound").frame(FRAME, RATE_HZ, 5.0).start == pytest.approx(5.0)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1.0), st.booleans(), st.integers(1, 400)), max_size=50))
def test_starts_never_go_back(steps: list[tuple[float, bool, int]]) -> None:
    """Whatever comes, a frame never begins before the one before it has ended."""
    timeline = Timeline(0.0)
    now = end = 0.0
    for wait_s, lost, n_samples in steps:
        now += wait_s
        samples = np.zeros(n_samples, np.int16)
        place = timeline.clock("outbound")
        frame = place.lost_frame(samples, RATE_HZ) if lost else place.frame(samples, RATE_HZ, now)
        assert frame.start >= end
        end = frame.start + frame.duration
