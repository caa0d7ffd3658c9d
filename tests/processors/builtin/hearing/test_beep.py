"""The beep of an answering machine is found, in what codecs and noise leave of it; keys are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mediaserver.carrier.plan import speech
from mediaserver.errors import ConfigurationError
from mediaserver.media.frames import Int16Array
from mediaserver.processors.batch import BatchCall
from mediaserver.processors.builtin.hearing.beep import BeepDetect
from mediaserver.processors.events import Beep
from telephony_codecs import codec, resample_clip


def found(samples: Int16Array, detect: BeepDetect | None = None) -> list[Beep]:
    """The beeps in some audio."""
    detect = detect or BeepDetect()
    call = BatchCall("a")
    beeps: list[Any] = []
    for n in range(len(samples) // 160):
        call.at = n * 0.02
        beeps += detect.process(samples[None, n * 160 : (n + 1) * 160], [call], {})
    return [beep for beep in beeps if beep is not None]


def tone(*frequencies: float, seconds: float = 0.5, level: float = 6000.0) -> Int16Array:
    """Tones at once, with silence before and behind."""
    t = np.arange(round(seconds * 8000)) / 8000
    whole = sum(level * np.sin(2 * np.pi * f * t) for f in frequencies)
    return np.pad(np.asarray(whole), 4000).astype(np.int16)


@pytest.mark.parametrize("frequency", [440.0, 850.0, 1004.0, 1400.0, 2050.0])
@pytest.mark.parametrize("name", ["PCMU", "PCMA"])
def test_a_beep_is_found(frequency: float, name: str) -> None:
    """Its frequency, its length, and when it ended; in noise of -20 dB as well."""
    noise = np.random.default_rng(1).normal(0, 400, 12_000)
    samples = (tone(frequency) + noise).clip(-32768, 32767).astype(np.int16)
    (beep,) = found(codec(name).decoder().decode(codec(name).encoder().encode(samples)))
    assert beep.frequency == pytest.approx(frequency, abs=25)
    assert beep.duration == pytest.approx(0.5, abs=0.05)
    assert beep.at == pytest.approx(1.0, abs=0.05)


def test_what_is_no_beep_is_not() -> None:
    """Speech, keys, what is too short or too long or too quiet, and a whistle."""
    t = np.arange(8000) / 8000
    whistle = (6000 * np.sin(2 * np.pi * (500 * t + 400 * t**2))).astype(np.int16)
    for each in (
        resample_clip(speech().samples, speech().rate_hz, 8000),
        tone(770, 1336),
        tone(1000, seconds=0.08),
        tone(1000, seconds=4.0),
        tone(1000, level=50.0),
        whistle,
    ):
        assert not found(each)


def test_two_beeps_of_other_pitch_are_two() -> None:
    """As of machines that sing."""
    high, low = tone(1000)[4000:-4000], tone(600)[4000:-4000]
    beeps = found(np.concatenate([high, low, np.zeros(4000, np.int16)]))
    assert [round(beep.frequency) for beep in beeps][-1] == 600


def test_lengths_that_make_no_sense_are_refused() -> None:
    """Before any call comes."""
    with pytest.raises(ConfigurationError, match="40 <= least_ms < most_ms"):
        BeepDetect(least_ms=500, most_ms=400)
