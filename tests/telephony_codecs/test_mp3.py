"""MP3 messages: whole files out, of which nothing comes back."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from telephony_codecs import AudioFormatError, CodecUnavailableError, codec, open_audio
from telephony_codecs.mp3 import Mp3Encoder
from tests.telephony_codecs.audio import likeness, measured_delay, speech


def test_without_lameenc_encoding_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal comes when the encoder is made; a wrong bit rate is said before it."""
    monkeypatch.setitem(sys.modules, "lameenc", None)
    with pytest.raises(CodecUnavailableError, match="pip install lameenc") as caught:
        Mp3Encoder(8000)
    assert (caught.value.codec, caught.value.direction) == ("MP3", "encode")
    with pytest.raises(AudioFormatError, match="8 to 320"):
        Mp3Encoder(8000, bitrate=7)


@pytest.mark.needs("MP3", "encode")
@pytest.mark.parametrize("rate_hz", codec("MP3").rates_hz)
def test_mp3_messages_are_whole_files(rate_hz: int) -> None:
    """Each message opens by itself, at its rate, as speech, late by the declared delay."""
    encoder = codec("MP3").encoder(rate_hz)
    for _ in range(2):
        samples, read_hz = open_audio(encoder.encode(speech(rate_hz)))
        assert read_hz == rate_hz
        assert measured_delay(speech(rate_hz), samples) == encoder.delay_samples
        assert likeness(speech(rate_hz), samples, encoder.delay_samples) > 0.95
    encoder.reset()
    silent, _ = open_audio(encoder.silence(rate_hz))
    assert len(silent) >= rate_hz
    assert not silent.any()
    assert encoder.encode(np.zeros(0, np.int16)) == b""


@pytest.mark.needs("MP3", "encode")
def test_mp3_refuses_other_bit_rates_and_too_much() -> None:
    """A bit rate that no MP3 has is AudioFormatError; so is more than 30 s."""
    for bitrate in (7, 321):
        with pytest.raises(AudioFormatError, match="8 to 320"):
            Mp3Encoder(8000, bitrate=bitrate)
    with pytest.raises(AudioFormatError, match="at most"):
        Mp3Encoder(8000).silence(240_001)


def test_mp3_is_for_sending_only() -> None:
    """Asking for a decoder says what to use."""
    with pytest.raises(CodecUnavailableError, match="open_audio"):
        codec("MP3").decoder()
