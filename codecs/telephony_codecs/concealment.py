"""Packet-loss concealment for waveform codecs: repeat the last pitch period and fade.

In the spirit of ITU-T G.711 Appendix I, without its added delay: the good frames pass
untouched, and all the work is done only when something was lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from telephony_codecs.contract import Int16Array

Float32Array = npt.NDArray[np.float32]

# Pitch between 66 and 200 Hz, matched over 20 ms (G.711 Appendix I, I.2.2).
MIN_LAG_S = 0.005
MAX_LAG_S = 0.015
TEMPLATE_S = 0.020
# Full level for 10 ms, then down to nothing (I.2.7).
HOLD_S = 0.010
FADE_END_S = 0.060
# Enough arrays to hold the 39 ms looked at, at 10 ms a payload.
KEPT_ARRAYS = 4
# Stands in ``_recent`` behind the audio whose pitch was measured. To compare with the newest
# object would not do: a caller may give the same payload object twice.
_LEARNT = object()
# One more, for that marker.
KEPT = KEPT_ARRAYS + 1
# What all begin with; nobody writes to them.
_SILENT_CYCLE = np.zeros(1, np.float32)
_NO_SEAM = np.zeros(0, np.float32)


class ConcealingDecoder:
    """What a decoder without a loss model of its own inherits.

    A subclass appends every array it returns to ``self._recent``, or whatever ``_decoded``
    can make that array of again, and removes the first of more than ``KEPT``; that is the whole
    cost of a good payload.
    """

    __slots__ = ("_cycle", "_position", "_recent", "_seam", "rate_hz")

    can_recover = False

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self._recent: list[Any] = []  # a deque takes 1.2 KB more
        self._cycle, self._seam = _SILENT_CYCLE, _NO_SEAM
        self._position = 0

    def conceal(self, n_samples: int) -> Int16Array:
        """Return ``n_samples`` that continue the last decoded audio and fade by 60 ms."""
        if self._recent and self._recent[-1] is not _LEARNT:
            self._learn()
        positions = np.arange(self._position, self._position + n_samples)
        self._position += n_samples
        samples = self._cycle[positions % len(self._cycle)]
        n_seam = min(len(self._seam), n_samples)
        samples[:n_seam] += self._seam[:n_seam]
        self._seam = self._seam[n_seam:]
        samples *= fade(positions, self.rate_hz)
        concealed = np.rint(np.clip(samples, -32768, 32767)).astype(np.int16)
        concealed.flags.writeable = False
        return concealed

    def recover(self, next_payload: bytes, n_samples: int) -> Int16Array:
        """Return ``conceal(n_samples)``: the next payload has no copy of the lost one."""
        return self.conceal(n_samples)

    def reset(self) -> None:
        """Forget all history, as if new."""
        self._recent.clear()
        self._cycle, self._seam = _SILENT_CYCLE, _NO_SEAM
        self._position = 0

    def _decoded(self, kept: Any) -> Int16Array:
        """Return the array for which ``kept`` was appended to ``self._recent``."""
        samples: Int16Array = kept
        return samples

    def _learn(self) -> None:
        """Take the pitch cycle to repeat from the newest audio, and mark it as measured."""
        recent = [kept for kept in self._recent if kept is not _LEARNT][-KEPT_ARRAYS:]
        self._recent = [*recent, _LEARNT]
        lag_max = int(MAX_LAG_S * self.rate_hz)
        n_history = lag_max + int(TEMPLATE_S * self.rate_hz) + lag_max // 4
        history = newest_samples([self._decoded(kept) for kept in recent], n_history)
        lag = pitch_lag(history, self.rate_hz)
        n_blend = lag // 4
        ramp = np.linspace(0, 1, n_blend, endpoint=False, dtype=np.float32)
        cycle = history[-lag:].copy()
        # The cycle's end is faded into what preceded its start, so that repeats join.
        cycle[lag - n_blend :] *= 1 - ramp
        cycle[lag - n_blend :] += ramp * history[-lag - n_blend : -lag]
        # The first repeat starts where the good audio ended, not a step beside it.
        self._seam = (history[-1] - history[-lag - 1]) * (1 - ramp)
        self._cycle = cycle
        self._position = 0


def newest_samples(arrays: Sequence[Int16Array], n_samples: int) -> Float32Array:
    """Return the last ``n_samples`` of the arrays, zeros in front where they hold fewer."""
    history = np.zeros(n_samples, np.float32)
    if arrays:
        newest = np.concatenate(arrays)[-n_samples:]
        history[n_samples - len(newest) :] = newest
    return history


def pitch_lag(history: Float32Array, rate_hz: int) -> int:
    """Return the lag in samples at which ``history`` best repeats its last 20 ms."""
    lag_min, lag_max = int(MIN_LAG_S * rate_hz), int(MAX_LAG_S * rate_hz)
    n_template = int(TEMPLATE_S * rate_hz)
    template = history[-n_template:]
    # Element i is about the 20 ms that end (lag_max - i) samples before the end.
    region = history[-n_template - lag_max : -lag_min]
    energy = np.convolve(region * region, np.ones(n_template, np.float32), "valid")
    likeness = np.correlate(region, template, "valid") / np.sqrt(np.maximum(energy, 1.0))
    return lag_max - int(np.argmax(likeness))


def fade(positions: npt.NDArray[np.intp], rate_hz: int) -> Float32Array:
    """Return the gain at each position (in samples) since the loss began."""
    hold, end = HOLD_S * rate_hz, FADE_END_S * rate_hz
    gain: Float32Array = np.clip((end - positions) / (end - hold), 0, 1).astype(np.float32)
    return gain
