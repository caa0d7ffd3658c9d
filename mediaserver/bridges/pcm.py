"""Audio as speech services send it: raw PCM in pieces of any length, base64. Pure."""

from __future__ import annotations

import binascii

import numpy as np
import pybase64

from mediaserver.errors import MediaServerError
from mediaserver.media.frames import Int16Array


class BadAudioError(MediaServerError):
    """A service sent audio that cannot be read."""


def to_pcm(samples: Int16Array) -> bytes:
    """Return int16 samples ``(n,)`` as little-endian octets."""
    return samples.astype("<i2", copy=False).tobytes()


def to_base64(samples: Int16Array) -> str:
    """Return int16 samples ``(n,)`` as base64 of their little-endian octets."""
    return pybase64.b64encode(to_pcm(samples)).decode("ascii")


def from_base64(text: str) -> bytes:
    """Return the octets of strict base64.

    Raises:
        BadAudioError: it is none.
    """
    try:
        return pybase64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadAudioError("audio that is no base64") from error


class PcmReader:
    """Samples from octets that are cut anywhere, also within a sample.

    **Call ``read`` with each piece in the order it came in.**
    """

    def __init__(self) -> None:
        self._rest = b""

    def read(self, octets: bytes) -> Int16Array:
        """Return the samples that are whole now, int16 ``(n,)``; half a sample waits."""
        octets = self._rest + octets
        n_whole = len(octets) // 2 * 2
        self._rest = octets[n_whole:]
        return np.frombuffer(octets[:n_whole], "<i2").astype(np.int16, copy=False)
