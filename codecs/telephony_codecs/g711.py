"""PCMU and PCMA: ITU-T G.711 at 8 kHz, one octet a sample.

Decoding is by ``audioop`` (``audioop-lts`` from Python 3.13 on), three times as fast as a
table; by a table where that is absent. Encoding is always by a table: audioop's µ-law
encoder differs from ITU-T G.191 on 508 of the 65,536 inputs, all negative, and its A-law
encoder, which is exact, is no faster on real speech. The table is looked up by a compiled step
where that was built, and by numpy elsewhere; both give the same.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from telephony_codecs.concealment import KEPT, ConcealingDecoder
from telephony_codecs.contract import (
    INT16,
    MAX_PAYLOAD_S,
    Codec,
    Int16Array,
    check_length,
    check_samples,
)
from telephony_codecs.errors import PayloadError

RATE_HZ = 8000
MAX_SAMPLES = MAX_PAYLOAD_S * RATE_HZ
ULAW_SILENCE = b"\xff"
ALAW_SILENCE = b"\xd5"

OCTET = np.dtype(np.uint8)
# Bound here: each look-up in numpy's module is paid 50 times a second and call.
_frombuffer, _ndarray = np.frombuffer, np.ndarray
OctetArray = npt.NDArray[np.uint8]


@cache
def ulaw_to_linear() -> Int16Array:
    """Return the sample of each of the 256 µ-law codes (G.711 table 2)."""
    code = ~np.arange(256, dtype=np.uint8)
    segment, step = (code >> 4) & 7, code & 15
    magnitude = (((step.astype(np.int32) << 3) + 132) << segment) - 132
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


@cache
def alaw_to_linear() -> Int16Array:
    """Return the sample of each of the 256 A-law codes (G.711 table 1)."""
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    segment, step = ((code >> 4) & 7).astype(np.int32), code & 15
    magnitude = (step.astype(np.int32) << 4) + 8
    magnitude = np.where(segment > 0, (magnitude + 256) << np.maximum(segment - 1, 0), magnitude)
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


@cache
def linear_to_ulaw() -> OctetArray:
    """Return the µ-law code of each sample, indexed by the sample (negatives from the end).

    One's complement magnitude in 14 bits, as ITU-T G.191's ``ulaw_compress``.
    """
    sample = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32)
    biased = np.minimum((np.where(sample < 0, ~sample, sample) >> 2) + 33, 0x1FFF)
    segment = np.floor(np.log2(biased)).astype(np.int32) - 5
    code = (segment << 4) | ((biased >> (segment + 1)) & 15)
    table: OctetArray = (~np.where(sample < 0, code | 0x80, code)).astype(np.uint8)
    return table


@cache
def linear_to_alaw() -> OctetArray:
    """Return the A-law code of each sample, indexed by the sample (negatives from the end)."""
    sample = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32)
    magnitude = np.where(sample < 0, ~sample, sample) >> 4
    exponent = np.log2(np.maximum(magnitude, 8)).astype(np.int32) - 3
    mantissa = (magnitude >> np.maximum(exponent - 1, 0)) & 15
    code = (exponent << 4) | mantissa
    table: OctetArray = (np.where(sample < 0, code, code | 0x80) ^ 0x55).astype(np.uint8)
    return table


@dataclass(frozen=True, slots=True)
class Law:
    """One companding law: how octets become samples and back.

    Attributes:
        codec: wire name.
        silence: the octet of zero.
        expand: octets and 2, the octets of a sample, to samples as octets.
        octets_of: samples, int16 ``(n,)``, to one octet each, by a table of all 65,536.
    """

    codec: str
    silence: bytes
    expand: Callable[[bytes, int], bytes]
    octets_of: Callable[[Int16Array], bytes]


def expander(table: Int16Array) -> Callable[[bytes, int], bytes]:
    """Return the decoding of octets by a table of 256 samples, in the form ``audioop`` has."""
    take = table.take
    return lambda payload, _: take(np.frombuffer(payload, OCTET)).tobytes()


def compander(table: OctetArray, compiled: Any = None) -> Callable[[Int16Array], bytes]:
    """Return the encoding of samples by a table of 65,536 octets; by numpy if not ``compiled``."""
    if compiled is not None:
        encoding: Callable[[Int16Array], bytes] = compiled.compander(table.tobytes())
        return encoding
    take = table.take
    return lambda samples: take(samples).tobytes()


def laws(audioop: Any, compiled: Any) -> tuple[Law, Law]:
    """Return µ-law and A-law, by these modules, or by tables where they are None."""
    if audioop is not None:
        expand_ulaw, expand_alaw = audioop.ulaw2lin, audioop.alaw2lin
    else:
        expand_ulaw, expand_alaw = expander(ulaw_to_linear()), expander(alaw_to_linear())
    return (
        Law("PCMU", ULAW_SILENCE, expand_ulaw, compander(linear_to_ulaw(), compiled)),
        Law("PCMA", ALAW_SILENCE, expand_alaw, compander(linear_to_alaw(), compiled)),
    )


def load_audioop() -> Any:
    """Return the module, or None where there is none."""
    with warnings.catch_warnings():
        # Python 3.12 announces the removal; the replacement is a declared dependency.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return importlib.import_module("audioop")
        except ImportError:
            return None


def load_compiled() -> Any:
    """Return the compiled step, or None where it was not built."""
    try:
        return importlib.import_module("telephony_codecs._compand")
    except ImportError:
        return None


class G711Decoder(ConcealingDecoder):
    """Octets of one law in, samples at 8 kHz out; every octet is legal.

    Options: ``max_payload_s``, what one payload may last.
    """

    __slots__ = ("_expand", "_max_octets", "codec")

    delay_samples = 0

    def __init__(self, law: Law, max_payload_s: float = MAX_PAYLOAD_S) -> None:
        super().__init__(RATE_HZ)
        self._max_octets = int(max_payload_s * RATE_HZ)
        self.codec = law.codec
        self._expand = law.expand

    def decode(self, payload: bytes) -> Int16Array:
        """Return one sample per octet, read-only; PayloadError if it is too long."""
        if len(payload) > self._max_octets:
            raise PayloadError(self.codec, f"{len(payload)} octets, at most {self._max_octets}")
        # From bytes, so the array is read-only for free.
        expand = self._expand  # hot path: bound once, see docs/architecture.md
        samples: Int16Array = _frombuffer(expand(payload, 2), INT16)
        # The payload is kept, not the samples: half the size, and their memory can be used again
        # at once, while it is in the cache.
        recent = self._recent
        recent.append(payload)
        if len(recent) > KEPT:
            del recent[0]
        return samples

    def _decoded(self, kept: Any) -> Int16Array:
        samples: Int16Array = _frombuffer(self._expand(kept, 2), INT16)
        return samples


class G711Encoder:
    """Samples at 8 kHz in, octets of one law out."""

    __slots__ = ("_octets_of", "_silence", "codec")

    rate_hz = RATE_HZ
    delay_samples = 0
    unit_samples = 1
    max_samples = MAX_SAMPLES

    def __init__(self, law: Law) -> None:
        self.codec = law.codec
        self._silence = law.silence
        self._octets_of = law.octets_of

    def encode(self, samples: Int16Array) -> bytes:
        """Return one octet per sample; AudioFormatError if not int16 ``(n,)``, 30 s at most."""
        if type(samples) is not _ndarray or samples.dtype is not INT16 or samples.ndim != 1:
            check_samples(samples, 1, MAX_SAMPLES)
        if len(samples) > MAX_SAMPLES:
            check_length(len(samples), 1, MAX_SAMPLES)
        octets_of = self._octets_of  # hot path: bound once, see docs/architecture.md
        return octets_of(samples)

    def silence(self, n_samples: int) -> bytes:
        """Return ``n_samples`` octets of silence."""
        check_length(n_samples, 1, MAX_SAMPLES)
        return self._silence * n_samples

    def reset(self) -> None:
        """Do nothing: G.711 has no history."""


def g711_codec(law: Law) -> Codec:
    """Return the codec of one law, as data."""

    def make_decoder(
        rate_hz: int,  # noqa: ARG001 - 8000 is all there is
        max_payload_s: float = MAX_PAYLOAD_S,
    ) -> G711Decoder:
        return G711Decoder(law, max_payload_s)

    def make_encoder(rate_hz: int) -> G711Encoder:  # noqa: ARG001 - 8000 is all there is
        return G711Encoder(law)

    return Codec(law.codec, (RATE_HZ,), RATE_HZ, make_decoder, make_encoder)


PCMU, PCMA = map(g711_codec, laws(load_audioop(), load_compiled()))
