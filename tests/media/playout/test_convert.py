"""Audio of changing rates becomes one stream; how it is cut never shows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mediaserver.media.frames import Int16Array
from mediaserver.media.playout.convert import Converter
from telephony_codecs import AudioFormatError, Resampler

Tone = Callable[..., Int16Array]


def converter(*rates_hz: int) -> Converter:
    """A converter to 8 kHz that takes the first of these rates now."""
    made = Converter(8000)
    for rate_hz in rates_hz:
        made.accept(rate_hz)
    made.turn(rates_hz[0], joined=False)
    return made


def test_audio_at_the_rate_that_goes_out_is_left_alone(make_tone: Tone) -> None:
    """The same array comes back, nothing waits, and there is no end to flush."""
    convert = Converter(8000)
    audio = make_tone(0.013)
    assert convert.process(audio) is audio
    assert (convert.needed(77), convert.pending()) == (77, 0)
    convert.reset()
    assert len(convert.flush()) == 0


def test_a_rate_that_cannot_be_resampled_is_refused() -> None:
    """11025 Hz is none; the rate that goes out needs no resampler."""
    convert = Converter(8000)
    with pytest.raises(AudioFormatError, match="11025"):
        convert.accept(11025)
    convert.accept(8000)


def test_20_ms_at_a_time_go_through_and_the_rest_waits(make_tone: Tone) -> None:
    """Of 30 ms at 16 kHz one block of 20 ms comes out; 10 ms wait, and count as 80 samples."""
    convert = converter(16000)
    assert len(convert.process(make_tone(0.005, 16000))) == 0
    assert not convert.has_tail
    assert len(convert.process(make_tone(0.025, 16000))) == 160
    assert (convert.waiting, convert.pending(), convert.has_tail) == (160, 80, True)


def test_what_is_needed_is_what_completes_the_blocks(make_tone: Tone) -> None:
    """Whole blocks of 320 samples for each 160 or part of it, less what waits; one at least."""
    convert = converter(16000)
    assert [convert.needed(n) for n in (1, 160, 161, 0)] == [320, 320, 640, 320]
    convert.process(make_tone(0.00625, 16000))
    assert convert.waiting == 100
    assert convert.needed(161) == 540
    assert len(convert.process(make_tone(540 / 16000, 16000))) == 320


@pytest.mark.parametrize("rate_hz", [16000, 22050, 48000])
def test_how_the_input_is_cut_does_not_show(make_tone: Tone, rate_hz: int) -> None:
    """Pieces of any length give, with the flush, what one array gives: a tail longer than it."""
    audio = make_tone(0.5, rate_hz)
    cuts = np.sort(np.random.default_rng(3).integers(0, len(audio), 40))
    whole, cut = converter(rate_hz), converter(rate_hz)
    wanted = np.concatenate([whole.process(audio), whole.flush()])
    pieces = [cut.process(piece) for piece in np.split(audio, cuts)]
    assert np.array_equal(np.concatenate([*pieces, cut.flush()]), wanted)
    assert len(wanted) == 4000 + Resampler(rate_hz, 8000).delay_samples


def test_after_a_flush_it_is_as_new(make_tone: Tone) -> None:
    """A second flush gives nothing, and the same audio gives the same again."""
    convert = converter(16000)
    audio = make_tone(0.107, 16000)
    first = np.concatenate([convert.process(audio), convert.flush()])
    assert len(convert.flush()) == 0
    assert np.array_equal(np.concatenate([convert.process(audio), convert.flush()]), first)


def test_after_a_reset_nothing_of_the_past_is_heard(make_tone: Tone) -> None:
    """What waited and the resampler's history are gone."""
    convert = converter(16000)
    convert.process(make_tone(0.033, 16000))
    convert.reset()
    assert (convert.waiting, convert.has_tail) == (0, False)
    assert not convert.process(np.zeros(640, np.int16)).any()


def test_a_turn_gives_the_end_of_the_old_rate(make_tone: Tone) -> None:
    """7 ms that waited at 16 kHz come out, with the tail, when the rate changes."""
    convert = converter(16000, 24000)
    convert.process(make_tone(0.007, 16000))
    rest = convert.turn(24000, joined=False)
    assert len(rest) == 56 + Resampler(16000, 8000).delay_samples
    assert (convert.rate_hz, convert.block, convert.pending()) == (24000, 480, 0)


@pytest.mark.parametrize("first_s", [0.02, 0.007])
def test_audio_that_follows_without_a_pause_has_no_lead_in(make_tone: Tone, first_s: float) -> None:
    """Joined, the new resampler's delay is cut from its output, once; also from a mere flush."""
    audio = make_tone(first_s, 16000)
    apart, joined = converter(16000), Converter(8000)
    joined.accept(16000)
    assert len(joined.turn(16000, joined=True)) == 0
    delay = Resampler(16000, 8000).delay_samples
    whole = np.concatenate([apart.process(audio), apart.flush(), apart.process(audio)])
    seamless = np.concatenate([joined.process(audio), joined.flush(), joined.process(audio)])
    assert np.array_equal(seamless, whole[delay:])


def test_turning_to_the_rate_that_goes_out_cuts_nothing(make_tone: Tone) -> None:
    """Joined or not, audio at the outgoing rate is whole."""
    convert = converter(16000)
    convert.process(make_tone(0.02, 16000))
    convert.turn(8000, joined=True)
    audio = make_tone(0.02)
    assert convert.process(audio) is audio
