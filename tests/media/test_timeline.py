"""Frames in stream time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mediaserver.media.frames import Frame
from mediaserver.media.settle import Settler
from mediaserver.media.timeline import LATE_S, Timeline

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


Piece = tuple[float, float]
"""Seconds since the start: when 20 ms were said, and when they came."""


def said(*stretches: tuple[float, float]) -> list[Piece]:
    """Frames said in these stretches of time; each comes at once."""
    return [
        (n / 50, n / 50)
        for begin, end in stretches
        for n in range(round(begin * 50), round(end * 50))
    ]


def stalled(pieces: list[Piece], *stalls: tuple[float, float]) -> list[Piece]:
    """What would come in these stretches of time comes at their end."""
    for begin, end in stalls:
        pieces = [(at, end if begin <= came < end else came) for at, came in pieces]
    return pieces


def frames_of(pieces: list[Piece]) -> list[Frame]:
    clock = Timeline(100.0).clock("inbound")
    return [clock.frame(FRAME, RATE_HZ, 100.0 + came) for _, came in pieces]


CASES = {
    "two seconds come late": stalled(said((0, 12)), (4, 6)),
    "a hold": said((0, 4), (6, 12)),
    "several stalls": stalled(said((0, 12)), (1, 1.4), (2, 5), (5.5, 5.8)),
    "a stall on a hold": stalled(said((0, 3), (5, 12)), (4.5, 6)),
    "a stall soon after a hold": stalled(said((0, 3), (5, 12)), (5.4, 7)),
    "a hold soon after a hold": said((0, 3), (5, 5.6), (6.2, 12)),
    "a stall that a few frames pass": stalled(said((0, 12)), (4, 6))[:210]
    + [(at, max(came, 7.2)) for at, came in stalled(said((0, 12)), (4, 6))[210:]],
    "silence of which OPUS sends one frame in 400 ms": said(
        (0, 2), *((2 + n * 0.4, 2.02 + n * 0.4) for n in range(10)), (6, 12)
    ),
    "a stall at the start": stalled(said((0, 12)), (0, 1.5)),
    "a track that begins late": said((5, 12)),
    "a backlog that comes at twice the pace": [
        (at, max(at, min(6.0 + (at - 4.0) / 2, 8.0)) if 4 <= at < 8 else at)
        for at, _ in said((0, 12))
    ],
    "silence that sends nothing but signs of life": said(
        (0, 2), *((2 + n * 0.16, 2.02 + n * 0.16) for n in range(25)), (6, 12)
    ),
    "clocks that drift": [(at, at * 1.004) for at, _ in said((0, 30))],
}


@pytest.mark.parametrize("name", CASES)
def test_stream_time_equals_call_time_through_stalls_and_holds(name: str) -> None:
    """From a second after the last disturbance on, each frame lies where it was said."""
    pieces = CASES[name]
    frames = frames_of(pieces)
    off = [abs(frame.start - at) for frame, (at, _) in zip(frames, pieces, strict=True)]
    limit_s = 0.13 if name == "clocks that drift" else LATE_S + 0.001
    assert max(off[-150:]) <= limit_s
    assert all(frame.lag == 0 for frame in frames[-150:])


@pytest.mark.parametrize("name", CASES)
def test_what_a_lag_says_is_enough_to_place_every_frame(name: str) -> None:
    """Held back until settled, each frame lies where it was said, even within that second."""
    pieces = CASES[name]
    settler = Settler()
    placed = [each for frame in frames_of(pieces) for each in settler.push(frame)]
    placed += settler.flush()
    off = [abs(frame.start - at) for frame, (at, _) in zip(placed, pieces, strict=True)]
    assert max(off) <= (0.13 if name == "clocks that drift" else LATE_S + 0.021)


def test_a_hold_is_told_from_a_stall_after_a_second() -> None:
    """Behind a pause frames follow on each other and carry their lag, for one second."""
    frames = frames_of(said((0, 1), (11, 13)))
    behind = frames[50:]
    assert [f.start for f in behind[:50]] == pytest.approx([1 + n * 0.02 for n in range(50)])
    assert [f.lag for f in behind[:50]] == pytest.approx([10.0] * 50)
    assert [f.start for f in behind[50:]] == pytest.approx([12 + n * 0.02 for n in range(50)])
    assert not any(f.lag for f in behind[50:])


def test_what_holds_have_added_is_known() -> None:
    """The clock says by how much holds have moved it, and whether its place is settled."""
    clock = Timeline(0.0).clock("inbound")
    for _, came in said((0, 1), (4, 4.5)):
        clock.frame(FRAME, RATE_HZ, came)
    assert (clock.held_s, clock.settled) == (0.0, False)
    assert clock.room_s(4.5) == pytest.approx(3.0)
    for _, came in said((4.5, 6)):
        clock.frame(FRAME, RATE_HZ, came)
    assert (clock.held_s, clock.settled) == (pytest.approx(3.0), True)
    assert clock.room_s(6.0) == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("name", "longest_s"),
    [
        ("two seconds come late", 2.0),
        ("a hold", 0.0),
        ("several stalls", 3.0),
        ("a stall on a hold", 1.0),
        ("a stall soon after a hold", 1.6),
        ("a hold soon after a hold", 0.0),
    ],
)
def test_the_longest_stall_is_known(name: str, longest_s: float) -> None:
    """By the audio that came late; a hold is none."""
    timeline = Timeline(100.0)
    for _, came in CASES[name]:
        timeline.clock("inbound").frame(FRAME, RATE_HZ, 100.0 + came)
    assert timeline.stalled_s == pytest.approx(longest_s, abs=0.03)


def test_lost_chunks_explain_a_gap() -> None:
    """A gap that lost chunks fill is no pause; one far longer than they are is."""
    timeline = Timeline(0.0)
    timeline.clock("inbound").frame(FRAME, RATE_HZ, 0.0)
    lost = [timeline.clock("inbound").lost_frame(FRAME, RATE_HZ) for _ in range(14)]
    after = timeline.clock("inbound").frame(FRAME, RATE_HZ, 0.31)
    assert [f.lost for f in lost] == [True] * 14
    assert after.start == pytest.approx(0.3)
    timeline.clock("inbound").lost_frame(FRAME, RATE_HZ)
    assert timeline.clock("inbound").frame(FRAME, RATE_HZ, 5.0).lag == pytest.approx(4.66)
    assert timeline.clock("inbound").lost_frame(FRAME, RATE_HZ).lag == pytest.approx(4.66)


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


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.2, 3), st.sampled_from(["hold", "stall", "talk"])), max_size=8),
    st.integers(0, 25),
)
def test_any_stalls_and_holds_leave_stream_time_right(
    parts: list[tuple[float, str]], jitter_ms: int
) -> None:
    """Two seconds after any stalls and holds, with jitter, frames lie where they were said."""
    now = 1.0
    talks, stalls = [(0.0, 1.0)], []
    for length_s, kind in parts:
        if kind != "hold":
            talks.append((now, now + length_s))
        if kind == "stall":
            stalls.append((now, now + length_s))
        now += length_s
    talks.append((now, now + 3.0))
    pieces, latest = [], 0.0
    for n, (at, came) in enumerate(stalled(said(*talks), *stalls)):
        latest = max(latest, came + n * 7 % 11 / 10_000 * jitter_ms)
        pieces.append((at, latest))
    frames = frames_of(pieces)
    off = [abs(f.start - at) for f, (at, _) in zip(frames, pieces, strict=True)]
    assert max(off[-50:]) <= 0.05
