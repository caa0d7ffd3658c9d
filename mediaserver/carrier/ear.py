"""What the caller hears: Telnyx's playout queue as a model on a continuous clock.

Audio that arrives while other audio plays is queued behind it; audio that arrives in
silence plays at once. So the queue needs no ticks: the timeline of everything heard is a
list of uninterrupted runs, and queueing is lengthening the last one. Time is an argument,
seconds on any clock that only goes forward.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from telephony_codecs import Int16Array

# Rounding: times are large floats, and a time of exactly k samples could count as k - 1.
_ROUNDING = 1e-3


@dataclass
class Run:
    """A piece of audio without a gap.

    Attributes:
        start_s: when its first sample is heard.
        rate_hz: sample rate.
        chunks: the audio in time order.
        n_samples: how much of it there is.
    """

    start_s: float
    rate_hz: int
    chunks: list[Int16Array] = field(default_factory=list)
    n_samples: int = 0

    @property
    def end_s(self) -> float:
        """When the last sample has been heard."""
        return self.start_s + self.n_samples / self.rate_hz

    @property
    def samples(self) -> Int16Array:
        """All of it, int16, shape ``(n_samples,)``."""
        return np.concatenate(self.chunks) if self.chunks else np.zeros(0, np.int16)

    def append(self, samples: Int16Array) -> None:
        """Add audio at the end."""
        self.chunks.append(samples)
        self.n_samples += len(samples)

    def cut(self, n_samples: int) -> None:
        """Forget all but the first ``n_samples``."""
        excess = self.n_samples - n_samples
        while excess > 0:
            last = self.chunks.pop()
            if len(last) > excess:
                self.chunks.append(last[: len(last) - excess])
            excess -= len(last)
        self.n_samples = n_samples


@dataclass(frozen=True)
class Cut:
    """What one ``clear`` did.

    Attributes:
        at_s: when.
        n_samples: queued audio that will not be heard.
        marks: names given back unheard.
    """

    at_s: float
    n_samples: int
    marks: tuple[str, ...]


class Ear:
    """A model of Telnyx's playout: it plays what it is fed, and knows what was heard when.

    Attributes:
        rate_hz: sample rate of the audio.
        runs: what was heard and, at the end of the last run, what is still queued.
        cuts: every ``clear``.
        n_fed: samples ever fed, the cleared ones among them.
    """

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self.runs: list[Run] = []
        self.cuts: list[Cut] = []
        self.n_fed: int = 0
        self._marks: deque[tuple[float, str]] = deque()

    @property
    def end_s(self) -> float:
        """When all that was fed has been heard; minus infinity before the first audio."""
        return self.runs[-1].end_s if self.runs else float("-inf")

    def queued_s(self, now: float) -> float:
        """Return how many seconds of audio have yet to be heard."""
        return max(0.0, self.end_s - now)

    def feed(self, samples: Int16Array, now: float) -> None:
        """Queue audio, int16, shape ``(n,)``, at ``rate_hz``."""
        if not len(samples):
            return
        if self.end_s < now:
            self.runs.append(Run(now, self.rate_hz))
        self.runs[-1].append(samples)
        self.n_fed += len(samples)

    def mark(self, name: str, now: float) -> None:
        """Queue a mark; it is due when what was fed before it has been heard."""
        self._marks.append((max(now, self.end_s), name))

    def next_due(self) -> float | None:
        """Return when the next mark is due; None: there is none."""
        return self._marks[0][0] if self._marks else None

    def due_marks(self, now: float) -> list[str]:
        """Return, once, the names of the marks that are due, in the order they were sent."""
        due = []
        while self._marks and self._marks[0][0] <= now:
            due.append(self._marks.popleft()[1])
        return due

    def clear(self, now: float) -> list[str]:
        """Stop at once, forget the queue and return the names of all marks still queued."""
        dropped = 0
        if self.end_s > now:
            run = self.runs[-1]
            heard = int((now - run.start_s) * self.rate_hz + _ROUNDING)
            dropped = max(0, run.n_samples - heard)
            run.cut(run.n_samples - dropped)
        names = self.forget_marks()
        self.cuts.append(Cut(now, dropped, tuple(names)))
        return names

    def forget_marks(self) -> list[str]:
        """Drop all queued marks, as when their socket is lost; return their names."""
        names = [name for _, name in self._marks]
        self._marks.clear()
        return names

    def between(self, start_s: float, end_s: float) -> Int16Array:
        """Return what was audible from ``start_s`` to ``end_s``, silence where nothing was."""
        length_s = max(0.0, end_s - start_s)  # an ear that heard nothing ends at -inf
        out = np.zeros(round(length_s * self.rate_hz), np.int16)
        for run in self.runs:
            if run.end_s > start_s and run.start_s < end_s:
                at = round((run.start_s - start_s) * self.rate_hz)
                heard = run.samples[max(0, -at) : max(0, len(out) - at)]
                at = max(0, at)
                out[at : at + len(heard)] = heard
        return out

    def heard_s(self, now: float) -> float:
        """Return the seconds of audio heard up to ``now``."""
        return sum(max(0.0, min(run.end_s, now) - run.start_s) for run in self.runs)

    def gaps(self, longer_than_s: float = 0.0) -> Iterator[tuple[float, float]]:
        """Yield start and end of each silence between two runs."""
        for before, after in zip(self.runs, self.runs[1:], strict=False):
            if after.start_s - before.end_s > longer_than_s:
                yield before.end_s, after.start_s
