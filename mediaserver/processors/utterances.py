"""Utterances cut out of a track, by the events of a speech detector. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

import numpy as np

from mediaserver.errors import ConfigurationError
from mediaserver.media.frames import Frame
from mediaserver.processors.api import Utterance
from mediaserver.processors.events import Event, SpeechStarted, SpeechStopped

# The beginning of speech is told so much later, at most.
TOLD_WITHIN_S = 2.0
# What belongs to an utterance behind its last sound: a last breath, and what was cut too early.
TAIL_S = 0.2
MAX_UTTERANCE_S = 60.0
"""A longer one is given in pieces."""


class UtteranceCutter:
    """**Call ``heard`` for each event, ``push`` for each frame, ``flush`` at the end.**

    Args:
        silence_s: what ends an utterance.
        pre_roll_s: audio from before the speech that is part of it.
    """

    def __init__(self, silence_s: float, pre_roll_s: float) -> None:
        self._silence_s = silence_s
        self._pre_roll_s = pre_roll_s
        self._frames: deque[Frame] = deque()
        self._begun: float | None = None
        self._ended: float | None = None
        # What was given already is no pre-roll of the next one.
        self._given_s = float("-inf")

    def heard(self, event: Event) -> None:
        """Take what the detector says."""
        if isinstance(event, SpeechStarted):
            if self._begun is None:
                self._begun = event.at
            self._ended = None
        elif isinstance(event, SpeechStopped) and self._begun is not None:
            self._ended = event.at

    def push(self, frame: Frame) -> Utterance | None:
        """Take a frame; the utterance that ends with it, if one does."""
        self._frames.append(frame)
        now = frame.start + frame.duration
        if self._begun is None:
            oldest = now - TOLD_WITHIN_S - self._pre_roll_s
            while self._frames[0].start + self._frames[0].duration < oldest:
                self._frames.popleft()
            return None
        if self._ended is not None and now >= self._ended + max(self._silence_s, TAIL_S):
            return self._cut(self._ended, self._ended + TAIL_S, is_whole=True)
        if now - self._begun >= MAX_UTTERANCE_S:
            piece = self._cut(now, now, is_whole=False)
            if self._ended is None:
                self._begun = now  # it goes on
            return piece
        return None

    def flush(self) -> Utterance | None:
        """The call is over: what was begun."""
        if self._begun is None or not self._frames:
            return None
        now = self._frames[-1].start + self._frames[-1].duration
        end = now if self._ended is None else self._ended
        return self._cut(end, end + TAIL_S, is_whole=self._ended is not None)

    def _cut(self, speech_end: float, end: float, *, is_whole: bool) -> Utterance:
        """Give what there is from the pre-roll up to ``end``, and keep what is behind it."""
        begun = self._begun
        assert begun is not None
        first = max(begun - self._pre_roll_s, self._given_s)
        frames = [f for f in self._frames if first < f.start + f.duration and f.start < end]
        rate_hz = self._frames[-1].rate
        start, samples = first, np.zeros(0, np.int16)
        if frames:
            start = max(first, frames[0].start)
            samples = np.concatenate([f.samples for f in frames])
            samples = samples[round((start - frames[0].start) * rate_hz) :]
            rest = round((frames[-1].start + frames[-1].duration - end) * rate_hz)
            samples = samples[: len(samples) - max(rest, 0)]
        self._given_s = end
        self._begun = None
        while self._frames and self._frames[0].start + self._frames[0].duration <= end:
            self._frames.popleft()
        return Utterance(samples, rate_hz, start, begun, speech_end, is_whole)


def check_detector(names: Sequence[str]) -> None:
    """Refuse a chain in which nobody says when speech begins and ends.

    Raises:
        ConfigurationError: no processor's name ends in ``vad``.
    """
    if not any(name.lower().endswith("vad") for name in names):
        raise ConfigurationError("utterances need the processor `vad` in the call's chain")


async def utterances(
    frames: AsyncIterator[Frame],
    convert: Callable[[Frame], Frame],
    waiting: Callable[[], Iterable[Event]],
    silence_s: float,
    pre_roll_s: float,
) -> AsyncIterator[Utterance]:
    """Utterances of the ``frames``, brought to one rate; ``waiting`` gives new events."""
    cutter = UtteranceCutter(silence_s, pre_roll_s)
    async for frame in frames:
        for event in waiting():
            cutter.heard(event)
        utterance = cutter.push(convert(frame))
        if utterance is not None:
            yield utterance
    for event in waiting():
        cutter.heard(event)
    rest = cutter.flush()
    if rest is not None:
        yield rest
