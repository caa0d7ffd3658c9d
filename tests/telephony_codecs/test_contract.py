"""One suite over every registered codec that works in both directions, at every rate.

And behind it the contract itself.
"""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from telephony_codecs import (
    AudioFormatError,
    Codec,
    CodecUnavailableError,
    PayloadError,
    codec,
    names,
)
from telephony_codecs.contract import check_length, check_samples
from tests.telephony_codecs.audio import (
    chunks,
    decoded,
    encoded,
    energy,
    likeness,
    measured_delay,
    round_trip,
    snr_db,
    speech,
    tone,
)

BOTH_WAYS = [
    pytest.param(
        name,
        rate_hz,
        id=f"{name}-{rate_hz}",
        marks=[pytest.mark.needs(name, "decode"), pytest.mark.needs(name, "encode")],
    )
    for name in names()
    if codec(name).make_decoder
    for rate_hz in codec(name).rates_hz
]
every_codec = pytest.mark.parametrize(("name", "rate_hz"), BOTH_WAYS)
# OPUS has exactly one packet a payload, and its next packet may hold a copy of a lost one.
but_opus = pytest.mark.parametrize(
    ("name", "rate_hz"), [each for each in BOTH_WAYS if each.values[0] != "OPUS"]
)

SNR_FLOOR_DB = {"PCMU": 35.0, "PCMA": 35.0, "G722": 25.0, "OPUS": 10.0, "L16": 120.0}
ENCODER_OPTIONS: dict[str, dict[str, object]] = {"OPUS": {"application": "audio", "bitrate": 24000}}
# AMR-WB keeps the waveform closely enough to tell 95 samples from 94 only at its best mode.
CLOSEST_OPTIONS: dict[str, dict[str, object]] = {**ENCODER_OPTIONS, "AMR-WB": {"mode": 8}}
LIKENESS_FLOOR = {"AMR-WB": 0.6}


@every_codec
def test_real_speech_survives(name: str, rate_hz: int) -> None:
    """Speech comes back with the codec's signal-to-noise ratio, or its likeness, or better."""
    original, coded = round_trip(name, rate_hz, **ENCODER_OPTIONS.get(name, {}))
    delay = codec(name).encoder(rate_hz).delay_samples + codec(name).decoder(rate_hz).delay_samples
    if name in SNR_FLOOR_DB:
        assert snr_db(original, coded, delay) >= SNR_FLOOR_DB[name]
    else:
        assert likeness(original, coded, delay) >= LIKENESS_FLOOR[name]


@every_codec
def test_declared_delay_is_the_measured_one(name: str, rate_hz: int) -> None:
    """Encoder and decoder together lag by exactly what they declare."""
    original, coded = round_trip(name, rate_hz, **CLOSEST_OPTIONS.get(name, {}))
    declared = (
        codec(name).encoder(rate_hz).delay_samples + codec(name).decoder(rate_hz).delay_samples
    )
    assert measured_delay(original, coded) == declared


@every_codec
def test_length_is_kept(name: str, rate_hz: int) -> None:
    """Each payload decodes to as many samples as were encoded into it."""
    encoder, decoder = codec(name).encoder(rate_hz), codec(name).decoder(rate_hz)
    assert encoder.rate_hz == decoder.rate_hz == rate_hz
    assert encoder.codec == decoder.codec == name
    for n_units in (1, 2, 5):
        n_samples = min(n_units * encoder.unit_samples, encoder.max_samples)
        assert len(decoder.decode(encoder.encode(speech(rate_hz)[:n_samples]))) == n_samples


