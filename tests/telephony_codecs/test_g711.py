"""G.711 against the standard, worked out anew: by search among decision values, not by shifts."""

from __future__ import annotations

import importlib
import sys
from bisect import bisect_right
from itertools import pairwise

import numpy as np
import pytest

from telephony_codecs import AudioFormatError, Int16Array, PayloadError, codec, g711
from tests.telephony_codecs.audio import encoded, speech, tone

EVERY_CODE = bytes(range(256))
EVERY_SAMPLE = np.arange(-32768, 32768).astype(np.int16)


def ulaw_edges() -> list[int]:
    """Return the decision values of G.711 table 2a, on 14 bits: 0, 1, 3, 5 … 8159.

    Eight segments of sixteen steps, each segment's steps twice the size of the last one's;
    only the very first step is half a step.
    """
    edges = [0, 1]
    for segment in range(8):
        n_steps = 16 if segment else 15
        for _ in range(n_steps):
            edges.append(edges[-1] + (2 << segment))
    return edges


def alaw_edges() -> list[int]:
    """Return the decision values of G.711 table 1a, on 13 bits: 0, 2, 4 … 4096."""
    edges = [0]
    for segment in range(8):
        for _ in range(16):
            edges.append(edges[-1] + (2 << max(segment - 1, 0)))
    return edges


