"""What processors see of a call's audio."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

Int16Array = npt.NDArray[np.int16]
Track = Literal["inbound", "outbound"]


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One stretch of decoded audio of one track, in time order.

    Attributes:
        samples: int16, shape ``(n,)``, read-only, mono.
        rate: sample rate in Hz.
        track: ``inbound`` (what the far party says) or ``outbound``.
        index: counts the frames of this track from 0, without gaps.
        start: seconds of stream time at the first sample.
        lost: the audio never arrived; the samples conceal the gap.
    """

    samples: Int16Array
    rate: int
    track: Track
    index: int
    start: float
    lost: bool = False

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.rate
