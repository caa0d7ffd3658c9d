"""A frame says how long it is, and stays as it was made."""

from __future__ import annotations

import numpy as np
import pytest

from mediaserver.errors import AudioFormatError
from mediaserver.media.frames import Frame, check_audio, is_audio


@pytest.mark.parametrize(
    ("n_samples", "rate_hz", "duration_s"),
    [(160, 8000, 0.02), (320, 16000, 0.02), (441, 22050, 0.02), (0, 8000, 0.0)],
)
def test_the_duration_is_that_of_its_samples(
    n_samples: int, rate_hz: int, duration_s: float
) -> None:
    """Samples by rate, in seconds."""
    frame = Frame(np.zeros(n_samples, np.int16), rate_hz, "inbound", 0, 1.5)
    assert frame.duration == pytest.approx(duration_s)


def test_a_frame_is_not_lost_unless_said_so_and_never_changes() -> None:
    """A filter makes a new frame; the one it got is shared by all that follow."""
    frame = Frame(np.zeros(160, np.int16), 8000, "outbound", 7, 0.14)
    assert (frame.lost, frame.index, frame.start) == (False, 7, 0.14)
    with pytest.raises(AttributeError):
        frame.index = 8  # type: ignore[misc]  # that is the test


def test_audio_is_a_one_dimensional_int16_array() -> None:
    """Of any length, up to an hour; nothing else is."""
    check_audio(np.zeros(0, np.int16), 8000)
    check_audio(np.broadcast_to(np.int16(0), 8000 * 3600), 8000)
    assert not is_audio([1, 2])
    for odd, said in (
        (np.zeros(3), "float64 of 1"),
        (np.zeros((3, 2), np.int16), "int16 of 2"),
        ([1, 2], "list"),
        (np.zeros(3, ">i2"), ">i2"),
        (np.broadcast_to(np.int16(0), 8000 * 3600 + 1), "3600 s of audio"),
    ):
        with pytest.raises(AudioFormatError, match=said):
            check_audio(odd, 8000)


def test_a_frame_with_other_samples_keeps_its_place() -> None:
    """As a filter passes it on, perhaps at another rate; what is no audio is refused."""
    frame = Frame(np.zeros(160, np.int16), 8000, "outbound", 7, 0.14, True, 0.5)
    other = frame.with_samples(np.ones(320, np.int16), 16_000)
    assert (other.rate, len(other.samples), other.duration) == (16_000, 320, 0.02)
    assert (other.track, other.index, other.start) == ("outbound", 7, 0.14)
    assert (other.lost, other.lag) == (True, 0.5)
    assert frame.with_samples(np.ones(80, np.int16)).rate == 8000
    with pytest.raises(AudioFormatError):
        frame.with_samples(np.zeros(3))  # type: ignore[arg-type]  # that is the test
