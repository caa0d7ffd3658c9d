"""A filter: makes the caller louder or softer for everything behind it in the chain.

mediaserver serve --processor "examples/gain_filter.py:Gain?db=-6" --processor echo
"""

from __future__ import annotations

import numpy as np

from mediaserver import Call, Filter, Frame


class Gain(Filter):
    """Changes the level of the inbound track; what would overflow is clipped.

    Args:
        call: the call.
        db: how much louder; negative is softer.
    """

    def __init__(self, call: Call, db: float = 6.0) -> None:
        super().__init__(call)
        self.factor = 10 ** (db / 20)

    def process(self, frame: Frame) -> Frame | None:
        """Pass on a louder frame."""
        if frame.track != "inbound":
            return frame
        louder = np.clip(np.rint(frame.samples * self.factor), -32768, 32767)
        return frame.with_samples(louder.astype(np.int16))
