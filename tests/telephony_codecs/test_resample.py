"""The streaming resampler: what passes, what does not, and that cuts leave no trace."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import numpy.typing as npt
import pytest

from telephony_codecs import (
    RESAMPLE_RATES_HZ,
    AudioFormatError,
    Int16Array,
    Resampler,
    resample,
)
from tests.telephony_codecs.audio import chunks, measured_delay, speech, tone

PAIRS = list(permutations(RESAMPLE_RATES_HZ, 2))
every_pair = pytest.mark.parametrize(("in_hz", "out_hz"), PAIRS)
PEAK = 16000
# Of the lower rate: flat to 3.4 kHz of 8, nothing left from 4.2 kHz on.
PASS_EDGE = 3400 / 8000
STOP_EDGE = 4200 / 8000


def streamed(in_hz: int, out_hz: int, samples: Int16Array) -> Int16Array:
    """Return a stream's output in chunks of 20 ms, its settling at both ends cut off."""
    resampler = Resampler(in_hz, out_hz)
    whole = np.concatenate([resampler.process(c) for c in chunks(samples, in_hz // 50)])
    return whole[out_hz // 50 : -out_hz // 50]


def amplitude(samples: npt.NDArray[np.generic], frequency_hz: float, rate_hz: int) -> float:
    """Return the peak of the sine of that frequency which fits best."""
    return float(np.hypot(*fit(samples, frequency_hz, rate_hz)[0]))


def fit(
    samples: npt.NDArray[np.generic], frequency_hz: float, rate_hz: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the weights of sine and cosine that fit best, and what they leave."""
    phase = 2 * np.pi * frequency_hz / rate_hz * np.arange(len(samples))
    waves = np.stack([np.sin(phase), np.cos(phase)], axis=1)
    weights = np.linalg.lstsq(waves, samples.astype(np.float64), rcond=None)[0]
    return weights, samples - waves @ weights


@every_pair
def test_weights_pass_silence_and_level_as_they_are(in_hz: int, out_hz: int) -> None:
    """Made anew, past what is kept: the weights of an output add up to 1, blocks to 20 ms."""
    bank = resample.bank.__wrapped__(in_hz, out_hz)
    assert bank.weights.shape == (bank.n_history + bank.n_in, bank.n_out)
    assert np.abs(bank.weights.sum(axis=0) - 1).max() < 0.001
    assert bank.n_in * out_hz == bank.n_out * in_hz
    assert in_hz // 50 % bank.n_in == 0
    assert bank.delay <= 0.003 * out_hz
    assert bank.up * in_hz == bank.down * out_hz


@every_pair
def test_the_pass_band_is_flat(in_hz: int, out_hz: int) -> None:
    """Within 0.1 dB up to 3.4 kHz at 8 kHz, in proportion at other rates."""
    edge = PASS_EDGE * min(in_hz, out_hz)
    for frequency_hz in (100.0, 0.5 * edge, 0.8 * edge, edge):
        out = streamed(in_hz, out_hz, tone(frequency_hz, in_hz, in_hz // 5, peak=PEAK))
        gain_db = 20 * np.log10(amplitude(out, frequency_hz, out_hz) / PEAK)
        assert abs(gain_db) <= 0.1, frequency_hz


@every_pair
def test_images_are_60_db_down(in_hz: int, out_hz: int) -> None:
    """A tone of the pass band comes out with nothing beside it."""
    for part in (0.1, 0.6, 1.0):
        frequency_hz = part * PASS_EDGE * min(in_hz, out_hz)
        out = streamed(in_hz, out_hz, tone(frequency_hz, in_hz, in_hz // 5, peak=PEAK))
        _, rest = fit(out, frequency_hz, out_hz)
        assert 20 * np.log10(np.sqrt(2 * np.mean(rest**2)) / PEAK) < -60, frequency_hz


@pytest.mark.parametrize(("in_hz", "out_hz"), [pair for pair in PAIRS if pair[0] > pair[1]])
def test_aliases_are_60_db_down(in_hz: int, out_hz: int) -> None:
    """A tone that the lower rate cannot hold leaves nothing behind."""
    lowest, highest = STOP_EDGE * out_hz, in_hz / 2 - 50
    for frequency_hz in np.linspace(lowest, max(lowest, highest), 7):
        if frequency_hz > highest:
            continue
        out = streamed(in_hz, out_hz, tone(frequency_hz, in_hz, in_hz // 5, peak=PEAK))
        left = np.sqrt(2 * np.mean(out.astype(np.float64) ** 2))
        assert 20 * np.log10(max(left, 1e-3) / PEAK) < -60, frequency_hz


@every_pair
def test_20_ms_in_give_exactly_20_ms_out(in_hz: int, out_hz: int) -> None:
    """Every chunk, from the first on; so do 10 ms wherever both rates have whole samples."""
    resampler = Resampler(in_hz, out_hz)
    for piece in chunks(speech(in_hz)[: in_hz // 5], in_hz // 50):
        assert len(resampler.process(piece)) == out_hz // 50
    if in_hz % 100 == out_hz % 100 == 0:
        resampler.reset()
        for _ in range(6):
            assert len(resampler.process(np.zeros(in_hz // 100, np.int16))) == out_hz // 100


@every_pair
def test_declared_delay_is_the_measured_one_and_under_5_ms(in_hz: int, out_hz: int) -> None:
    """Against the same speech without delay, the output lags by ``delay_samples``."""
    resampler = Resampler(in_hz, out_hz)
    out = np.concatenate([resampler.process(speech(in_hz)), resampler.flush()])
    assert abs(measured_delay(speech(out_hz), out) - resampler.delay_samples) <= 1
    assert resampler.delay_samples < 0.005 * out_hz


@every_pair
def test_random_cuts_equal_the_whole(in_hz: int, out_hz: int) -> None:
    """10,000 ways of cutting a stream, over all pairs, change no sample by more than one."""
    rng = np.random.default_rng(in_hz + out_hz)
    audio = speech(in_hz)[in_hz : in_hz + in_hz // 20]
    resampler = Resampler(in_hz, out_hz)
    whole = np.concatenate([resampler.process(audio), resampler.flush()]).astype(np.int32)
    assert len(whole) == -(-len(audio) * out_hz // in_hz) + resampler.delay_samples
    for _ in range(-(-10_000 // len(PAIRS))):
        cuts = np.sort(rng.integers(0, len(audio) + 1, rng.integers(1, 9)))
        parts = [resampler.process(part) for part in np.split(audio, cuts)]
        cut = np.concatenate([*parts, resampler.flush()])
        assert len(cut) == len(whole)
        assert np.abs(cut - whole).max() <= 1


def test_sample_by_sample_equals_the_whole() -> None:
    """The smallest chunks there are."""
    for pair in ((8000, 16000), (16000, 8000), (8000, 22050), (22050, 8000)):
        audio = speech(pair[0])[8000:8500]
        one, other = Resampler(*pair), Resampler(*pair)
        whole = np.concatenate([one.process(audio), one.flush()]).astype(np.int32)
        parts = [other.process(sample) for sample in chunks(audio, 1)]
        assert np.abs(np.concatenate([*parts, other.flush()]) - whole).max() <= 1


def test_flush_gives_the_tail_and_makes_new() -> None:
    """The last samples come out, and nothing of them is left for the next stream."""
    resampler = Resampler(8000, 16000)
    audio = tone(300, 8000, 160)
    first = np.concatenate([resampler.process(audio), resampler.flush()])
    assert len(first) == 320 + resampler.delay_samples
    assert np.abs(first[-resampler.delay_samples :]).max() > 1000
    assert np.array_equal(np.concatenate([resampler.process(audio), resampler.flush()]), first)


def test_reset_forgets() -> None:
    """After reset() a stream starts from silence."""
    resampler = Resampler(16000, 8000)
    resampler.process(speech(16000)[16000:16777])
    resampler.reset()
    assert not resampler.process(np.zeros(320, np.int16)).any()


def test_equal_rates_pass_untouched() -> None:
    """No filter, no delay, no tail."""
    resampler = Resampler(24000, 24000)
    audio = speech(24000)[:480]
    assert np.array_equal(resampler.process(audio), audio)
    assert resampler.delay_samples == 0
    assert len(resampler.flush()) == 0


def test_full_scale_clips_and_does_not_wrap() -> None:
    """Overshoot beyond int16 stays at the limit."""
    square = np.where(np.arange(1600) // 40 % 2, 32767, -32768).astype(np.int16)
    out = Resampler(8000, 16000).process(square)
    assert out.max() == 32767
    assert out.min() == -32768
    # Wrapped around, a sample would lie a full scale beside both its neighbours.
    jumps = np.abs(np.diff(out[200:].astype(np.int32)))
    assert jumps.max() < 50000


def test_wrong_rates_and_audio_are_refused() -> None:
    """AudioFormatError says what is possible."""
    with pytest.raises(AudioFormatError, match="11025"):
        Resampler(11025, 8000)
    with pytest.raises(AudioFormatError, match="can: 8000"):
        Resampler(8000, 0)
    with pytest.raises(AudioFormatError):
        Resampler(8000, 16000).process(np.zeros(160))  # type: ignore[arg-type] # wrong on purpose
