"""Concealment by repetition: pitch, seams, fading, and what it costs good payloads."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest

from telephony_codecs import codec
from telephony_codecs.concealment import ConcealingDecoder, newest_samples, pitch_lag
from telephony_codecs.l16 import L16Decoder, L16Encoder
from tests.telephony_codecs.audio import chunks, energy, snr_db, speech, tone

RATES_HZ = (8000, 16000, 48000)
every_rate = pytest.mark.parametrize("rate_hz", RATES_HZ)


def listening(rate_hz: int, samples: np.ndarray[tuple[int], np.dtype[np.int16]]) -> L16Decoder:
    """Return a decoder that has heard the samples, in chunks of 20 ms."""
    decoder, encoder = L16Decoder(rate_hz), L16Encoder(rate_hz)
    for piece in chunks(samples, rate_hz // 50):
        decoder.decode(encoder.encode(piece))
    return decoder


@every_rate
@pytest.mark.parametrize("pitch_hz", [80, 110, 160, 195])
def test_the_pitch_is_found(rate_hz: int, pitch_hz: int) -> None:
    """A voice-like tone repeats at the lag found: its period, or twice that."""
    n = rate_hz // 10
    voice = sum(tone(pitch_hz * k, rate_hz, n, peak=6000 / k) for k in (1, 2, 3, 4))
    lag = pitch_lag(np.asarray(voice, np.float32), rate_hz)
    periods = lag * pitch_hz / rate_hz
    assert round(periods) in (1, 2)
    assert abs(periods - round(periods)) * rate_hz / pitch_hz <= 1


@every_rate
def test_a_steady_voice_goes_on(rate_hz: int) -> None:
    """The first 10 ms lost, at full level, are as good as there."""
    whole = tone(150, rate_hz, rate_hz // 5) + tone(300, rate_hz, rate_hz // 5, peak=5000)
    n_good = 8 * (rate_hz // 50)
    concealed = listening(rate_hz, whole[:n_good]).conceal(rate_hz // 100)
    assert snr_db(whole[n_good:][: rate_hz // 100], concealed) > 15


@every_rate
def test_there_is_no_click_where_the_loss_begins(rate_hz: int) -> None:
    """The step from the last good sample to the first concealed one is like any other."""
    for n_ms in range(200, 1800, 100):
        good = speech(rate_hz)[: rate_hz * n_ms // 1000]
        concealed = listening(rate_hz, good).conceal(rate_hz // 50)
        around = np.concatenate([good[-rate_hz // 50 :], concealed]).astype(np.int32)
        seam = abs(int(concealed[0]) - int(good[-1]))
        assert seam <= 1.05 * np.abs(np.diff(around)).max() + 1


@every_rate
def test_it_fades_and_is_silent_after_60_ms(rate_hz: int) -> None:
    """Full level for 10 ms, each further 10 ms fainter, then digital silence."""
    decoder = listening(rate_hz, tone(200, rate_hz, rate_hz // 5))
    levels = [energy(decoder.conceal(rate_hz // 100)) for _ in range(8)]
    assert levels[0] > levels[1] > levels[2] > levels[3] > levels[4] > levels[5] > 0
    assert levels[6:] == [0, 0]


@every_rate
def test_how_it_is_cut_does_not_matter(rate_hz: int) -> None:
    """Losses asked for piece by piece are the loss asked for at once."""
    good = speech(rate_hz)[: rate_hz // 2]
    n_lost = rate_hz // 25
    one, other = listening(rate_hz, good), listening(rate_hz, good)
    parts = [one.conceal(n) for n in (1, 3, 60, n_lost - 64)]
    assert np.array_equal(np.concatenate(parts), other.conceal(n_lost))


def test_a_good_payload_ends_the_loss() -> None:
    """The next loss starts anew at full level, from the newest audio."""
    decoder = listening(8000, tone(200, 8000, 1600))
    decoder.conceal(1000)
    assert not decoder.conceal(160).any()
    decoder.decode(L16Encoder(8000).encode(tone(100, 8000, 400)))
    assert np.abs(decoder.conceal(80)).max() > 10000


@pytest.mark.parametrize("name", ["PCMU", "PCMA", "G722", "L16"])
def test_the_same_payload_again_ends_the_loss_as_well(name: str) -> None:
    """A payload that is the very object of the one before the last loss is new audio."""
    rate_hz = codec(name).rates_hz[0]
    voice = tone(150, rate_hz, rate_hz // 50)
    payload = codec(name).encoder(rate_hz).encode(voice)
    decoder = codec(name).decoder(rate_hz)
    for _ in range(5):
        decoder.decode(payload)
    first = decoder.conceal(rate_hz // 50)
    decoder.conceal(rate_hz // 10)
    decoder.decode(payload)
    again = decoder.conceal(rate_hz // 50)
    assert np.abs(again).max() > 0.9 * np.abs(first).max()


def test_the_audio_kept_is_a_few_arrays() -> None:
    """Good payloads are remembered by reference, five at most."""
    decoder = listening(8000, speech(8000))
    assert len(decoder._recent) == 5
    assert newest_samples(deque(), 5).tolist() == [0] * 5


def test_short_history_is_padded_with_silence() -> None:
    """A loss after the first 5 ms of a stream raises nothing and stays within bounds."""
    decoder = listening(8000, tone(200, 8000, 40))
    assert len(decoder.conceal(160)) == 160


def test_the_loudest_audio_does_not_wrap() -> None:
    """A full-scale square wave concealed stays within int16 and keeps its sign."""
    square = np.where(np.arange(1600) // 40 % 2, 32767, -32768).astype(np.int16)
    concealed = listening(8000, square).conceal(80)
    assert concealed[:40].min() == -32768
    assert concealed[40:].max() > 30000


def test_the_base_alone_conceals_with_silence() -> None:
    """A decoder that has decoded nothing has nothing to repeat."""
    assert not ConcealingDecoder(8000).conceal(10).any()


def test_the_next_payload_tells_nothing() -> None:
    """With it or without, the loss sounds the same; ``can_recover`` says so."""
    one, other = listening(8000, tone(200, 8000, 1600)), listening(8000, tone(200, 8000, 1600))
    assert not one.can_recover
    assert np.array_equal(one.recover(b"anything", 160), other.conceal(160))


def test_after_a_reset_there_is_nothing_to_repeat() -> None:
    """Neither the audio before it nor a loss that was under way is heard."""
    decoder = listening(8000, tone(200, 8000, 1600))
    assert decoder.conceal(80).any()
    decoder.reset()
    assert not decoder.conceal(160).any()
    decoder.decode(L16Encoder(8000).encode(tone(100, 8000, 400)))
    assert np.abs(decoder.conceal(80)).max() > 10000
