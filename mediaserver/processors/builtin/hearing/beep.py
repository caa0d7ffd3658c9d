"""Built-in ``beep_detect``: the beep of an answering machine, by Goertzel's sums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mediaserver.errors import ConfigurationError
from mediaserver.media.frames import Int16Array
from mediaserver.processors.api import Call
from mediaserver.processors.batch import BatchCall, BatchProcessor, State
from mediaserver.processors.events import Beep

STEP_HZ = 25.0
LOWEST_HZ, HIGHEST_HZ = 350.0, 2600.0
# Of the power of a window what one frequency has at least; speech has less, for so long.
PURE = 0.8
QUIETEST_DBFS = -45.0
# A tone stays where it is; what moves is a whistle, or music.
DRIFT_HZ = 50.0
AT_ONCE = 8


class _Tone:
    """A tone that has begun: its windows so far."""

    __slots__ = ("at", "frequency", "n")

    def __init__(self, at: float, frequency: float) -> None:
        self.at = at
        self.frequency = frequency
        self.n = 1


class BeepDetect(BatchProcessor):
    """Publishes ``Beep`` when a single tone has ended; several at once are none.

    Args:
        least_ms: shorter tones do not count; nor do keys, which are two tones at once.
        most_ms: longer ones are no beep: a dial tone, or a fax.
    """

    rate = 8000
    frame_ms: float = 20.0

    def __init__(self, least_ms: float = 150.0, most_ms: float = 3000.0) -> None:
        if not 40 <= least_ms < most_ms:
            raise ConfigurationError("40 <= least_ms < most_ms is asked of beep_detect")
        self._least, self._most = least_ms / self.frame_ms, most_ms / self.frame_ms
        self._frequencies = np.arange(LOWEST_HZ, HIGHEST_HZ + 1, STEP_HZ)
        angle = 2 * np.pi * np.outer(np.arange(self.n_samples) / self.rate, self._frequencies)
        taper = np.hanning(self.n_samples + 1)[:-1, None]
        # Goertzel's recurrence as sums: for all calls and frequencies it is one product.
        self._sums = np.concatenate([np.cos(angle), np.sin(angle)], axis=1) * taper
        self._sums = self._sums.astype(np.float32)
        # A pure tone's share of the power of its window, as the sums give it.
        self._whole = np.float32(np.square(taper.sum()) / 2)

    def joined(self, call: Call, member: BatchCall) -> None:
        """See ``BatchProcessor``."""
        member.own = None

    def process(self, windows: Int16Array, calls: Sequence[BatchCall], state: State) -> list[Any]:
        """See ``BatchProcessor``."""
        samples = windows.astype(np.float32) / 32768
        power = np.square(samples).mean(axis=1)
        # A few at a time: a larger product would have numpy start threads of its own.
        few = [samples[at : at + AT_ONCE] for at in range(0, len(samples), AT_ONCE)]
        sums = np.square(np.concatenate([each @ self._sums for each in few]))
        n = len(self._frequencies)
        powers = sums[:, :n] + sums[:, n:]
        best = powers.argmax(axis=1)
        share = powers[np.arange(len(best)), best] / (self._whole * np.maximum(power, 1e-9))
        is_tone = (share >= PURE) & (10 * np.log10(power + 1e-12) > QUIETEST_DBFS)
        found = zip(calls, is_tone.tolist(), self._frequencies[best].tolist(), strict=True)
        return [self._heard(call, frequency if tone else None) for call, tone, frequency in found]

    def _heard(self, call: BatchCall, frequency: float | None) -> Beep | None:
        """What the call's window brings: its frequency, if it is a tone."""
        tone: _Tone | None = call.own
        if tone is not None and frequency is not None:
            if abs(frequency - tone.frequency) <= DRIFT_HZ:
                tone.n += 1
                return None
            call.own = _Tone(call.at, frequency)
            return None
        if frequency is not None:
            call.own = _Tone(call.at, frequency)
        elif tone is not None:
            call.own = None
            if self._least <= tone.n <= self._most:
                return Beep(call.at, tone.frequency, tone.n * self.frame_ms / 1000)
        return None
