"""A caller interrupts, the bot's echo does not; a small part of `benchmarks/barge_in.py`."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import barge_in as bench
from benchmarks.parts import speech
from benchmarks.parts.talk import Conversation
from mediaserver.carrier.plan import speech as shipped
from mediaserver.processors.batch import Rows
from mediaserver.processors.builtin.hearing import echo
from mediaserver.processors.builtin.hearing.at_ear import AtEar
from telephony_codecs import resample_clip

needs_speech = pytest.mark.skipif(not speech.is_here(), reason=f"not installed: {speech.PACKAGES}")


@needs_speech
def test_nearly_all_interruptions_are_taken_and_hardly_anything_else() -> None:
    """Three conversations of the half for development; where plain speech detection fails."""
    talks = [Conversation(seed, 6) for seed in (0, 8, 16)]
    score = bench.score_of(bench.Built(3), talks)
    plain = bench.score_of(bench.PlainVad(3), [Conversation(seed, 6) for seed in (0, 8, 16)])
    assert score.hits >= 8
    assert len(score.misses) <= 1
    assert len(score.false_at) <= 1
    assert len(plain.false_at) >= 5


def test_windows_of_the_ear_are_what_was_sent_then() -> None:
    """By time, over pieces, at the rate that is asked for; silence where there was nothing."""
    ear = AtEar(8000)
    ear.sent(np.full(800, 1, np.int16), 8000, 10.0)
    ear.sent(np.full(800, 2, np.int16), 8000, 10.1)
    window, speaks = ear.window(10.05, 800)
    assert speaks
    assert (window[:400] == 1).all()
    assert (window[400:] == 2).all()
    window, speaks = ear.window(10.15, 800)
    assert (window[:400] == 2).all()
    assert not window[400:].any()
    assert ear.window(10.6, 100)[1]  # a short pause
    assert not ear.window(10.8, 100)[1]


def test_what_was_cleared_was_not_at_the_ear() -> None:
    """From the moment of the clear on, also in the middle of a piece."""
    ear = AtEar(8000)
    ear.sent(np.ones(8000, np.int16), 8000, 1.0)
    ear.sent(np.ones(8000, np.int16), 8000, 2.0)
    ear.cleared(1.5)
    assert int(ear.window(1.0, 16_000)[0].sum()) == 4000
    ear.cleared(0.5)
    assert not ear.window(1.0, 16_000)[0].any()


def test_another_rate_is_converted() -> None:
    """A tone of 16 or 24 kHz is the same tone at 8 kHz, also when the rate changes."""
    ear = AtEar(8000)
    for at, rate_hz in ((1.0, 16_000), (2.0, 24_000)):
        tone = 8000 * np.sin(2 * np.pi * 500 * np.arange(rate_hz) / rate_hz)
        ear.sent(tone.astype(np.int16), rate_hz, at)
    for at in (1.2, 2.2):
        window, _ = ear.window(at, 4000)
        spectrum = np.abs(np.fft.rfft(window))
        assert spectrum.argmax() == 250


@pytest.mark.parametrize("delay_s", [0.05, 0.4, 1.1])
def test_an_echo_is_explained_and_a_voice_over_it_is_not(delay_s: float) -> None:
    """Its delay is found within seconds, also where the bot begins behind a silence."""
    clip = speech_clip()
    sent = np.concatenate([np.zeros(8000, np.int16), clip, clip])
    echoed = np.zeros(len(sent))
    shift = round(delay_s * 8000)
    echoed[shift:] = 0.2 * sent[: len(sent) - shift]
    heard = echoed + np.random.default_rng(1).normal(0, 15, len(sent))
    voice_at = 14 * 8000
    heard[voice_at : voice_at + 16_000] += clip[::-1][:16_000]
    rows = Rows(echo.STATE)
    rows.clear([0], 1)
    n = len(sent) // 256
    windows = heard[: n * 256].astype(np.int16).reshape(n, 256)
    levels = np.array(_levels(rows, [0], windows, sent[: n * 256].reshape(n, 256)))
    lag_s = float(rows.gather([0])["lag"][0]) * echo.HOP / echo.RATE_HZ
    assert lag_s == pytest.approx(delay_s, abs=0.05)
    before, over = levels[: voice_at // 256 - 1], levels[voice_at // 256 : voice_at // 256 + 62]
    assert before.mean() < 1.0
    assert over.mean() > 4 * before.mean() + 1.0


def speech_clip() -> np.ndarray:  # type: ignore[type-arg]  # of int16
    """The clip that ships with the package, at 8 kHz."""
    clip = shipped()
    return resample_clip(clip.samples, clip.rate_hz, 8000)


def test_the_state_of_a_call_begins_anew() -> None:
    """Two calls in one batch are as each alone, and a new one in a used row as well."""
    rng = np.random.default_rng(1)
    sent = rng.normal(0, 3000, (40, 256)).astype(np.int16)
    heard = (0.2 * sent).astype(np.int16)

    def alone() -> list[float]:
        rows = Rows(echo.STATE)
        rows.clear([0], 1)
        return _levels(rows, [0], heard, sent)

    rows = Rows(echo.STATE)
    rows.clear([0, 1], 2)
    assert _levels(rows, [1, 0], heard, sent) == pytest.approx(alone(), abs=1e-3)
    rows.clear([1], 2)
    assert _levels(rows, [1], heard, sent) == pytest.approx(alone(), abs=1e-3)


def _levels(
    rows: Rows,
    numbers: list[int],
    heard: np.ndarray,
    sent: np.ndarray,  # type: ignore[type-arg]  # of int16
) -> list[float]:
    """Of the first of these calls, window by window."""
    found = []
    for n in range(len(heard)):
        state = rows.gather(numbers)
        windows = np.repeat(heard[n : n + 1], len(numbers), axis=0)
        ears = np.repeat(sent[n : n + 1], len(numbers), axis=0)
        found.append(float(echo.unexplained(windows, ears, dict(state))[0]))
        rows.scatter(numbers, state)
    return found
