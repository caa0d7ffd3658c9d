"""Peak and mean of samples, by the library in C and without it."""

from __future__ import annotations

import numpy as np
import pytest

from mediaserver.server.calls.audio import levels
from mediaserver.server.calls.audio.levels import Levels
from telephony_codecs.g711 import load_audioop

WAYS = {"audioop": load_audioop(), "numpy": None}
DICE = np.random.default_rng(1)
SAMPLES = {
    "random": DICE.integers(-20000, 20000, 160).astype(np.int16),
    "the lowest": np.array([0, -32768, 5], dtype=np.int16),
    "the highest": np.array([32767, -3], dtype=np.int16),
    "silence": np.zeros(320, dtype=np.int16),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", SAMPLES)
def test_the_peak_is_the_largest_without_its_sign(way: str, name: str) -> None:
    samples = SAMPLES[name]
    assert levels._peak_of(WAYS[way])(samples) == int(np.abs(samples.astype(np.int32)).max())


@pytest.mark.parametrize("way", WAYS)
def test_the_root_of_the_mean_square(way: str) -> None:
    samples = SAMPLES["random"]
    true = float(np.sqrt(np.square(samples.astype(np.float64)).mean()))
    assert abs(levels._rms_of(WAYS[way])(samples) - true) <= 1.0


def test_levels_of_a_full_scale_square_wave() -> None:
    """0 dBFS both; with as much silence behind it, 3 dB less on average."""
    measured = Levels()
    assert (measured.peak_dbfs, measured.mean_dbfs, measured.take_last()) == (None, None, None)
    measured.add(np.tile(np.array([-32768, -32768], dtype=np.int16), 80))
    assert measured.peak_dbfs == pytest.approx(0.0)
    assert measured.mean_dbfs == pytest.approx(0.0)
    measured.add(np.zeros(160, dtype=np.int16))
    assert measured.take_last() == -100.0
    assert measured.take_last() is None
    assert measured.mean_dbfs == pytest.approx(-3.01, abs=0.01)
