"""What the caller says: a microphone that delivers as it likes, or a clip. No clock in here."""

from __future__ import annotations

from collections import deque
from typing import Protocol

import numpy as np

from telephony_codecs import Int16Array, Resampler

# The microphone's audio comes over a WebSocket, some milliseconds early or late. It waits until
# there is so much of it, and what is more than MOST_S is left out: it would only be delay.
BEGIN_S = 0.04
MOST_S = 0.2
PAUSE_S = 1.5
"""Between the end of a clip and its beginning."""


class Source(Protocol):
    """Gives the caller's audio at the rate of the call."""

    @property
    def waiting_s(self) -> float:
        """How long a sample that comes in now waits until it is taken."""

    def take(self, n_samples: int) -> Int16Array:
        """Return the next ``n_samples``, int16 ``(n,)``; silence where there is nothing."""


class Microphone:
    """A queue between a microphone and a call that takes its audio at an even pace.

    **Call ``push`` when audio comes; call ``take`` whenever a chunk is due.**

    Args:
        in_hz: rate of what is pushed; one of ``RESAMPLE_RATES_HZ``.
        out_hz: rate of what is taken.

    Attributes:
        n_missing: samples of silence given because audio came too late.
        n_left_out: samples left out because too much had come.
    """

    def __init__(self, in_hz: int, out_hz: int) -> None:
        self._resampler = Resampler(in_hz, out_hz)
        self._rate_hz = out_hz
        self._chunks: deque[Int16Array] = deque()
        self._n_waiting = 0
        self._runs = False
        self.n_missing: int = 0
        self.n_left_out: int = 0

    @property
    def waiting_s(self) -> float:
        """How long a sample that comes in now waits until it is taken."""
        return self._n_waiting / self._rate_hz

    def push(self, samples: Int16Array) -> None:
        """Take in audio, int16 ``(n,)``."""
        converted = self._resampler.process(samples)
        self._chunks.append(converted)
        self._n_waiting += len(converted)
        if self.waiting_s > MOST_S:
            n_excess = self._n_waiting - round(BEGIN_S * self._rate_hz)
            self.n_left_out += n_excess
            self._remove(n_excess)

    def take(self, n_samples: int) -> Int16Array:
        """Return the next ``n_samples``; silence until there is enough to go on with."""
        if not self._runs and self._n_waiting < n_samples + BEGIN_S * self._rate_hz:
            return np.zeros(n_samples, np.int16)
        found = self._remove(min(n_samples, self._n_waiting))
        self._runs = len(found) == n_samples
        self.n_missing += n_samples - len(found)
        return np.pad(found, (0, n_samples - len(found)))

    def _remove(self, n_samples: int) -> Int16Array:
        parts = [np.zeros(0, np.int16)]
        self._n_waiting -= n_samples
        while n_samples > 0:
            first = self._chunks.popleft()
            if len(first) > n_samples:
                self._chunks.appendleft(first[n_samples:])
            parts.append(first[:n_samples])
            n_samples -= len(parts[-1])
        return np.concatenate(parts)


class Clip:
    """A clip that is said again and again.

    Args:
        samples: int16 ``(n,)``, at the rate of the call.
        rate_hz: that rate.
    """

    waiting_s: float = 0.0

    def __init__(self, samples: Int16Array, rate_hz: int) -> None:
        self._lap = np.pad(samples, (0, round(PAUSE_S * rate_hz)))
        self._at = 0

    def take(self, n_samples: int) -> Int16Array:
        """Return the next ``n_samples``."""
        where = (self._at + np.arange(n_samples)) % len(self._lap)
        self._at = (self._at + n_samples) % len(self._lap)
        return self._lap[where]
