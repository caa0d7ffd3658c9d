"""G.722 against a second implementation, FFmpeg's, through PyAV."""

from __future__ import annotations

import sys
from typing import Any

import av
import numpy as np
import pytest

from telephony_codecs import (
    AudioFormatError,
    CodecUnavailableError,
    Int16Array,
    PayloadError,
    codec,
)
from tests.telephony_codecs.audio import chunks, encoded, speech, tone


def ffmpeg_encode(samples: Int16Array) -> bytes:
    """Return FFmpeg's G.722 of the audio, in frames of 320 samples."""
    context: Any = av.CodecContext.create("g722", "w")
    context.sample_rate, context.layout, context.format = 16000, "mono", "s16"
    packets = []
    for at, piece in enumerate(chunks(samples, 320)):
        frame = av.AudioFrame.from_ndarray(piece[None], "s16", "mono")
        frame.sample_rate, frame.pts = 16000, at * 320
        packets += context.encode(frame)
    packets += context.encode(None)
    return b"".join(bytes(packet) for packet in packets)


def ffmpeg_decode(payload: bytes) -> Int16Array:
    """Return FFmpeg's audio of a G.722 payload."""
    context: Any = av.CodecContext.create("g722", "r")
    context.sample_rate, context.layout = 16000, "mono"
    parts = [frame.to_ndarray()[0] for frame in context.decode(av.Packet(payload))]
    return np.concatenate(parts)


def hard_audio() -> Int16Array:
    """Return speech, noise at full scale, and a tone at full scale."""
    noise = np.random.default_rng(2).integers(-32768, 32768, 16000).astype(np.int16)
    return np.concatenate([speech(16000), noise, tone(3000, 16000, 6400, peak=32767)])


def test_encoding_equals_ffmpegs() -> None:
    """Bit for bit, over speech, noise and a loud tone."""
    ours = b"".join(encoded(codec("G722").encoder(), hard_audio()))
    assert ours == ffmpeg_encode(hard_audio())


def test_decoding_equals_ffmpegs() -> None:
    """Sample for sample, over good and over random payloads."""
    good = b"".join(encoded(codec("G722").encoder(), hard_audio()))
    for payload in (good, np.random.default_rng(3).bytes(8000)):
        assert np.array_equal(codec("G722").decoder().decode(payload), ffmpeg_decode(payload))


@pytest.mark.parametrize("announced_hz", [8000, 16000, None])
def test_audio_is_16_khz_whatever_is_announced(announced_hz: int | None) -> None:
    """160 octets are 20 ms, 320 samples, also where the peer says 8000."""
    decoder, encoder = codec("G722").decoder(announced_hz), codec("G722").encoder(announced_hz)
    assert decoder.rate_hz == encoder.rate_hz == 16000
    assert len(decoder.decode(bytes(160))) == 320
    assert len(encoder.encode(speech(16000)[:320])) == 160


def test_more_than_30_s_is_refused() -> None:
    """One octet too many is PayloadError."""
    with pytest.raises(PayloadError, match="at most 240000"):
        codec("G722").decoder().decode(bytes(240_001))


def test_without_the_package_both_ways_are_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal comes when a call starts, and says what to install."""
    monkeypatch.setitem(sys.modules, "G722", None)
    for make, direction in ((codec("G722").decoder, "decode"), (codec("G722").encoder, "encode")):
        with pytest.raises(CodecUnavailableError, match="pip install G722") as caught:
            make()
        assert caught.value.direction == direction


def test_state_is_kept_until_a_reset() -> None:
    """The same audio again is coded otherwise, in continuation; after a reset as at first."""
    encoder, decoder = codec("G722").encoder(), codec("G722").decoder()
    payloads = encoded(encoder, speech(16000)[:3200])
    first = [decoder.decode(payload) for payload in payloads]
    assert encoded(encoder, speech(16000)[:3200]) != payloads
    encoder.reset()
    decoder.reset()
    assert encoded(encoder, speech(16000)[:3200]) == payloads
    again = [decoder.decode(payload) for payload in payloads]
    assert np.array_equal(np.concatenate(again), np.concatenate(first))


def test_silence_continues_what_went_before() -> None:
    """It is zeros, encoded: one octet for two samples, and FFmpeg's octets."""
    encoder = codec("G722").encoder()
    ours = encoder.encode(speech(16000)[:3200]) + encoder.silence(640)
    assert len(ours) == 1920
    assert ours == ffmpeg_encode(np.concatenate([speech(16000)[:3200], np.zeros(640, np.int16)]))
    with pytest.raises(AudioFormatError, match="multiple of 2"):
        encoder.silence(3)
