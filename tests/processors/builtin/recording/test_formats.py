"""Other formats of a finished recording."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest

from mediaserver.carrier.plan import speech
from mediaserver.media.frames import Int16Array
from mediaserver.processors.builtin.recording.formats import Form, converted, rate_for
from mediaserver.processors.builtin.wav import WavFile
from telephony_codecs import open_audio

CLIP = speech().samples


def stereo(path: Path, rate_hz: int) -> None:
    with contextlib.closing(WavFile(path, rate_hz, 2)) as file:
        file.write_at(0, CLIP, 0)
        file.write_at(500, CLIP[:-500], 1)


def alike(one: Int16Array, other: Int16Array) -> float:
    a, b = one.astype(float), other.astype(float)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


@pytest.mark.parametrize("mono", [False, True])
@pytest.mark.parametrize("form", ["wav", "flac", "opus"])
@pytest.mark.parametrize("rate_hz", [8000, 16000, 24000, 48000])
def test_nothing_moves(tmp_path: Path, form: Form, rate_hz: int, mono: bool) -> None:
    """The sound is what it was and where it was; the WAV file makes room for it."""
    path = tmp_path / "a.wav"
    stereo(path, rate_hz)
    target = converted(path, form, mono=mono)
    assert list(tmp_path.iterdir()) == [target]
    samples, found_hz = open_audio(target)
    assert found_hz in (rate_hz, 48000)
    before = np.zeros(len(CLIP), np.int16)
    before[500:] = CLIP[:-500]
    expected = (CLIP.astype(int) + before).clip(-32768, 32767)
    step = found_hz // rate_hz
    found = samples[::step][: len(expected)]
    assert abs(len(samples) - step * len(CLIP)) <= 2 * step
    assert alike(found, expected[: len(found)]) > (0.9 if form == "opus" else 0.98)


def test_opus_has_rates_of_its_own() -> None:
    """The next one that loses nothing."""
    assert [rate_for("opus", rate) for rate in (8000, 22050, 44100, 96000)] == [
        8000,
        24000,
        48000,
        48000,
    ]
    assert rate_for("flac", 22050) == 22050


def test_what_cannot_be_encoded_stays(tmp_path: Path) -> None:
    """An OSError says so, and no part of it is left."""
    path = tmp_path / "a.wav"
    stereo(path, 16000)
    (tmp_path / "a.part").mkdir()  # in the way of the new file
    with pytest.raises(OSError, match=r"directory|Directory"):
        converted(path, "flac", mono=False)
    assert path.stat().st_size > 2 * len(CLIP)
