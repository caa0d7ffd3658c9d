"""``vad`` says when speech begins and stops, as `benchmarks/vad.py` measures."""

from __future__ import annotations

import pytest

from benchmarks import vad as bench
from benchmarks.parts import speech
from mediaserver.errors import ConfigurationError
from mediaserver.processors.builtin.hearing.vad import Segmenter, Vad
from mediaserver.processors.events import SpeechStarted, SpeechStopped

WINDOW_S = 0.032


def said(likely: list[float], **more: float) -> list[SpeechStarted | SpeechStopped]:
    """What a segmenter makes of these probabilities."""
    segmenter = Segmenter(0.5, 0.35, 0.09, 0.25, **more)
    found = (segmenter.push(p, n * WINDOW_S, (n + 1) * WINDOW_S) for n, p in enumerate(likely))
    return [each for each in found if each is not None]


def test_call_push_for_each_window() -> None:
    """Speech begins with its first window, and stops with its last."""
    started, stopped = said([0.0] * 10 + [0.9] * 20 + [0.1] * 20)
    assert started == SpeechStarted(pytest.approx(10 * WINDOW_S))
    assert isinstance(stopped, SpeechStopped)
    assert stopped.at == pytest.approx(30 * WINDOW_S)
    assert stopped.duration == pytest.approx(20 * WINDOW_S)


def test_what_is_short_does_not_count() -> None:
    """Neither a burst, nor a pause, nor what is between the two thresholds."""
    assert not said([0.0, 0.9, 0.9, 0.0] * 10)
    assert len(said([0.9] * 10 + [0.1] * 5 + [0.9] * 10)) == 1
    assert len(said([0.9] * 10 + [0.4] * 50)) == 1
    assert not said([0.45] * 50)


def test_a_model_that_lets_go_late_is_corrected() -> None:
    """The end is earlier by its lag, and told earlier as well."""
    likely = [0.9] * 20 + [0.1] * 20
    assert said(likely, lag_s=0.1)[1].at == pytest.approx(20 * WINDOW_S - 0.1)


def test_thresholds_that_make_no_sense_are_refused() -> None:
    """Before any call comes."""
    with pytest.raises(ConfigurationError, match="0 < release <= threshold < 1"):
        Vad(threshold=0.3, release=0.5)


@pytest.mark.skipif(not speech.is_here(), reason=f"not installed: {speech.PACKAGES}")
def test_real_speech_is_found() -> None:
    """Both ends within 150 ms for nearly all of a few phrases; the benchmark has them all."""
    import argparse

    report = bench.measure(argparse.Namespace(seed=3, segments=30, only=["vad"]))
    for row in report["table"]["vad"].values():
        assert row["segments"] >= 30
        assert row["matched"] >= 0.85
