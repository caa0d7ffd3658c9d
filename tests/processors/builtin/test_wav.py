"""A WAV file that is right after each piece."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from mediaserver.processors.builtin.wav import WavFile


def read(path: Path) -> tuple[int, list[int]]:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        return file.getframerate(), np.frombuffer(file.readframes(10**6), "<i2").tolist()


def test_playable_at_every_moment(tmp_path: Path) -> None:
    """Before the first piece, between pieces and after close, a reader finds all written."""
    path = tmp_path / "a.wav"
    file = WavFile(path, 16000)
    assert read(path) == (16000, [])
    file.write_at(0, np.array([1, -2], np.int16))
    assert read(path) == (16000, [1, -2])
    file.write_at(2, np.array([32767, -32768], np.int16))
    assert read(path) == (16000, [1, -2, 32767, -32768])
    file.write_at(6, np.array([5], np.int16))
    assert read(path)[1] == [1, -2, 32767, -32768, 0, 0, 5]
    file.close()
    assert read(path)[1] == [1, -2, 32767, -32768, 0, 0, 5]


def test_never_overwrites(tmp_path: Path) -> None:
    """A file that exists is somebody's recording."""
    (tmp_path / "a.wav").write_bytes(b"kept")
    with pytest.raises(FileExistsError):
        WavFile(tmp_path / "a.wav", 8000)
    assert (tmp_path / "a.wav").read_bytes() == b"kept"
