"""Codecs of telephony as numpy arrays; useful without the media server."""

from __future__ import annotations

from telephony_codecs.availability import Availability, status
from telephony_codecs.clips import open_audio, resample_clip
from telephony_codecs.contract import Codec, Decoder, Encoder, Int16Array
from telephony_codecs.errors import (
    AudioFormatError,
    CodecError,
    CodecUnavailableError,
    PayloadError,
    UnknownCodecError,
)
from telephony_codecs.registry import CODECS, codec, names
from telephony_codecs.resample import RESAMPLE_RATES_HZ, Resampler

__all__ = [
    "CODECS",
    "RESAMPLE_RATES_HZ",
    "AudioFormatError",
    "Availability",
    "Codec",
    "CodecError",
    "CodecUnavailableError",
    "Decoder",
    "Encoder",
    "Int16Array",
    "PayloadError",
    "Resampler",
    "UnknownCodecError",
    "codec",
    "names",
    "open_audio",
    "resample_clip",
    "status",
]
