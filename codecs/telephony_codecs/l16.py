"""L16: linear PCM, two octets a sample, in the byte order that the peer uses.

RFC 3551 says big-endian; Telnyx's own demo and most live reports say little-endian. So the
order is an option, and ``auto`` finds it out.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from telephony_codecs.concealment import KEPT, ConcealingDecoder
from telephony_codecs.contract import MAX_PAYLOAD_S, Codec, Int16Array, check_length, check_samples
from telephony_codecs.errors import AudioFormatError, PayloadError

ByteOrder = Literal["little", "big"]
OrderOption = Literal["little", "big", "auto"]

RATES_HZ = (8000, 16000, 22050, 24000, 44100, 48000)
DTYPES = {"little": np.dtype("<i2"), "big": np.dtype(">i2")}
NATIVE = np.dtype(np.int16)

# Detection looks at this much audio that is louder than this (about -64 dB full scale).
DETECTION_S = 0.5
SILENCE_RMS = 20.0
# Most users have seen little-endian, so big-endian must be clearly smoother to be chosen.
CLEARLY = 0.5


class L16Decoder(ConcealingDecoder):
    """Pairs of octets in, samples out.

    Options: ``byte_order``; ``max_payload_s``, what one payload may last.

    Attributes:
        byte_order: ``"little"`` or ``"big"``, what payloads are being read as.
        verdict: None while ``auto`` is still listening, then the order it settled on; the
            order itself where one was set.
    """

    codec = "L16"
    delay_samples = 0

    def __init__(
        self,
        rate_hz: int,
        byte_order: OrderOption = "little",
        max_payload_s: float = MAX_PAYLOAD_S,
    ) -> None:
        if byte_order not in get_args(OrderOption):
            raise AudioFormatError(f"L16 byte order {byte_order!r}, must be little, big or auto")
        super().__init__(rate_hz)
        self._option: OrderOption = byte_order
        self._max_octets = 2 * int(max_payload_s * rate_hz)
        self._begin()

    def _begin(self) -> None:
        self.verdict: ByteOrder | None = None if self._option == "auto" else self._option
        self._settle(self.verdict or "little")
        self._roughness = {"little": 0.0, "big": 0.0}
        self._n_heard = 0

    def _settle(self, byte_order: ByteOrder) -> None:
        self.byte_order: ByteOrder = byte_order
        self._dtype = DTYPES[byte_order]

    def decode(self, payload: bytes) -> Int16Array:
        """Return one sample per two octets, read-only.

        Raises:
            PayloadError: an odd number of octets, or too many.
        """
        n_octets = len(payload)
        if n_octets % 2 or n_octets > self._max_octets:
            raise PayloadError(
                "L16", f"{n_octets} octets, must be even and at most {self._max_octets}"
            )
        if self.verdict is None:
            self._listen(payload)
        samples: Int16Array = np.frombuffer(payload, self._dtype)
        if self._dtype != NATIVE:
            samples = samples.astype(NATIVE)
            samples.flags.writeable = False
        recent = self._recent
        recent.append(samples)
        if len(recent) > KEPT:
            del recent[0]
        return samples

    def reset(self) -> None:
        """Forget all history; ``auto`` detects the byte order anew."""
        super().reset()
        self._begin()

    def _listen(self, payload: bytes) -> None:
        """Compare the sample-to-sample steps of both readings; speech is the smoother one."""
        readings = {
            order: np.frombuffer(payload, dtype).astype(np.float64)
            for order, dtype in DTYPES.items()
        }
        # Faint audio read in the wrong byte order is loud, so the fainter reading decides.
        quietest = min(float(x @ x) for x in readings.values())
        if quietest < SILENCE_RMS**2 * max(len(payload) // 2, 1):
            return
        for order, x in readings.items():
            steps = np.diff(x)
            self._roughness[order] += float(steps @ steps)
        smoother_big = self._roughness["big"] < CLEARLY * self._roughness["little"]
        self._settle("big" if smoother_big else "little")
        self._n_heard += len(payload) // 2
        if self._n_heard >= DETECTION_S * self.rate_hz:
            self.verdict = self.byte_order


class L16Encoder:
    """Samples in, pairs of octets out."""

    codec = "L16"
    delay_samples = 0
    unit_samples = 1

    def __init__(self, rate_hz: int, byte_order: ByteOrder = "little") -> None:
        if byte_order not in get_args(ByteOrder):
            raise AudioFormatError(f"L16 byte order {byte_order!r}, must be little or big")
        self.rate_hz = rate_hz
        self.max_samples = MAX_PAYLOAD_S * rate_hz
        self.byte_order = byte_order
        self._dtype = DTYPES[byte_order]

    def encode(self, samples: Int16Array) -> bytes:
        """Return two octets per sample; AudioFormatError if not int16 ``(n,)``, 30 s at most."""
        check_samples(samples, 1, self.max_samples)
        if self._dtype == NATIVE:
            return samples.tobytes()
        return samples.byteswap().tobytes()

    def silence(self, n_samples: int) -> bytes:
        """Return ``n_samples`` of digital silence."""
        check_length(n_samples, 1, self.max_samples)
        return bytes(2 * n_samples)

    def reset(self) -> None:
        """Do nothing: linear PCM has no history."""


L16 = Codec("L16", RATES_HZ, 16000, L16Decoder, L16Encoder)
