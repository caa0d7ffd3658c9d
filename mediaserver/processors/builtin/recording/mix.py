"""Mixes two channels into one, without losing either. Pure.

If both channels hold the same sound in opposite phase, as the echo of a line with swapped wires
does, their sum would be silence. Then the second channel is inverted before it is added.
"""

from __future__ import annotations

import numpy as np

from mediaserver.media.frames import Int16Array

BLOCK_S = 0.04
RAMP_S = 0.005
# Correlation of a block's channels: below the first the second channel is turned round, above
# the second it is not. Two voices come as far by chance, and turning one round is not heard.
OPPOSITE, ALIKE = -0.5, 0.0


class MonoMix:
    """Mixes stereo, block by block.

    **Call `mix` for each stretch, in order; all but the last hold `block_samples` or a multiple.**

    Args:
        rate_hz: sample rate.

    Attributes:
        block_samples: of one block.
    """

    def __init__(self, rate_hz: int) -> None:
        self.block_samples: int = round(BLOCK_S * rate_hz)
        self._n_ramp = round(RAMP_S * rate_hz)
        self._sign: float | None = None

    def mix(self, stereo: Int16Array) -> Int16Array:
        """The sum of both channels, clipped; int16 ``(n, 2)`` gives ``(n,)``."""
        blocks = range(0, len(stereo), self.block_samples)
        mixed = [self._block(stereo[at : at + self.block_samples]) for at in blocks]
        return np.concatenate([np.zeros(0, np.int16), *mixed])

    def _block(self, stereo: Int16Array) -> Int16Array:
        left, right = stereo[:, 0].astype(np.float64), stereo[:, 1].astype(np.float64)
        power = np.sqrt((left @ left) * (right @ right))
        likeness = float(left @ right / power) if power else 0.0
        before = 1.0 if self._sign is None else self._sign
        sign = before
        if likeness < OPPOSITE:
            sign = -1.0
        elif likeness > ALIKE:
            sign = 1.0
        gain = np.full(len(left), sign)
        if self._sign is not None and sign != before:
            ramp = np.linspace(before, sign, self._n_ramp)[: len(gain)]
            gain[: len(ramp)] = ramp
        self._sign = sign
        summed = np.clip(np.rint(left + gain * right), -32768, 32767)
        return np.asarray(summed, np.int16)
