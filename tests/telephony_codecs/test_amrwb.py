"""AMR-WB decoding of stored frames in every packing, and encoding where it can be had."""

from __future__ import annotations

from collections.abc import Callable

import av
import numpy as np
import pytest

from telephony_codecs import (
    AudioFormatError,
    CodecUnavailableError,
    PayloadError,
    amrwb_cores,
    codec,
)
from telephony_codecs.amrwb import PACKINGS, AmrWbDecoder, AmrWbEncoder, Packing, pack, read_storage
from tests.telephony_codecs.audio import VECTORS, decoded, encoded, likeness, round_trip, speech

pytestmark = [pytest.mark.needs("AMR-WB", "decode")]
needs_encoder = pytest.mark.needs("AMR-WB", "encode")

DELAY_SAMPLES = 95
CORES = {core.name: core for core in amrwb_cores.CORES}
LOST, NO_DATA = b"\x74", b"\x7c"


@pytest.fixture(autouse=True, params=CORES)
def core(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Decode by each decoder that PyAV may have; skip one that this PyAV has not."""
    name: str = request.param
    if name not in av.codecs_available:
        pytest.skip(f"PyAV {av.__version__} has no {name}")
    monkeypatch.setattr(amrwb_cores, "CORES", (CORES[name],))
    return name


def test_the_decoder_in_use_is_told(core: str) -> None:
    """By PyAV's name for it."""
    assert AmrWbDecoder(16000).core == core


def stored(name: str) -> list[bytes]:
    """Return the frames of a vector."""
    return read_storage((VECTORS / name).read_bytes())


def test_stored_speech_decodes_to_the_speech() -> None:
    """Without any encoder: 12.65 kbit/s of speech resembles the speech."""
    audio = decoded(AmrWbDecoder(16000), [pack([f], "be") for f in stored("speech_12650.awb")])
    assert likeness(speech(16000), audio, DELAY_SAMPLES) >= 0.6


@pytest.mark.parametrize("name", ["speech_12650.awb", "dtx_12650.awb"])
def test_every_packing_decodes_identically(name: str) -> None:
    """Same frames, set or detected, one or three to a payload: the same audio."""
    frames = stored(name)
    expected = decoded(AmrWbDecoder(16000, "storage"), frames)
    for packing in PACKINGS:
        for n_frames in (1, 3):
            payloads = [
                pack(frames[i : i + n_frames], packing) for i in range(0, len(frames), n_frames)
            ]
            assert np.array_equal(decoded(AmrWbDecoder(16000, packing), payloads), expected)
            detecting = AmrWbDecoder(16000)
            assert detecting.packing is None
            assert np.array_equal(decoded(detecting, payloads), expected)
            assert detecting.packing == packing


def test_comfort_noise_is_faint_and_not_nothing() -> None:
    """While the far end sends SID and NO_DATA, the caller hears its kind of noise."""
    frames = stored("dtx_12650.awb")
    decoder = AmrWbDecoder(16000)
    noise = [
        samples
        for frame, samples in ((f, decoder.decode(pack([f], "be"))) for f in frames)
        if len(frame) < 33
    ]
    level = [float(np.sqrt(np.mean(part.astype(float) ** 2))) for part in noise[10:]]
    assert len(level) > 40
    assert min(level) > 0.5
    assert max(level) < 40


def test_no_data_at_the_start_is_nearly_silent() -> None:
    """A stream may begin in a pause."""
    decoder = AmrWbDecoder(16000)
    assert np.abs(decoder.decode(pack([NO_DATA], "be")).astype(int)).max() < 50


def test_a_damaged_frame_counts_as_lost() -> None:
    """Its quality bit unset, a frame's bits are not played."""
    frames = stored("speech_12650.awb")
    damaged = bytes([frames[60][0] & ~4]) + frames[60][1:]
    outputs = []
    for frame in (damaged, LOST):
        decoder = AmrWbDecoder(16000, "storage")
        decoded(decoder, frames[:60])
        outputs.append(decoder.decode(frame))
    assert np.array_equal(outputs[0], outputs[1])


def test_malformed_payloads_leave_the_decoder_as_it_was() -> None:
    """Empty, random, cut: PayloadError, and the next payload plays as if nothing had been."""
    payloads = [pack([f], "be") for f in stored("speech_12650.awb")[:60]]
    one, other = AmrWbDecoder(16000), AmrWbDecoder(16000)
    decoded(one, payloads[:30])
    decoded(other, payloads[:30])
    for bad in (b"", payloads[30][:-1], b"\xa5" * 33, payloads[30] + b"\x01"):
        with pytest.raises(PayloadError, match="fits no packing"):
            one.decode(bad)
    assert np.array_equal(decoded(one, payloads[30:]), decoded(other, payloads[30:]))


def test_state_is_kept_until_a_reset() -> None:
    """The same frames again sound otherwise; after a reset as at first, their packing forgotten."""
    payloads = [pack([f], "oa") for f in stored("speech_12650.awb")[:20]]
    decoder = AmrWbDecoder(16000)
    first = decoded(decoder, payloads)
    assert not np.array_equal(decoded(decoder, payloads), first)
    decoder.reset()
    assert decoder.packing is None
    assert np.array_equal(decoded(decoder, payloads), first)


def test_a_refused_frame_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What PyAV raises becomes PayloadError, and the next payload plays as if nothing had been."""
    payloads = [pack([f], "be") for f in stored("speech_12650.awb")[:40]]
    one, other = AmrWbDecoder(16000), AmrWbDecoder(16000)
    decoded(one, payloads[:30])
    decoded(other, payloads[:30])
    # No payload is known that brings this about, so a frame of no legal type is slipped in.
    monkeypatch.setattr(one, "_unpack", lambda _: [b"\x54"])
    with pytest.raises(PayloadError, match="refuses"):
        one.decode(payloads[30])
    monkeypatch.undo()
    assert np.array_equal(decoded(one, payloads[30:]), decoded(other, payloads[30:]))


def test_a_lost_frame_is_no_silence_and_fades() -> None:
    """LOST, and NO_DATA where no pause was told, sound like what came before, fainter and fainter.

    One to a payload, or all in one.
    """
    frames = stored("speech_12650.awb")
    for kind in (LOST, NO_DATA):
        apart, together = AmrWbDecoder(16000, "storage"), AmrWbDecoder(16000, "storage")
        for decoder in (apart, together):
            before = decoded(decoder, frames[:75])[-320:]
        lost = decoded(apart, [kind] * 20)
        assert np.array_equal(together.decode(kind * 20), lost)
        level = [np.abs(lost[at : at + 320].astype(int)).max() for at in (0, 320 * 19)]
        assert level[0] > np.abs(before.astype(int)).max() / 8
        assert level[1] < level[0] / 4


@needs_encoder
@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("mode", range(9))
def test_every_mode_in_every_packing(mode: int, packing: Packing) -> None:
    """All nine bit rates come back as speech, the better the more bits."""
    original, coded = round_trip("AMR-WB", 16000, mode=mode, packing=packing)
    assert likeness(original, coded, DELAY_SAMPLES) >= (0.5 if mode == 0 else 0.6)


@needs_encoder
def test_sixty_ms_payloads_hold_three_frames() -> None:
    """Several frames share a payload, 12.65 kbit/s bandwidth-efficient: 4 + 3·(6 + 253) bits."""
    encoder = AmrWbEncoder(16000)
    payloads = encoded(encoder, speech(16000)[: 960 * 3], chunk_ms=60)
    assert {len(payload) for payload in payloads} == {98}
    assert len(decoded(AmrWbDecoder(16000), payloads)) == 960 * 3


@needs_encoder
def test_silence_is_frames_of_zeros() -> None:
    """What zeros would have given, a frame for each 20 ms; of half a frame, an error."""
    one, other = AmrWbEncoder(16000), AmrWbEncoder(16000)
    assert one.silence(640) == other.encode(np.zeros(640, np.int16))
    with pytest.raises(AudioFormatError, match="multiple of 320"):
        one.silence(160)


@needs_encoder
def test_dtx_sends_comfort_noise() -> None:
    """In silence most payloads are those of a frame without data, and nearly silent."""
    encoder, decoder = AmrWbEncoder(16000, dtx=True), AmrWbDecoder(16000)
    payloads = encoded(encoder, np.zeros(16000, np.int16))
    assert sum(len(payload) == 2 for payload in payloads) > 30
    assert np.abs(decoded(decoder, payloads).astype(int)).max() < 50


@pytest.mark.parametrize(
    "make",
    [
        lambda: AmrWbDecoder(16000, "rtp"),  # type: ignore[arg-type] # wrong on purpose
        lambda: AmrWbEncoder(16000, packing="auto"),  # type: ignore[arg-type] # wrong on purpose
        lambda: AmrWbEncoder(16000, mode=9),
        lambda: codec("AMR-WB").decoder(colour="red"),
    ],
)
def test_wrong_options_are_refused(make: Callable[[], object]) -> None:
    """AudioFormatError, before any library is looked for."""
    with pytest.raises(AudioFormatError):
        make()


def test_a_missing_encoder_is_refused_at_the_start() -> None:
    """With the way to get it, and what to use instead."""
    with pytest.raises(CodecUnavailableError, match=r"use G722, L16 or OPUS, .*libvo-amrwbenc0"):
        AmrWbEncoder(16000, library="no-such-library.so")
