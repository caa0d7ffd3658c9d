from __future__ import annotations

import numpy as np
import pytest

from mediaserver.testing.ear import SpeechEar


def sound(seconds: float, level: int) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    return np.full(round(8000 * seconds), level, np.int16)


@pytest.mark.parametrize("n", [1, 77, 160, 4000])
def test_hear_gives_what_happened_in_each_piece(n: int) -> None:
    """A beginning and an end, however the audio is cut; the noise of a line is none."""
    ear = SpeechEar(8000, 300)
    audio = np.concatenate((sound(0.4, 300), sound(0.5, 5000), sound(0.5, 300)))
    changes, at_ms = [], []
    for at in range(0, len(audio), n):
        found = ear.hear(audio[at : at + n])
        changes += found
        at_ms += [ear.at_ms] * len(found)
    assert changes == [True, False]
    if n <= 160:
        assert at_ms == [460, 1200]
    assert not ear.is_speaking


def test_short_noises_and_short_pauses_change_nothing() -> None:
    """A click is no speech, and a pause of 200 ms no end."""
    ear = SpeechEar(8000, 300)
    assert ear.hear(np.concatenate((sound(0.04, 9000), sound(0.4, 0)))) == []
    assert ear.hear(np.concatenate((sound(0.2, 9000), sound(0.2, 0), sound(0.2, 9000)))) == [True]
