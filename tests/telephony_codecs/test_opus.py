"""OPUS: stored packets, losses, options and refusals."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from telephony_codecs import AudioFormatError, Int16Array, PayloadError, codec
from telephony_codecs.opus import FRAMES_MS, RATES_HZ, OpusDecoder, OpusEncoder
from tests.telephony_codecs.audio import (
    VECTORS,
    chunks,
    decoded,
    encoded,
    energy,
    read_wav,
    snr_db,
    speech,
)

pytestmark = [pytest.mark.needs("OPUS", "decode")]

LOST_PERC = 10


def test_stored_packets_decode_as_they_did() -> None:
    """By the library that made them to the same final ranges, by any other to 40 dB."""
    stored = json.loads((VECTORS / "opus_16k.json").read_text())
    decoder = OpusDecoder(stored["rate_hz"])
    parts, ranges = [], []
    for packet in stored["packets"]:
        parts.append(decoder.decode(base64.b64decode(packet)))
        ranges.append(decoder.final_range)
    if decoder.library_version == stored["library"]:
        assert ranges == stored["final_ranges"]
    assert snr_db(read_wav("opus_16k.wav"), np.concatenate(parts)) >= 40


def losses(n_packets: int, seed: int) -> set[int]:
    """Return the packets lost at 10 %, never two in a row, none of the first ten."""
    rng = np.random.default_rng(seed)
    lost: set[int] = set()
    for i in range(10, n_packets - 1):
        if rng.random() < LOST_PERC / 100 and i - 1 not in lost:
            lost.add(i)
    return lost


def with_losses(payloads: list[bytes], lost: set[int], *, way: str) -> Int16Array:
    """Return the audio of a stream some of whose packets never arrived."""
    decoder = OpusDecoder(16000)
    parts = []
    for i, payload in enumerate(payloads):
        if i not in lost:
            parts.append(decoder.decode(payload))
        elif way == "fec":
            parts.append(decoder.recover(payloads[i + 1], 320))
        elif way == "plc":
            parts.append(decoder.conceal(320))
        else:
            parts.append(np.zeros(320, np.int16))
    return np.concatenate(parts)


def test_fec_beats_plc_beats_silence() -> None:
    """VOIP at 16 kHz, 10 % lost: the error over the lost frames, summed over ten runs of loss."""
    encoder = OpusEncoder(16000, fec=True, packet_loss_perc=LOST_PERC, bitrate=24000)
    payloads = encoded(encoder, speech(16000))
    clean = decoded(OpusDecoder(16000), payloads)
    errors = dict.fromkeys(("fec", "plc", "zero"), 0.0)
    for seed in range(10):
        lost = losses(len(payloads), seed)
        for way in errors:
            got = with_losses(payloads, lost, way=way)
            for i in lost:
                frame = slice(320 * i, 320 * (i + 1))
                errors[way] += energy(got[frame] - clean[frame].astype(np.int32))
    assert errors["fec"] < 0.5 * errors["plc"]
    assert errors["plc"] < 0.9 * errors["zero"]


@pytest.mark.parametrize("n_samples", [320, 321, 100, 1920, 5000])
def test_recover_gives_what_was_asked_for(n_samples: int) -> None:
    """Any length, with a good, a foreign or an empty packet after it; decoding goes on."""
    payloads = encoded(OpusEncoder(16000, fec=True, packet_loss_perc=20), speech(16000))
    for following in (payloads[41], b"\x03", b""):
        decoder = OpusDecoder(16000)
        decoded(decoder, payloads[:40])
        recovered = decoder.recover(following, n_samples)
        assert len(recovered) == n_samples
        assert not recovered.flags.writeable
        assert len(decoder.decode(payloads[41])) == 320


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("frame_ms", FRAMES_MS)
def test_every_frame_length_at_every_rate(rate_hz: int, frame_ms: float) -> None:
    """2.5 to 120 ms go in and come out as one packet, at any pair of rates."""
    encoder = OpusEncoder(rate_hz, frame_ms=frame_ms)
    assert encoder.unit_samples == encoder.max_samples == frame_ms * rate_hz / 1000
    piece = speech(rate_hz)[: encoder.unit_samples]
    assert len(OpusDecoder(rate_hz).decode(encoder.encode(piece))) == encoder.unit_samples
    elsewhere = OpusDecoder(48000).decode(encoder.encode(piece))
    assert len(elsewhere) == frame_ms * 48


def test_dtx_sends_next_to_nothing_in_silence() -> None:
    """After a while of silence most packets are one or two octets, and still play."""
    encoder, decoder = OpusEncoder(16000, dtx=True), OpusDecoder(16000)
    payloads = encoded(encoder, np.zeros(16000, np.int16))
    assert sum(len(payload) <= 2 for payload in payloads[-25:]) >= 20
    assert len(decoded(decoder, payloads)) == 16000


def test_bitrate_and_complexity_are_obeyed() -> None:
    """Twice the bit rate makes larger packets; another complexity makes other packets."""

    def size(**options: int) -> int:
        return sum(map(len, encoded(OpusEncoder(16000, **options), speech(16000))))  # type: ignore[arg-type] # only ints are given

    assert 0.8 < size(bitrate=12000) * 8 / (12000 * 3.2) < 1.2
    assert size(bitrate=32000) > 2 * size(bitrate=12000)
    simple, thorough = (encoded(OpusEncoder(16000, complexity=c), speech(16000)) for c in (0, 10))
    assert simple != thorough


@pytest.mark.parametrize("application", ["voip", "audio", "lowdelay"])
def test_applications(application: str) -> None:
    """Each works; low delay has 2.5 ms of it, the others 6.5 ms."""
    encoder = OpusEncoder(48000, application=application)
    assert encoder.delay_samples == (120 if application == "lowdelay" else 312)
    payloads = encoded(encoder, speech(48000)[:48000])
    assert len(decoded(OpusDecoder(48000), payloads)) == 48000


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"frame_ms": 30}, "frame of 30 ms"),
        ({"application": "music"}, "voip, audio, lowdelay"),
        ({"complexity": 11}, "invalid argument"),
        ({"packet_loss_perc": 101}, "invalid argument"),
        ({"bitrate": -5}, "invalid argument"),
        ({"volume": 11}, "volume"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], word: str) -> None:
    """AudioFormatError, one line, when the encoder is made."""
    with pytest.raises(AudioFormatError, match=word):
        codec("OPUS").encoder(16000, **options)


def test_other_rates_are_refused() -> None:
    """Opus has no 44.1 kHz, and the error says what it has."""
    with pytest.raises(AudioFormatError, match="8000, 16000, 24000, 48000 Hz, not at 44100"):
        codec("OPUS").decoder(44100)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x03", id="frame count missing"),
        pytest.param(b"\x03\x00", id="no frames"),
        pytest.param(b"\x1b\x31" + bytes(49), id="more than 120 ms"),
        pytest.param(b"\x01\x00", id="two frames of unequal size"),
    ],
)
def test_malformed_packets_are_refused(payload: bytes) -> None:
    """PayloadError, and the stream goes on as if nothing had been there."""
    payloads = encoded(OpusEncoder(16000), speech(16000))
    one, other = OpusDecoder(16000), OpusDecoder(16000)
    decoded(one, payloads[:50])
    decoded(other, payloads[:50])
    with pytest.raises(PayloadError):
        one.decode(payload)
    assert np.array_equal(decoded(one, payloads[50:]), decoded(other, payloads[50:]))


def test_one_packet_is_one_frame() -> None:
    """The encoder takes exactly one frame, as merged packets are what breaks Opus calls."""
    encoder = OpusEncoder(16000)
    assert len(chunks(speech(16000), encoder.unit_samples)) == 160
    with pytest.raises(AudioFormatError):
        encoder.encode(speech(16000)[:640])


def test_state_is_kept_until_a_reset() -> None:
    """The same audio again is coded otherwise; after a reset as at first, with its options."""
    encoder, decoder = OpusEncoder(16000, bitrate=12000), OpusDecoder(16000)
    payloads = encoded(encoder, speech(16000)[:6400])
    first = decoded(decoder, payloads)
    assert encoded(encoder, speech(16000)[:6400]) != payloads
    encoder.reset()
    decoder.reset()
    assert encoded(encoder, speech(16000)[:6400]) == payloads
    assert np.array_equal(decoded(decoder, payloads), first)


def test_silence_is_a_frame_of_zeros() -> None:
    """The packet that zeros would have given; of no samples, nothing; of half a frame, an error."""
    one, other = OpusEncoder(16000), OpusEncoder(16000)
    assert one.silence(320) == other.encode(np.zeros(320, np.int16))
    assert one.silence(0) == one.encode(np.zeros(0, np.int16)) == b""
    with pytest.raises(AudioFormatError, match="multiple of 320"):
        one.silence(160)
