"""Both tracks of a call side by side, each sample at its place."""

from __future__ import annotations

import numpy as np
import pytest

from mediaserver.media.align import FrameRateError, PairAligner
from mediaserver.media.frames import Frame, Int16Array, Track
from mediaserver.media.timeline import Timeline

RATE_HZ = 8000


def frame_of(track: Track, at: int, samples: Int16Array) -> Frame:
    return Frame(samples, RATE_HZ, track, 0, at / RATE_HZ)


def ramp(at: int, n_samples: int = 160) -> Int16Array:
    """Samples that name their own place."""
    return np.arange(at + 1, at + 1 + n_samples, dtype=np.int16)


def test_a_minute_with_a_hold_keeps_the_tracks_together() -> None:
    """Both tracks of a minute, 10 s hold on one, jitter on both: each within 40 ms of truth."""
    timeline, aligner = Timeline(0.0), PairAligner(RATE_HZ)
    rng = np.random.default_rng(5)
    arrivals: list[tuple[float, Track, float]] = []
    for n in range(3000):
        said_at = n * 0.02
        arrivals.append((said_at + float(rng.uniform(0, 0.015)), "inbound", said_at))
        if not 20.0 <= said_at < 30.0:
            arrivals.append((said_at + float(rng.uniform(0, 0.015)), "outbound", said_at))
    arrivals.sort()
    blocks = []
    for now, track, said_at in arrivals:
        # The sample value names the second in which it was said.
        samples = np.full(160, 1 + int(said_at), np.int16)
        blocks += aligner.push(timeline.clock(track).frame(samples, RATE_HZ, now))
    blocks += aligner.flush()
    pair = np.concatenate(blocks)
    assert pair.shape[1] == 2
    assert len(pair) == pytest.approx(60 * RATE_HZ, abs=0.04 * RATE_HZ)
    assert aligner.late == 0
    hold = slice(int(20.1 * RATE_HZ), int(29.9 * RATE_HZ))
    assert not pair[hold, 1].any()
    for second in range(1, 60):
        begins = [int(np.argmax(pair[:, column] == second + 1)) for column in (0, 1)]
        if not 20 <= second < 30:
            assert abs(begins[0] - begins[1]) <= 0.04 * RATE_HZ
        assert begins[0] == pytest.approx(second * RATE_HZ, abs=0.04 * RATE_HZ)


def test_blocks_hold_each_sample_at_its_place() -> None:
    """Frames of different lengths and starts land exactly, gaps are silent."""
    aligner = PairAligner(RATE_HZ)
    frames = [
        frame_of("inbound", 0, ramp(0)),
        frame_of("outbound", 40, ramp(40, 300)),
        frame_of("inbound", 160, ramp(160)),
        frame_of("inbound", 400, ramp(400)),
        frame_of("outbound", 340, ramp(340, 220)),
    ]
    pair = np.concatenate([b for f in frames for b in aligner.push(f)] + aligner.flush())
    places = np.arange(1, 561, dtype=np.int16)
    inbound, outbound = places.copy(), places.copy()
    inbound[320:400] = 0
    outbound[:40] = 0
    assert np.array_equal(pair, np.stack((inbound, outbound), axis=1))
    assert aligner.position == 560


def test_a_track_that_lags_is_waited_for_a_bounded_time() -> None:
    """Blocks go out at most ``wait_s`` behind the leading track; what comes later is cut."""
    aligner = PairAligner(RATE_HZ, wait_s=0.1)
    for n in range(10):
        aligner.push(frame_of("inbound", 160 * n, ramp(160 * n)))
    assert aligner.position == 1600 - 800
    blocks = aligner.push(frame_of("outbound", 720, ramp(720)))
    assert aligner.late == 80
    assert np.array_equal(np.concatenate(blocks)[:80, 1], ramp(800, 80))
    aligner.push(frame_of("outbound", 880, ramp(880)))
    assert aligner.push(frame_of("inbound", 0, ramp(0, 0))) == []


def test_both_wait_for_a_track_that_is_not_settled() -> None:
    """Behind a hold of one track, blocks go on once it is known where that track is."""
    timeline, aligner = Timeline(0.0), PairAligner(RATE_HZ)
    blocks = []
    for n in range(400):
        said_at = n * 0.02
        for track in ("inbound", "outbound"):
            if track == "inbound" or not 2.0 <= said_at < 4.0:
                samples = np.full(160, 1 + n, np.int16)
                frame = timeline.clock(track).frame(samples, RATE_HZ, said_at)
                blocks += aligner.push(frame)
        if 4.1 < said_at < 4.9:
            assert aligner.position <= round(4.02 * RATE_HZ)
        if said_at > 5.1:
            assert aligner.position >= round(said_at * RATE_HZ)
    pair = np.concatenate(blocks + aligner.flush())
    assert not pair[2 * RATE_HZ : 4 * RATE_HZ, 1].any()
    assert np.array_equal(pair[4 * RATE_HZ :, 0], pair[4 * RATE_HZ :, 1])
    assert aligner.late == 0


def test_what_is_not_settled_at_the_end_is_given_out() -> None:
    """A hold that ends just before the call does keeps its length, and its audio."""
    timeline, aligner = Timeline(0.0), PairAligner(RATE_HZ)
    for said_at in (0.0, 0.02, 5.0, 5.02):
        aligner.push(timeline.clock("inbound").frame(ramp(0), RATE_HZ, said_at))
    pair = np.concatenate(aligner.flush())
    assert len(pair) == pytest.approx(5.04 * RATE_HZ, abs=2)


def test_audio_wholly_too_late_is_dropped_and_counted() -> None:
    """A frame for a time long given out adds nothing."""
    aligner = PairAligner(RATE_HZ)
    aligner.push(frame_of("inbound", 8000, ramp(0)))
    assert aligner.push(frame_of("outbound", 0, ramp(0))) == []
    assert aligner.late == 160


def test_an_hours_pause_costs_no_memory() -> None:
    """The silence of a long pause is the same read-only second again and again."""
    aligner = PairAligner(RATE_HZ)
    blocks = aligner.push(frame_of("inbound", 3600 * RATE_HZ, ramp(0)))
    blocks += aligner.flush()
    assert sum(map(len, blocks)) == 3600 * RATE_HZ + 160
    assert len({id(block) for block in blocks}) <= 3
    assert not blocks[0].flags.writeable


def test_another_rate_is_refused() -> None:
    """Frames of a wrong rate raise; the aligner stays usable."""
    aligner = PairAligner(16000)
    with pytest.raises(FrameRateError):
        aligner.push(frame_of("inbound", 0, ramp(0)))
    assert aligner.flush() == []
