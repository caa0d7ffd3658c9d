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
        lag: 0 where ``start`` is right. Behind a pause, the seconds by which it may be too
            early: as long as the frame came late. If the pause was a stall, its backlog follows
            and ``start`` is right; if it was a hold, the frames after this second are moved
            forward. `mediaserver.media.settle` puts such frames in their place.
    """

    samples: Int16Array
    rate: int
    track: Track
    index: int
    start: float
    lost: bool = False
    lag: float = 0.0

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.rate
