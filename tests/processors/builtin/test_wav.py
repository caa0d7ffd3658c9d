"""A WAV file that is right after each piece."""

from __future__ import annotations

import contextlib
import os
import resource
import wave
from collections.abc import Iterator
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


def test_channels_are_written_apart(tmp_path: Path) -> None:
    """Each where it belongs; what is there is heard with what comes, and clipped."""
    path = tmp_path / "a.wav"
    file = WavFile(path, 8000, 2)
    file.write_at(0, np.array([1, 2], np.int16))
    file.write_at(1, np.array([3, 4, 30000], np.int16), 1)
    file.write_at(3, np.array([5, 30000], np.int16), 1)
    file.write_at(5, np.array([-7], np.int16))
    file.close()
    with wave.open(str(path)) as found:
        assert (found.getnchannels(), found.getnframes()) == (2, 6)
        both = np.frombuffer(found.readframes(6), "<i2").reshape(-1, 2)
    assert both[:, 0].tolist() == [1, 2, 0, 0, 0, -7]
    assert both[:, 1].tolist() == [0, 3, 4, 30005, 30000, 0]


def test_too_much_at_once_is_clipped(tmp_path: Path) -> None:
    """It does not wrap around; and a file that somebody cut is silent where it was."""
    path = tmp_path / "a.wav"
    file = WavFile(path, 8000)
    for _ in range(2):
        file.write_at(0, np.array([30000, -30000], np.int16))
    assert read(path)[1] == [32767, -32768]
    os.truncate(path, 44)
    file.write_at(1, np.array([5], np.int16))
    assert read(path)[1] == [0, 5]
    file.close()


@contextlib.contextmanager
def files_of(most_bytes: int) -> Iterator[None]:
    """No file of this process may grow beyond this: what a full disk does to a writer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_does_not_fit_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    """A piece that fits in part is not there at all, and may come again."""
    path = tmp_path / "a.wav"
    file = WavFile(path, 8000)
    file.write_at(0, np.array([1, 2], np.int16))
    with files_of(44 + 10):
        with pytest.raises(OSError, match="File too large"):
            file.write_at(2, np.arange(100, dtype=np.int16))
        assert read(path)[1] == [1, 2]
        assert path.stat().st_size == 44 + 4
        with pytest.raises(OSError, match="File too large"):
            file.write_at(1, np.arange(100, dtype=np.int16))
        assert read(path)[1] == [1, 2]
    file.write_at(2, np.array([3], np.int16))
    file.close()
    assert read(path)[1] == [1, 2, 3]


def test_there_is_no_file_whose_head_does_not_fit(tmp_path: Path) -> None:
    """Nothing could play it."""
    with files_of(20), pytest.raises(OSError, match="File too large"):
        WavFile(tmp_path / "a.wav", 8000)
    assert list(tmp_path.iterdir()) == []


def test_never_overwrites(tmp_path: Path) -> None:
    """A file that exists is somebody's recording."""
    (tmp_path / "a.wav").write_bytes(b"kept")
    with pytest.raises(FileExistsError):
        WavFile(tmp_path / "a.wav", 8000)
    assert (tmp_path / "a.wav").read_bytes() == b"kept"