@every_codec
def test_output_is_a_read_only_int16_vector(name: str, rate_hz: int) -> None:
    """Decoded and concealed audio can be shared, as nobody can write to it."""
    decoder = codec(name).decoder(rate_hz)
    payload = encoded(codec(name).encoder(rate_hz), speech(rate_hz))[0]
    for samples in (
        decoder.decode(payload),
        decoder.conceal(rate_hz // 50),
        decoder.conceal(rate_hz // 4),
        decoder.recover(payload, rate_hz // 50),
    ):
        assert samples.dtype == np.int16
        assert samples.dtype.isnative
        assert samples.ndim == 1
        assert not samples.flags.writeable


@every_codec
def test_coding_is_deterministic_and_reset_makes_new(name: str, rate_hz: int) -> None:
    """Same input, same output; after reset() as if newly made."""
    audio = speech(rate_hz)[: rate_hz * 2 // 5]
    encoder, decoder = codec(name).encoder(rate_hz), codec(name).decoder(rate_hz)
    payloads = encoded(encoder, audio)
    first = decoded(decoder, payloads)
    lost = decoder.conceal(rate_hz // 50)
    encoder.reset()
    decoder.reset()
    assert encoded(encoder, audio) == payloads == encoded(codec(name).encoder(rate_hz), audio)
    assert np.array_equal(decoded(decoder, payloads), first)
    assert np.array_equal(decoder.conceal(rate_hz // 50), lost)


@but_opus
def test_chunked_equals_whole(name: str, rate_hz: int) -> None:
    """How audio is cut into payloads does not change it."""
    encoder = codec(name).encoder(rate_hz)
    audio = speech(rate_hz)[: rate_hz * 2 // 5]
    whole = codec(name).decoder(rate_hz).decode(codec(name).encoder(rate_hz).encode(audio))
    rng = np.random.default_rng(7)
    n_units = len(audio) // encoder.unit_samples
    cuts = np.sort(rng.integers(0, n_units, 9)) * encoder.unit_samples
    payloads = [encoder.encode(part) for part in np.split(audio, cuts) if len(part)]
    assert np.array_equal(decoded(codec(name).decoder(rate_hz), payloads), whole)


@every_codec
def test_strided_audio_is_encoded_as_what_it_shows(name: str, rate_hz: int) -> None:
    """A view with gaps encodes as its contiguous copy does."""
    n_samples = codec(name).encoder(rate_hz).unit_samples * (name != "OPUS") * 4 or rate_hz // 50
    view = np.repeat(speech(rate_hz)[: 4 * n_samples], 2)[::2][:n_samples]
    copy = np.ascontiguousarray(view)
    assert codec(name).encoder(rate_hz).encode(view) == codec(name).encoder(rate_hz).encode(copy)


@every_codec
def test_pickled_audio_is_taken(name: str, rate_hz: int) -> None:
    """Arrays that crossed a process border, or are of a subclass, encode like any other."""
    n_samples = max(rate_hz // 50, codec(name).encoder(rate_hz).unit_samples)
    audio = speech(rate_hz)[:n_samples]
    expected = codec(name).encoder(rate_hz).encode(audio)
    for same in (pickle.loads(pickle.dumps(audio)), audio.view(np.memmap)):
        assert codec(name).encoder(rate_hz).encode(same) == expected


@every_codec
def test_silence_decodes_to_silence(name: str, rate_hz: int) -> None:
    """Silence, after speech has died away, is silence; and of the length asked for."""
    encoder, decoder = codec(name).encoder(rate_hz), codec(name).decoder(rate_hz)
    decoded(decoder, encoded(encoder, speech(rate_hz)[: rate_hz // 5]))
    quiet = [decoder.decode(encoder.silence(rate_hz // 50)) for _ in range(25)]
    assert {len(part) for part in quiet} == {rate_hz // 50}
    assert np.abs(quiet[-1].astype(np.int32)).max() <= 16


@every_codec
def test_no_audio_is_an_empty_payload(name: str, rate_hz: int) -> None:
    """Encoding nothing gives nothing."""
    assert codec(name).encoder(rate_hz).encode(np.zeros(0, np.int16)) == b""
    assert len(codec(name).decoder(rate_hz).conceal(0)) == 0


@every_codec
def test_wrong_audio_is_refused(name: str, rate_hz: int) -> None:
    """Not int16, not one-dimensional, not an array, foreign byte order: AudioFormatError."""
    encoder = codec(name).encoder(rate_hz)
    n = encoder.unit_samples * 4 if encoder.unit_samples < 160 else encoder.unit_samples
    for wrong in (
        np.zeros(n, np.float32),
        np.zeros(n, np.int32),
        np.zeros((2, n), np.int16),
        np.zeros(n, np.dtype(np.int16).newbyteorder()),
        [0] * n,
        bytes(2 * n),
    ):
        with pytest.raises(AudioFormatError):
            encoder.encode(wrong)  # type: ignore[arg-type] # wrong on purpose


@every_codec
def test_wrong_amounts_are_refused(name: str, rate_hz: int) -> None:
    """Fractions of a unit, and more than a payload may hold, are AudioFormatError."""
    encoder = codec(name).encoder(rate_hz)
    too_much = encoder.max_samples + encoder.unit_samples
    with pytest.raises(AudioFormatError, match="at most"):
        encoder.encode(np.zeros(too_much, np.int16))
    with pytest.raises(AudioFormatError, match="at most"):
        encoder.silence(too_much)
    with pytest.raises(AudioFormatError):
        encoder.silence(-1)
    if encoder.unit_samples > 1:
        with pytest.raises(AudioFormatError, match="multiple"):
            encoder.encode(np.zeros(encoder.unit_samples - 1, np.int16))
        with pytest.raises(AudioFormatError, match="multiple"):
            encoder.silence(encoder.unit_samples - 1)


@every_codec
def test_a_longest_payload_is_taken_and_a_longer_one_refused(name: str, rate_hz: int) -> None:
    """What an encoder may put into one payload decodes; twice as much is PayloadError."""
    encoder, decoder = codec(name).encoder(rate_hz), codec(name).decoder(rate_hz)
    longest = encoder.silence(encoder.max_samples)
    assert len(decoder.decode(longest)) == encoder.max_samples
    beyond = longest * 2 if name != "OPUS" else bytes([3, 49]) + bytes(49 * 3)
    with pytest.raises(PayloadError) as caught:
        decoder.decode(beyond)
    assert caught.value.codec == name
    assert "payload" in str(caught.value)
    assert len(decoder.decode(longest)) == encoder.max_samples


@every_codec
@pytest.mark.parametrize("at_ms", [300, 1000, 2000])
def test_concealment_is_bounded_and_fades(name: str, rate_hz: int, at_ms: int) -> None:
    """Lost audio is never louder than what came before; silent after 60 ms, OPUS quieter."""
    decoder = codec(name).decoder(rate_hz)
    payloads = encoded(codec(name).encoder(rate_hz), speech(rate_hz)[: rate_hz * at_ms // 1000])
    before = decoded(decoder, payloads)[-rate_hz // 10 :]
    concealed = [decoder.conceal(n) for n in (rate_hz // 50, rate_hz // 50, 7, rate_hz)]
    assert [len(part) for part in concealed] == [rate_hz // 50, rate_hz // 50, 7, rate_hz]
    whole = np.concatenate(concealed)
    peak_before = np.abs(before.astype(np.int32)).max()
    assert np.abs(whole.astype(np.int32)).max() <= 1.5 * peak_before + 50
    after = whole[rate_hz * 60 // 1000 :]
    assert energy(after) <= (0.25 * energy(before) if name == "OPUS" else 0)


@every_codec
def test_concealing_a_tone_is_better_than_silence(name: str, rate_hz: int) -> None:
    """The first 10 ms lost of something periodic are close to what would have come."""
    audio = tone(220, rate_hz, rate_hz // 2, peak=8000)
    decoder, judge = codec(name).decoder(rate_hz), codec(name).decoder(rate_hz)
    payloads = encoded(codec(name).encoder(rate_hz), audio)
    decoded(decoder, payloads[:10])
    truth = decoded(judge, payloads[:11])[-rate_hz // 50 :][: rate_hz // 100]
    assert snr_db(truth, decoder.conceal(rate_hz // 100)) > 3


@every_codec
def test_nothing_to_conceal_from_is_silence(name: str, rate_hz: int) -> None:
    """A loss before the first payload is silent."""
    assert not codec(name).decoder(rate_hz).conceal(rate_hz // 25).any()


@but_opus
def test_recover_without_help_is_conceal(name: str, rate_hz: int) -> None:
    """Where the next payload tells nothing, recover() is conceal()."""
    payloads = encoded(codec(name).encoder(rate_hz), speech(rate_hz))[:30]
    one, other = codec(name).decoder(rate_hz), codec(name).decoder(rate_hz)
    assert not one.can_recover
    decoded(one, payloads[:-2])
    decoded(other, payloads[:-2])
    assert np.array_equal(one.recover(payloads[-1], 77), other.conceal(77))


@pytest.mark.parametrize("name", ["PCMU", "PCMA", "L16"])
def test_recoding_is_stable(name: str) -> None:
    """Encoding what was decoded gives the same payload, but for µ-law's negative zero."""
    payload = bytes(set(range(256)) - ({0x7F} if name == "PCMU" else set()))
    payload = payload[: len(payload) // 2 * 2]
    decoder, encoder = codec(name).decoder(), codec(name).encoder()
    assert encoder.encode(decoder.decode(payload)) == payload


def test_payloads_of_a_stream_differ_from_those_of_new_encoders() -> None:
    """State is kept between payloads: G722 and OPUS would click at each seam otherwise."""
    for name in ("G722", "OPUS"):
        pieces = chunks(speech(16000)[:3200], 320)
        stream = codec(name).encoder(16000)
        assert [stream.encode(p) for p in pieces] != [
            codec(name).encoder(16000).encode(p) for p in pieces
        ]


# The contract itself, with codecs of our own making.


def take_nothing(rate_hz: int, *, colour: str = "red") -> Any:
    """What makes a decoder or an encoder, as a codec keeps it: here it only says what it got."""
    return rate_hz, colour


def test_a_codec_is_made_at_the_rate_that_is_its_own() -> None:
    """Of one rate: at it, whatever is asked; of several: at the asked one, or the default."""
    one = Codec("ONE", (16000,), 16000, take_nothing, take_nothing)
    two = Codec("TWO", (8000, 16000), 16000, take_nothing, take_nothing)
    assert one.decoder(8000) == one.encoder(44100) == (16000, "red")
    assert two.decoder(8000, colour="blue") == (8000, "blue")
    assert two.encoder() == (16000, "red")
    with pytest.raises(AudioFormatError, match=r"TWO works at 8000, 16000 Hz, not at 11025"):
        two.decoder(11025)


def test_what_a_codec_cannot_do_is_unavailable_with_a_remedy() -> None:
    """Without a decoder or an encoder the refusal names the direction and what to use."""
    neither = Codec("NONE", (8000,), 8000, None, None)
    for make, direction, remedy in (
        (neither.decoder, "decode", "open_audio"),
        (neither.encoder, "encode", "G722, L16 or OPUS"),
    ):
        with pytest.raises(CodecUnavailableError, match=remedy) as caught:
            make()
        assert (caught.value.codec, caught.value.direction) == ("NONE", direction)


def test_a_fault_inside_a_codec_is_not_taken_for_a_wrong_option() -> None:
    """Only what the options do not fit is AudioFormatError; a TypeError from within is one."""

    def broken(rate_hz: int) -> Any:
        raise TypeError("a fault within")

    with pytest.raises(TypeError, match="a fault within"):
        Codec("BROKEN", (8000,), 8000, broken, None).decoder()


@pytest.mark.parametrize(
    ("n_samples", "unit", "most", "said"),
    [
        (0, 160, 320, None),
        (320, 160, 320, None),
        (480, 160, 320, "480 samples in one payload, at most 320"),
        (100, 160, 320, "100 samples, must be a multiple of 160"),
    ],
)
def test_audio_is_checked_for_its_length(
    n_samples: int, unit: int, most: int, said: str | None
) -> None:
    """None at all is taken; more than fits, or half a unit, is refused with the number."""
    samples = np.zeros(n_samples, np.int16)
    if said is None:
        check_samples(samples, unit, most)
        check_length(n_samples, unit, most)
        return
    for check in (
        lambda: check_samples(samples, unit, most),
        lambda: check_length(n_samples, unit, most),
    ):
        with pytest.raises(AudioFormatError, match=said):
            check()


def test_rates() -> None:
    """Codecs of one rate work at it whatever is asked; others refuse what they do not have."""
    assert codec("G722").audio_rate_hz(8000) == 16000
    assert codec("PCMU").audio_rate_hz(16000) == 8000
    assert codec("AMR-WB").audio_rate_hz() == 16000
    assert codec("OPUS").audio_rate_hz(48000) == 48000
    assert codec("L16").audio_rate_hz() == 16000
    with pytest.raises(AudioFormatError, match="not at 11025"):
        codec("L16").audio_rate_hz(11025)


def test_unknown_options_are_refused() -> None:
    """A misspelt option is AudioFormatError with its name."""
    with pytest.raises(AudioFormatError, match="byteorder"):
        codec("L16").decoder(byteorder="big")
    with pytest.raises(AudioFormatError, match="rate"):
        codec("PCMU").encoder(rate=8000)
