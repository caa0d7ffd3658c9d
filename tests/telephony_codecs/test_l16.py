"""L16: both byte orders, and finding out which."""

from __future__ import annotations

import numpy as np
import pytest

from telephony_codecs import AudioFormatError, Int16Array, PayloadError
from telephony_codecs.l16 import ByteOrder, L16Decoder, L16Encoder
from tests.telephony_codecs.audio import chunks, speech

ORDERS: list[ByteOrder] = ["little", "big"]


def wire(samples: Int16Array, order: ByteOrder) -> bytes:
    """Return the octets by numpy's own means."""
    return samples.astype("<i2" if order == "little" else ">i2").tobytes()


@pytest.mark.parametrize("order", ORDERS)
def test_octets_are_in_the_order_set(order: ByteOrder) -> None:
    """0x0102 is 02 01 little-endian and 01 02 big-endian, both ways."""
    octets = {"little": b"\x02\x01", "big": b"\x01\x02"}[order]
    assert L16Encoder(16000, order).encode(np.array([0x0102], np.int16)) == octets
    decoder = L16Decoder(16000, order)
    assert decoder.decode(octets).tolist() == [0x0102]
    assert decoder.verdict == decoder.byte_order == order


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("rate_hz", [8000, 16000])
@pytest.mark.parametrize("gain", [1.0, 0.1, 0.03])
def test_auto_finds_the_order_of_speech(order: ByteOrder, rate_hz: int, gain: float) -> None:
    """Within a second, loud or faint, and decodes rightly from then on."""
    audio = (speech(rate_hz) * gain).astype(np.int16)
    decoder = L16Decoder(rate_hz, "auto")
    for piece in chunks(audio, rate_hz // 50):
        samples = decoder.decode(wire(piece, order))
    assert decoder.verdict == decoder.byte_order == order
    assert np.array_equal(samples, piece)


@pytest.mark.parametrize("order", ORDERS)
def test_auto_waits_for_sound(order: ByteOrder) -> None:
    """Silence and faint noise decide nothing; half a second of sound after them does."""
    rng = np.random.default_rng(3)
    decoder = L16Decoder(16000, "auto")
    for _ in range(200):
        decoder.decode(wire(rng.normal(0, 3, 320).astype(np.int16), order))
        decoder.decode(b"")
    assert decoder.verdict is None
    assert decoder.byte_order == "little"
    loud = [p for p in chunks(speech(16000), 320) if np.sqrt(np.mean(p.astype(float) ** 2)) > 200]
    for count, piece in enumerate(loud, 1):
        decoder.decode(wire(piece, order))
        assert (decoder.verdict is None) == (count < 25)
        if count == 25:
            break
    assert decoder.verdict == order


def test_auto_is_right_before_it_is_sure() -> None:
    """The first loud frame is already read by the likelier order."""
    decoder = L16Decoder(16000, "auto")
    piece = speech(16000)[16000:16320]
    assert np.array_equal(decoder.decode(wire(piece, "big")), piece)
    assert decoder.verdict is None


def test_auto_takes_noise_for_little_endian() -> None:
    """Where neither order is clearly smoother, the one most report is taken."""
    noise = np.random.default_rng(4).integers(-32768, 32768, 16000).astype(np.int16)
    decoder = L16Decoder(16000, "auto")
    decoder.decode(wire(noise, "big"))
    assert decoder.verdict == "little"


def test_reset_listens_anew() -> None:
    """After reset() an auto decoder has no verdict, a set one its order."""
    decoder = L16Decoder(16000, "auto")
    decoder.decode(wire(speech(16000), "big"))
    assert (decoder.verdict, decoder.byte_order) == ("big", "big")
    decoder.reset()
    assert (decoder.verdict, decoder.byte_order) == (None, "little")
    decoder.decode(wire(speech(16000), "little"))
    assert decoder.verdict == "little"


def test_half_a_sample_is_refused() -> None:
    """An odd number of octets is PayloadError; the next payload plays."""
    decoder = L16Decoder(8000)
    with pytest.raises(PayloadError, match="even"):
        decoder.decode(b"\x00\x01\x02")
    assert decoder.decode(b"\x00\x01").tolist() == [256]


def test_silence_is_zeros() -> None:
    """A constant payload, of any length up to 30 s."""
    assert L16Encoder(8000).silence(3) == bytes(6)


def test_unknown_orders_are_refused() -> None:
    """Only little, big and, for decoding, auto."""
    with pytest.raises(AudioFormatError, match="auto"):
        L16Decoder(8000, "middle")  # type: ignore[arg-type] # wrong on purpose
    with pytest.raises(AudioFormatError, match="little or big"):
        L16Encoder(8000, "auto")  # type: ignore[arg-type] # wrong on purpose
