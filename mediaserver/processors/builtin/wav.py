"""A WAV file that is playable at every moment of its growth."""

from __future__ import annotations

import struct
from pathlib import Path

from mediaserver.media.frames import Int16Array

_HEADER_BYTES = 44


class WavFile:
    """A mono 16-bit WAV file whose header is right after each ``append``.

    Args:
        path: must not exist yet.
        rate_hz: sample rate.

    Raises:
        OSError: from the constructor and ``append``.
    """

    def __init__(self, path: Path, rate_hz: int) -> None:
        self.path = path
        self.rate_hz = rate_hz
        self.n_samples = 0
        self._file = path.open("xb", buffering=0)
        self._file.write(self._header())

    def append(self, samples: Int16Array) -> None:
        """Write ``samples``, then the lengths in the header; nothing stays buffered."""
        self._file.seek(_HEADER_BYTES + 2 * self.n_samples)
        self._file.write(samples.astype("<i2", copy=False).tobytes())
        self.n_samples += len(samples)
        self._file.seek(0)
        self._file.write(self._header())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _header(self) -> bytes:
        data_bytes = 2 * self.n_samples
        return struct.pack(
            "<4sI4s4sIHHIIHH4sI",
            b"RIFF",
            data_bytes + _HEADER_BYTES - 8,
            b"WAVE",
            b"fmt ",
            16,
            1,  # linear PCM
            1,  # mono
            self.rate_hz,
            2 * self.rate_hz,
            2,
            16,
            b"data",
            data_bytes,
        )
