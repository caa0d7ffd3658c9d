"""Two channels as one."""

from __future__ import annotations

import numpy as np
import pytest

from mediaserver.carrier.plan import speech
from mediaserver.media.frames import Int16Array
from mediaserver.processors.builtin.recording.mix import MonoMix

RATE = 16000
SPEECH = speech().samples


def mixed(left: Int16Array, right: Int16Array) -> Int16Array:
    mix = MonoMix(RATE)
    stereo = np.stack([left, right], axis=1)
    n = 3 * mix.block_samples
    return np.concatenate([mix.mix(stereo[at : at + n]) for at in range(0, len(stereo), n)])


def power(samples: Int16Array) -> float:
    return float(np.mean(samples.astype(np.float64) ** 2))


def test_one_voice_is_as_it_was() -> None:
    """Where the other channel is silent nothing changes, and nothing is lost at the end."""
    silence = np.zeros_like(SPEECH)
    assert (mixed(SPEECH, silence) == SPEECH).all()
    assert (mixed(silence, SPEECH) == SPEECH).all()


@pytest.mark.parametrize("gain", [-1.0, -0.7, -0.4])
def test_opposite_phase_is_heard(gain: float) -> None:
    """Their sum would be silence, or nearly."""
    quiet = SPEECH // 2
    turned = np.asarray(quiet * gain, np.int16)
    assert power(mixed(quiet, turned)) >= 0.95 * power(quiet) * (1 - gain) ** 2


def test_a_turned_piece_in_the_middle_is_heard() -> None:
    """Also where the phase changes, and without a jump there."""
    quiet = SPEECH // 4
    right = quiet.copy()
    right[RATE : 2 * RATE] *= -1
    found = mixed(quiet, right)
    for at in range(0, len(quiet) - RATE // 4, RATE // 4):
        part = slice(at, at + RATE // 4)
        assert power(found[part]) >= 0.9 * power(quiet[part])
    assert (
        np.abs(np.diff(found.astype(int))).max() <= 2.5 * np.abs(np.diff(quiet.astype(int))).max()
    )


def test_what_is_too_loud_is_clipped() -> None:
    """It does not wrap around."""
    loud = np.full(4000, 30000, np.int16)
    assert (mixed(loud, loud) == 32767).all()


def test_nothing_gives_nothing() -> None:
    """An empty recording has no samples."""
    assert len(MonoMix(RATE).mix(np.zeros((0, 2), np.int16))) == 0
