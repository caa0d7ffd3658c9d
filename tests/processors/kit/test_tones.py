"""Tones: their frequencies, level and length, as a file that any call can play."""

from __future__ import annotations

import io
import wave

import numpy as np
import pytest

from mediaserver import beep
from mediaserver.processors.kit.tones import RATE_HZ, tone
from telephony_codecs import open_audio


def spectrum(octets: bytes) -> dict[int, float]:
    """Level in dB against a sine of full scale, by frequency in steps of 10 Hz; the loud ones."""
    samples, rate_hz = open_audio(octets)
    n = rate_hz // 10
    middle = samples[len(samples) // 2 - n // 2 :][:n].astype(float) / 32767
    levels = 20 * np.log10(2 * np.abs(np.fft.rfft(middle)) / n + 1e-12)
    return {10 * at: float(level) for at, level in enumerate(levels) if level > -60}


def test_one_sine_has_its_level_and_its_length() -> None:
    """1,000 Hz at -12 dB, 300 ms; a plain WAV file."""
    octets = tone(1000)
    assert spectrum(octets) == {1000: pytest.approx(-12, abs=0.1)}
    with wave.open(io.BytesIO(octets)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE_HZ)
        assert file.getnframes() == 0.3 * RATE_HZ


def test_two_sines_share_the_level() -> None:
    """Each is 3 dB below the whole: the ringing tone of North America."""
    levels = spectrum(tone(440, 480, ms=500, db=-13))
    assert levels == {440: pytest.approx(-16, abs=0.1), 480: pytest.approx(-16, abs=0.1)}


def test_it_begins_and_ends_without_a_click() -> None:
    """Both ends are silent, and no step is larger than the sine's own."""
    samples, _ = open_audio(tone(1000, ms=50, db=0))
    assert abs(int(samples[0])) < 10
    assert abs(int(samples[-1])) < 10
    assert np.abs(np.diff(samples.astype(int))).max() <= 2 * np.pi * 1000 / RATE_HZ * 32767 + 2
    assert np.abs(samples.astype(int)).max() == pytest.approx(32767, abs=2)


def test_no_frequency_is_silence() -> None:
    """For a pause of that length; also a tone of less than both slopes can be had."""
    samples, _ = open_audio(tone(ms=20))
    assert samples.tolist() == [0] * 320
    assert len(open_audio(tone(1000, ms=1))[0]) == 16


def test_a_beep_is_one_sine() -> None:
    """As answering machines have it."""
    assert spectrum(beep(ms=200)) == {1000: pytest.approx(-12, abs=0.1)}


@pytest.mark.parametrize(
    ("frequencies_hz", "options", "why"),
    [
        ((0,), {}, "frequencies"),
        ((8000,), {}, "7000"),
        ((float("nan"),), {}, "nan"),
        ((440,), {"ms": 0}, "length"),
        ((440,), {"ms": 1e7}, "600000"),
        ((440,), {"ms": float("nan")}, "length"),
        ((440,), {"db": 0.1}, "level of -0.0|level of 0.0"),
        ((440, 480), {"db": -2.9}, "-3.0 dB"),
        ((440,), {"db": float("nan")}, "level"),
    ],
)
def test_what_there_is_not_is_said(
    frequencies_hz: tuple[float, ...], options: dict[str, float], why: str
) -> None:
    """A ValueError with what is possible."""
    with pytest.raises(ValueError, match=why):
        tone(*frequencies_hz, **options)
