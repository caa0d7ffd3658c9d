"""What the caller hears, sample by sample as time goes on. Time is an argument."""

from __future__ import annotations

from collections import deque

import numpy as np

from mediaserver.carrier.turns import Heard
from telephony_codecs import Int16Array


class Earpiece:
    """Turns what is queued at the far end into one stream of audio, silence included.

    **Call ``feed`` and ``cut`` when they happen; ``take`` returns what was heard since then.**

    Args:
        rate_hz: of the audio.

    Attributes:
        heard: when the bot was audible.
    """

    def __init__(self, rate_hz: int) -> None:
        self.heard: Heard = Heard(rate_hz)
        self._rate_hz = rate_hz
        self._queue: deque[tuple[int, Int16Array]] = deque()
        self._end = 0
        self._at = 0

    def feed(self, samples: Int16Array, from_s: float) -> None:
        """Take in audio, int16 ``(n,)``, that is heard from ``from_s`` on."""
        self.heard.feed(samples, from_s)
        begin = round(from_s * self._rate_hz)
        if abs(begin - self._end) <= 1:  # times are floats: audio without a gap stays so
            begin = self._end
        self._queue.append((begin, samples))
        self._end = begin + len(samples)

    def cut(self, at_s: float) -> None:
        """Forget what would have been heard after ``at_s``."""
        self.heard.cut(at_s)
        until = round(at_s * self._rate_hz)
        while self._queue and self._queue[-1][0] >= until:
            self._queue.pop()
        if self._queue:
            begin, samples = self._queue.pop()
            self._queue.append((begin, samples[: until - begin]))
        self._end = min(self._end, until)

    def take(self, now: float) -> Int16Array:
        """Return what was heard since the last time, int16 ``(n,)``; silence where nothing was."""
        until = int(now * self._rate_hz)
        out = np.zeros(max(0, until - self._at), np.int16)
        while self._queue and self._queue[0][0] < until:
            begin, samples = self._queue.popleft()
            if begin + len(samples) > until:
                self._queue.appendleft((until, samples[until - begin :]))
                samples = samples[: until - begin]
            samples = samples[max(0, self._at - begin) :]
            at = max(begin, self._at) - self._at
            out[at : at + len(samples)] = samples
        self._at = max(self._at, until)
        return out