def middles(edges: list[int]) -> list[int]:
    """Return the output values: the middle of each step."""
    return [(low + high) // 2 for low, high in pairwise(edges)]


def ulaw_levels() -> list[int]:
    """Return the 128 µ-law magnitudes on 16 bits; the half step around zero gives zero."""
    return [0, *(4 * level for level in middles(ulaw_edges())[1:])]


def alaw_levels() -> list[int]:
    """Return the 128 A-law magnitudes on 16 bits."""
    return [8 * level for level in middles(alaw_edges())]


def ulaw_expected(code: int) -> int:
    """Return the sample of a code: all bits are sent inverted, the first is the sign."""
    magnitude = ulaw_levels()[~code & 0x7F]
    return magnitude if code & 0x80 else -magnitude


def alaw_expected(code: int) -> int:
    """Return the sample of a code: even bits are sent inverted, the first is the sign."""
    magnitude = alaw_levels()[(code ^ 0x55) & 0x7F]
    return magnitude if code & 0x80 else -magnitude


def ulaw_code(sample: int) -> int:
    """Return the code of a sample, by search among the decision values."""
    magnitude = (sample if sample >= 0 else ~sample) >> 2
    index = bisect_right(ulaw_edges()[1:128], magnitude)
    return ~(index | (0x80 if sample < 0 else 0)) & 0xFF


def alaw_code(sample: int) -> int:
    """Return the code of a sample, by search among the decision values."""
    magnitude = (sample if sample >= 0 else ~sample) >> 3
    index = bisect_right(alaw_edges()[1:128], magnitude)
    return (index | (0x80 if sample >= 0 else 0)) ^ 0x55


LAWS = {
    "tables": dict(zip(("PCMU", "PCMA"), g711.laws(None, None), strict=True)),
    "installed": dict(
        zip(("PCMU", "PCMA"), g711.laws(g711.load_audioop(), g711.load_compiled()), strict=True)
    ),
}
both_ways = pytest.mark.parametrize("how", list(LAWS))
both_laws = pytest.mark.parametrize("name", ["PCMU", "PCMA"])


@both_ways
@both_laws
def test_every_code_decodes_as_the_standard_says(how: str, name: str) -> None:
    """All 256 codes have the sample of G.711's tables."""
    expected = ulaw_expected if name == "PCMU" else alaw_expected
    samples = g711.G711Decoder(LAWS[how][name]).decode(EVERY_CODE)
    assert samples.tolist() == [expected(code) for code in range(256)]


@both_ways
@both_laws
def test_every_sample_encodes_as_the_standard_says(how: str, name: str) -> None:
    """All 65,536 samples have the code whose step of G.711's tables they lie in."""
    expected = ulaw_code if name == "PCMU" else alaw_code
    # The standard sees 14 bits (µ-law) or 13 (A-law): 4 or 8 neighbours share a code.
    codes = g711.G711Encoder(LAWS[how][name]).encode(EVERY_SAMPLE)
    step = 4 if name == "PCMU" else 8
    wanted = b"".join(bytes([expected(s)]) * step for s in range(-32768, 32768, step))
    assert codes == wanted


def test_the_tables_are_the_standards() -> None:
    """Made anew, past what is kept of them, both have the sample of each of the 256 codes."""
    ulaw, alaw = g711.ulaw_to_linear.__wrapped__(), g711.alaw_to_linear.__wrapped__()
    assert ulaw.tolist() == [ulaw_expected(code) for code in range(256)]
    assert alaw.tolist() == [alaw_expected(code) for code in range(256)]


@both_laws
def test_known_literals(name: str) -> None:
    """Zero, the loudest of both signs and the smallest negative, as ITU-T G.191 has them."""
    samples = np.array([0, 32767, -32768, -1], np.int16)
    literals = {"PCMU": "ff80007f", "PCMA": "d5aa2a55"}
    assert codec(name).encoder().encode(samples).hex() == literals[name]


@both_laws
def test_silence_is_the_code_of_zero(name: str) -> None:
    """Silence is a constant payload: 0xFF for µ-law, 0xD5 for A-law."""
    octet = {"PCMU": b"\xff", "PCMA": b"\xd5"}[name]
    assert codec(name).encoder().silence(160) == 160 * octet


@both_laws
def test_tables_and_audioop_are_interchangeable(name: str) -> None:
    """Speech through either gives the same octets and samples."""

    def both(law: g711.Law) -> tuple[list[bytes], Int16Array]:
        payloads = encoded(g711.G711Encoder(law), speech(8000))
        return payloads, g711.G711Decoder(law).decode(b"".join(payloads))

    payloads, samples = both(LAWS["tables"][name])
    others, other_samples = both(LAWS["installed"][name])
    assert payloads == others
    assert np.array_equal(samples, other_samples)


@both_laws
def test_what_is_no_audio_is_refused(name: str) -> None:
    """Another type, a second dimension, more than 30 s: AudioFormatError."""
    encoder = codec(name).encoder()
    for wrong in (np.zeros(160, np.float32), np.zeros((160, 1), np.int16)):
        with pytest.raises(AudioFormatError, match="int16"):
            encoder.encode(wrong)  # type: ignore[arg-type] # wrong on purpose
    with pytest.raises(AudioFormatError, match="at most 240000"):
        encoder.encode(np.zeros(240_001, np.int16))
    encoder.reset()
    assert len(encoder.encode(np.zeros(240_000, np.int16))) == 240_000


@both_ways
@both_laws
def test_a_loss_goes_on_from_what_was_decoded(how: str, name: str) -> None:
    """A tone of 100 Hz, whose period is 80 samples, repeats for the 10 ms of full level."""
    decoder, encoder = g711.G711Decoder(LAWS[how][name]), codec(name).encoder()
    heard = np.concatenate([decoder.decode(encoder.encode(tone(100, 8000, 160))) for _ in range(4)])
    assert np.array_equal(decoder.conceal(80), heard[-80:])


def test_without_audioop_the_tables_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where audioop does not import, G.711 works all the same."""
    monkeypatch.setitem(sys.modules, "audioop", None)
    monkeypatch.setitem(sys.modules, "telephony_codecs._compand", None)
    assert g711.load_audioop() is None
    assert g711.load_compiled() is None
    ulaw, alaw = g711.laws(g711.load_audioop(), g711.load_compiled())
    assert g711.G711Decoder(ulaw).decode(b"\xff\x00").tolist() == [0, -32124]
    assert g711.G711Decoder(alaw).decode(b"\xd5\x2a").tolist() == [8, -32256]


def test_audioop_is_in_use_where_it_is() -> None:
    """The quick way is the one taken: a dependency brings audioop to every Python."""
    assert g711.load_audioop() is importlib.import_module("audioop")


@both_laws
def test_more_than_30_s_is_refused(name: str) -> None:
    """One octet too many is PayloadError, before any work is done."""
    with pytest.raises(PayloadError, match="240001 octets"):
        codec(name).decoder().decode(bytes(240_001))
