"""A WAV file that is playable at every moment of its growth."""

from __future__ import annotations

import struct
from pathlib import Path

from mediaserver.media.frames import Int16Array

_HEADER_BYTES = 44
_MAX_DATA_BYTES = 0xFFFF_FFFF - _HEADER_BYTES


class WavFile:
    """A mono 16-bit WAV file whose header is right after each ``write_at``.

    Args:
        path: must not exist yet.
        rate_hz: sample rate.

    Raises:
        OSError: from the constructor, which then leaves no file, and from ``write_at``, behind
            which the file is as it was before.
    """

    def __init__(self, path: Path, rate_hz: int) -> None:
        self.path = path
        self.rate_hz = rate_hz
        self.n_samples: int = 0
        self._file = path.open("xb", buffering=0)
        try:
            self._write(0, self._header())
        except OSError:
            self._file.close()
            path.unlink(missing_ok=True)
            raise

    def write_at(self, at: int, samples: Int16Array) -> None:
        """Write ``samples`` from sample ``at`` on, then the lengths in the header.

        Nothing stays buffered. What was never written before ``at`` is silence.
        """
        try:
            self._write(_HEADER_BYTES + 2 * at, samples.astype("<i2", copy=False).tobytes())
        except OSError:
            # Of a piece that fits in part nothing stays: it comes again as a whole.
            self._file.truncate(_HEADER_BYTES + 2 * self.n_samples)
            raise
        self.n_samples = max(self.n_samples, at + len(samples))
        self._write(0, self._header())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, at: int, octets: bytes) -> None:
        """Write all of it: an unbuffered file may take a part only, as a full disk does."""
        self._file.seek(at)
        left = memoryview(octets)
        while left:
            left = left[self._file.write(left) :]

    def _header(self) -> bytes:
        data_bytes = min(2 * self.n_samples, _MAX_DATA_BYTES)
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
