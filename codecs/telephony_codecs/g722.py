"""G722: ITU-T G.722 at 64 kbit/s. Audio is 16 kHz, although RTP calls it 8000."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from telephony_codecs.concealment import KEPT, ConcealingDecoder
from telephony_codecs.contract import (
    INT16,
    MAX_PAYLOAD_S,
    Codec,
    Int16Array,
    check_length,
    check_samples,
)
from telephony_codecs.errors import CodecUnavailableError, PayloadError

RATE_HZ = 16000
BIT_RATE = 64000
SAMPLES_PER_OCTET = 2
MAX_SAMPLES = MAX_PAYLOAD_S * RATE_HZ
# Of each side's quadrature mirror filter.
FILTER_DELAY_SAMPLES = 11


def new_coder(direction: str) -> Any:
    """Return a coder of the G722 package, which holds the state of both directions."""
    try:
        module = importlib.import_module("G722")
    except ImportError as error:
        raise CodecUnavailableError(
            "G722", direction, "the package G722 does not import", "pip install G722"
        ) from error
    return module.G722(RATE_HZ, BIT_RATE)


class G722Decoder(ConcealingDecoder):
    """Octets in, two samples at 16 kHz each out; every octet is legal.

    Options: ``max_payload_s``, what one payload may last.
    """

    codec = "G722"
    delay_samples = FILTER_DELAY_SAMPLES

    def __init__(self, rate_hz: int, max_payload_s: float = MAX_PAYLOAD_S) -> None:
        super().__init__(rate_hz)
        self._max_octets = int(max_payload_s * RATE_HZ) // SAMPLES_PER_OCTET
        self._coder = new_coder("decode")

    def decode(self, payload: bytes) -> Int16Array:
        """Return two samples per octet, read-only; PayloadError if it is too long."""
        if len(payload) > self._max_octets:
            raise PayloadError("G722", f"{len(payload)} octets, at most {self._max_octets}")
        samples = np.frombuffer(self._coder.decode(payload), INT16)
        samples.flags.writeable = False
        recent = self._recent
        recent.append(samples)
        if len(recent) > KEPT:
            del recent[0]
        return samples

    def reset(self) -> None:
        """Forget all history, as if new."""
        super().reset()
        self._coder = new_coder("decode")


class G722Encoder:
    """Pairs of samples at 16 kHz in, octets out."""

    codec = "G722"
    delay_samples = FILTER_DELAY_SAMPLES
    unit_samples = SAMPLES_PER_OCTET
    max_samples = MAX_SAMPLES

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self._coder = new_coder("encode")

    def encode(self, samples: Int16Array) -> bytes:
        """Return an octet per two samples; AudioFormatError if not an even number of int16."""
        check_samples(samples, SAMPLES_PER_OCTET, MAX_SAMPLES)
        # The package encodes bytes, or a strided array, wrongly and without an error.
        encoded: bytes = self._coder.encode(np.ascontiguousarray(samples))
        return encoded

    def silence(self, n_samples: int) -> bytes:
        """Return ``n_samples`` of zeros, encoded in continuation of what went before."""
        check_length(n_samples, SAMPLES_PER_OCTET, MAX_SAMPLES)
        return self.encode(np.zeros(n_samples, np.int16))

    def reset(self) -> None:
        """Forget all history, as if new."""
        self._coder = new_coder("encode")


G722 = Codec("G722", (RATE_HZ,), RATE_HZ, G722Decoder, G722Encoder)
