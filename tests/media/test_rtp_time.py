"""Where RTP packets lie in local time."""

from __future__ import annotations

import random

import numpy as np
import pytest

from mediaserver.media.rtp_time import (
    CALM_AFTER_S,
    SETTLE_S,
    STALL_S,
    PlacedTimeline,
    RtpTime,
)

CLOCK_HZ = 8000
STEP = 160
FRAME = np.zeros(STEP, np.int16)


def test_arrived_for_each_packet_then_place() -> None:
    """Places are steady, whatever the jitter, once a packet without any has come."""
    time = RtpTime(CLOCK_HZ)
    assert time.settles_at() is None
    dice = random.Random(1)
    places = []
    for n in range(100):
        now = 10.0 + n * 0.02 + dice.random() * 0.04 * (n != 3)
        places.append((now, time.place_s(time.arrived(5 + n * STEP, now))))
    assert all(place <= now + 1e-9 for now, place in places), "nothing lies behind its arrival"
    late = [place - (10.0 + n * 0.02) for n, (_, place) in enumerate(places)]
    assert late[0] > 0.001
    assert late[3:] == pytest.approx([0.0] * 97, abs=1e-6)


def test_jitter_takes_longer_to_know() -> None:
    """Where nothing is late the place is known soon."""
    calm, rough = RtpTime(CLOCK_HZ), RtpTime(CLOCK_HZ)
    for n in range(5):
        calm.arrived(n * STEP, 1.0 + n * 0.02)
        rough.arrived(n * STEP, 1.0 + n * 0.02 + 0.01 * (n % 2))
    assert calm.settles_at() == pytest.approx(1.0 + CALM_AFTER_S)
    assert rough.settles_at() == pytest.approx(1.0 + SETTLE_S)


def test_timestamps_wrap() -> None:
    """Across 32 bits time goes on; also where packets come the other way round."""
    time = RtpTime(CLOCK_HZ)
    base = (1 << 32) - STEP
    first = time.arrived(base, 1.0)
    third = time.arrived((base + 2 * STEP) % (1 << 32), 1.04)
    second = time.arrived((base + STEP) % (1 << 32), 1.05)
    assert [third - first, second - first] == [2 * STEP, STEP]


def test_a_stall_of_the_network_moves_nothing() -> None:
    """What comes late lies where it was said."""
    time = RtpTime(CLOCK_HZ)
    time.arrived(0, 1.0)
    assert time.place_s(time.arrived(STEP, 1.0 + STALL_S)) == pytest.approx(1.02)


@pytest.mark.parametrize("jump", [1_000_000, -1_000_000])
def test_timestamps_that_jump_are_taken_anew(jump: int) -> None:
    """Forward or back: the packet lies at its arrival, and the next ones behind it."""
    time = RtpTime(CLOCK_HZ)
    time.arrived(2_000_000, 1.0)
    jumped = time.arrived(2_000_000 + jump, 1.02)
    assert time.place_s(jumped) == pytest.approx(1.02)
    following = time.arrived(2_000_000 + jump + STEP, 1.08)
    assert time.place_s(following) == pytest.approx(1.04)


def test_a_frame_begins_at_its_place_or_behind_the_last_one() -> None:
    """A gap is silence, an overlap is none; and no frame ever carries a lag."""
    clock = PlacedTimeline(10.0).clock("inbound")
    starts = []
    for place in (10.0, 10.02, 10.0399, 10.0605, 10.5, 10.3):
        frame = clock.frame(FRAME, CLOCK_HZ, place)
        assert frame.lag == 0
        starts.append(frame.start)
    assert starts == pytest.approx([0.0, 0.02, 0.04, 0.06, 0.5, 0.52])
    assert clock.held_s == pytest.approx(0.42)
    lost = clock.lost_frame(FRAME, CLOCK_HZ)
    assert lost.start == pytest.approx(0.54)
    assert (lost.lost, lost.index) == (True, 6)
    assert clock.settled
