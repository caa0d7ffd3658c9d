"""A WAV file that is playable at every moment of its growth."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from mediaserver.media.frames import Int16Array

_HEADER_BYTES = 44
_MAX_DATA_BYTES = 0xFFFF_FFFF - _HEADER_BYTES


class WavFile:
    """A 16-bit WAV file whose header is right after each ``write_at``.

    Args:
        path: must not exist yet.
        rate_hz: sample rate.
        n_channels: 1 or more.

    Raises:
        OSError: from the constructor, which then leaves no file, and from ``write_at``, behind
            which the file is as it was before.
    """

    def __init__(self, path: Path, rate_hz: int, n_channels: int = 1) -> None:
        self.path = path
        self.rate_hz = rate_hz
        self.n_channels = n_channels
        self.n_samples: int = 0
        self._file = path.open("x+b", buffering=0)
        try:
            self._write(0, self._header())
        except OSError:
            self._file.close()
            path.unlink(missing_ok=True)
            raise

    def write_at(self, at: int, samples: Int16Array, channel: int = 0) -> None:
        """Add ``samples`` to one channel from sample ``at`` on, then set the lengths in the header.

        Nothing stays buffered. What was never written is silence; what is there already is heard
        together with it, and clipped where both are too loud.
        """
        before = self._read(at, min(max(self.n_samples - at, 0), len(samples)))
        block = np.zeros((len(samples), self.n_channels), np.int16)
        block[: len(before)] = before
        mixed = block[:, channel].astype(np.int32) + samples
        block[:, channel] = np.clip(mixed, -32768, 32767)
        try:
            self._write(self._place(at), block.astype("<i2", copy=False).tobytes())
        except OSError:
            # Of a piece that fits in part nothing stays: it comes again as a whole.
            self._file.truncate(self._place(self.n_samples))
            self._write(self._place(at), before.astype("<i2", copy=False).tobytes())
            raise
        self.n_samples = max(self.n_samples, at + len(samples))
        self._write(0, self._header())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _place(self, at: int) -> int:
        return _HEADER_BYTES + 2 * self.n_channels * at

    def _read(self, at: int, n_samples: int) -> Int16Array:
        """Samples that are there: shape ``(n, n_channels)``."""
        if not n_samples:
            return np.zeros((0, self.n_channels), np.int16)
        self._file.seek(self._place(at))
        octets = b""
        left = 2 * self.n_channels * n_samples
        while left and (part := self._file.read(left)):
            octets += part
            left -= len(part)
        octets += bytes(left)  # somebody has cut it
        return np.frombuffer(octets, "<i2").astype(np.int16).reshape(-1, self.n_channels)

    def _write(self, at: int, octets: bytes) -> None:
        """Write all of it: an unbuffered file may take a part only, as a full disk does."""
        self._file.seek(at)
        left = memoryview(octets)
        while left:
            left = left[self._file.write(left) :]

    def _header(self) -> bytes:
        n_bytes = 2 * self.n_channels
        data_bytes = min(n_bytes * self.n_samples, _MAX_DATA_BYTES)
        return struct.pack(
            "<4sI4s4sIHHIIHH4sI",
            b"RIFF",
            data_bytes + _HEADER_BYTES - 8,
            b"WAVE",
            b"fmt ",
            16,
            1,  # linear PCM
            self.n_channels,
            self.rate_hz,
            n_bytes * self.rate_hz,
            n_bytes,
            16,
            b"data",
            data_bytes,
        )
