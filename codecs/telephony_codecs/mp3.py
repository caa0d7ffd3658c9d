"""MP3: whole files for Telnyx's mp3 mode. For sending only; ``open_audio`` reads them."""

from __future__ import annotations

import importlib

import numpy as np

from telephony_codecs.contract import (
    MAX_PAYLOAD_S,
    Codec,
    Int16Array,
    check_length,
    check_samples,
)
from telephony_codecs.errors import AudioFormatError, CodecUnavailableError

RATES_HZ = (8000, 16000, 22050, 24000, 44100, 48000)
# LAME's fastest setting; for speech it sounds as good as the others.
FASTEST = 7


class Mp3Encoder:
    """Audio in, one whole MP3 file out of each ``encode``.

    Options: ``bitrate`` in kbit/s, 8 to 320; MP3's nearest for the rate is used.
    """

    codec = "MP3"
    # 576 of LAME and 529 of any decoder; lameenc writes no header that states them.
    delay_samples = 1105
    unit_samples = 1

    def __init__(self, rate_hz: int, bitrate: int = 64) -> None:
        if not 8 <= bitrate <= 320:
            raise AudioFormatError(f"MP3 bit rate {bitrate} kbit/s, must be 8 to 320")
        try:
            self._lameenc = importlib.import_module("lameenc")
        except ImportError as error:
            raise CodecUnavailableError(
                "MP3", "encode", "lameenc does not import", "pip install lameenc"
            ) from error
        self.rate_hz = rate_hz
        self.max_samples = MAX_PAYLOAD_S * rate_hz
        self._bitrate = bitrate

    def encode(self, samples: Int16Array) -> bytes:
        """Return a complete MP3 file; AudioFormatError if not int16 ``(n,)``, 30 s at most."""
        check_samples(samples, 1, self.max_samples)
        if not len(samples):
            return b""
        coder = self._lameenc.Encoder()
        coder.silence()
        coder.set_channels(1)
        coder.set_in_sample_rate(self.rate_hz)
        coder.set_out_sample_rate(self.rate_hz)
        coder.set_bit_rate(self._bitrate)
        coder.set_quality(FASTEST)
        return bytes(coder.encode(samples.tobytes()) + coder.flush())

    def silence(self, n_samples: int) -> bytes:
        """Return a complete MP3 file of ``n_samples`` of silence."""
        check_length(n_samples, 1, self.max_samples)
        return self.encode(np.zeros(n_samples, np.int16))

    def reset(self) -> None:
        """Do nothing: each file stands alone."""


MP3 = Codec("MP3", RATES_HZ, 24000, None, Mp3Encoder)
