"""Built-in ``vad``: says when the caller begins and stops to speak."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from mediaserver.errors import ConfigurationError
from mediaserver.logs import LimitedLog
from mediaserver.media.frames import Int16Array
from mediaserver.processors.api import Call
from mediaserver.processors.batch import BatchCall, BatchProcessor, State
from mediaserver.processors.builtin.hearing.engines import EngineName, make_engine
from mediaserver.processors.events import SpeechStarted, SpeechStopped

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))


class Segmenter:
    """Makes stretches of speech out of probabilities. **Call ``push`` for each window.**

    Args:
        threshold: from which probability on a window is speech.
        release: below which it is none; between the two it stays what it was.
        least_speech_s: shorter stretches do not count.
        least_silence_s: nor do shorter pauses.
        lag_s: so long behind the last sound the probability falls.
    """

    __slots__ = (
        "_begun",
        "_is_speaking",
        "_lag_s",
        "_least",
        "_release",
        "_silent",
        "_sure",
        "_threshold",
    )

    def __init__(
        self,
        threshold: float,
        release: float,
        least_speech_s: float,
        least_silence_s: float,
        lag_s: float = 0.0,
    ) -> None:
        self._lag_s = lag_s
        self._threshold, self._release = threshold, release
        self._least = least_speech_s, least_silence_s
        self._is_speaking = False
        self._begun: float | None = None
        self._sure: float | None = None
        self._silent: float | None = None

    def push(self, likely: float, at: float, end: float) -> SpeechStarted | SpeechStopped | None:
        """Take the window between two stream times; what begins or ends with it."""
        least_speech_s, least_silence_s = self._least
        if likely >= self._release:
            # A word begins before it is certain that it is one.
            if self._begun is None:
                self._begun = at
            if likely >= self._threshold:
                self._silent = None
                if self._sure is None:
                    self._sure = at
        elif self._silent is None:
            self._silent = at - self._lag_s
        begun, silent = self._begun, self._silent
        if not self._is_speaking:
            if likely < self._release:
                self._begun = self._sure = self._silent = None
            elif begun is not None and self._lasts(end, least_speech_s):
                self._is_speaking = True
                return SpeechStarted(begun)
        elif begun is not None and silent is not None and end - silent >= least_silence_s - 1e-9:
            self._is_speaking = False
            self._begun = self._sure = self._silent = None
            return SpeechStopped(silent, max(silent - begun, 0.0))
        return None

    def _lasts(self, end: float, least_speech_s: float) -> bool:
        return self._sure is not None and end - self._sure >= least_speech_s - 1e-9


class _Own:
    """What is kept of a call."""

    __slots__ = ("engine", "segmenter")

    def __init__(self, engine: Any, segmenter: Segmenter) -> None:
        self.engine = engine
        self.segmenter = segmenter


class Vad(BatchProcessor):
    """Publishes ``SpeechStarted`` and ``SpeechStopped``; ``call.state["speaking"]`` says which.

    Args:
        rate: 8000 or 16000 Hz.
        engine: ``silero``, ``webrtc``, ``energy``, or the best of them that is installed.
        threshold: from which probability on a window is speech.
        release: below which it is none.
        least_speech_ms: shorter stretches of speech do not count.
        least_silence_ms: shorter pauses belong to the speech; by so much, and a window, the end
            is told late.
    """

    def __init__(
        self,
        rate: int = 8000,
        engine: EngineName = "auto",
        threshold: float = 0.4,
        release: float = 0.3,
        least_speech_ms: float = 90.0,
        least_silence_ms: float = 250.0,
    ) -> None:
        if not 0 < release <= threshold < 1:
            raise ConfigurationError("0 < release <= threshold < 1 is asked of vad")
        self._engine = make_engine(engine, rate)
        self.rate = rate
        self.frame_ms = self._engine.frame_ms
        self.state = self._engine.state
        self._window_s = self.frame_ms / 1000
        least_s = least_speech_ms / 1000, least_silence_ms / 1000
        self._segmenter = threshold, release, *least_s, self._engine.lag_s
        limited.info(
            "speech detector", "speech is detected by %s at %d Hz", self._engine.name, rate
        )

    def joined(self, call: Call, member: BatchCall) -> None:
        """See ``BatchProcessor``."""
        member.own = _Own(self._engine.new(), Segmenter(*self._segmenter))
        call.state["speaking"] = False

    def process(self, windows: Int16Array, calls: Sequence[BatchCall], state: State) -> list[Any]:
        """See ``BatchProcessor``."""
        owns = [call.own.engine for call in calls]
        likely = self._engine.probabilities(windows, owns, state).tolist()
        results: list[Any] = []
        for call, each in zip(calls, likely, strict=True):
            event = call.own.segmenter.push(each, call.at, call.at + self._window_s)
            if event is not None:
                results.append([{"speaking": isinstance(event, SpeechStarted)}, event])
            else:
                results.append(None)
        return results
