"""How loud a caller is."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from mediaserver.media.frames import Int16Array
from telephony_codecs.g711 import load_audioop

FULL_SCALE = 32768
SILENCE_DBFS = -100.0


class Levels:
    """Levels of the frames that were added, in dB against full scale (dBFS).

    Frames whose root mean square is below 1 count as silence.
    """

    __slots__ = ("_energy", "_last_dbfs", "_n_samples", "_peak")

    def __init__(self) -> None:
        self._peak = 0
        self._energy = 0.0
        self._n_samples = 0
        self._last_dbfs: float | None = None

    def add(self, samples: Int16Array) -> None:
        """Add one frame, not empty."""
        level = rms(samples)
        self._peak = max(self._peak, peak(samples))
        self._energy += level * level * len(samples)
        self._n_samples += len(samples)
        self._last_dbfs = 20 * math.log10(level / FULL_SCALE) if level else SILENCE_DBFS

    def take_last(self) -> float | None:
        """The level of the last frame; None if none was added since the last call."""
        last, self._last_dbfs = self._last_dbfs, None
        return last

    @property
    def peak_dbfs(self) -> float | None:
        """The level of the loudest sample; None if all were 0 or there were none."""
        return 20 * math.log10(self._peak / FULL_SCALE) if self._peak else None

    @property
    def mean_dbfs(self) -> float | None:
        """The level of the mean power; None if all samples were 0 or there were none."""
        if not self._energy:
            return None
        return 10 * math.log10(self._energy / self._n_samples / FULL_SCALE**2)


def _rms_of(audioop: Any) -> Callable[[Int16Array], int]:
    """The root of the mean square of samples; by ``audioop``, 25 times as fast as numpy."""
    if audioop is None:
        return lambda samples: int(np.sqrt(np.square(samples.astype(np.float64)).mean()))
    of_octets = audioop.rms

    def rms(samples: Int16Array) -> int:
        level: int = of_octets(samples, 2)
        return level

    return rms


def _peak_of(audioop: Any) -> Callable[[Int16Array], int]:
    """The largest sample, without its sign; by ``audioop`` likewise."""
    if audioop is None:
        return lambda samples: max(int(samples.max()), -int(samples.min()))
    of_octets = audioop.max

    def peak(samples: Int16Array) -> int:
        level: int = of_octets(samples, 2)
        return level

    return peak


rms: Callable[[Int16Array], int] = _rms_of(load_audioop())
peak: Callable[[Int16Array], int] = _peak_of(load_audioop())
