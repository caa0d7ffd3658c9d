"""Payloads that differ from one another, so that a lost or changed one is seen."""

from __future__ import annotations

import random

FRAME_BYTES = 160
"""One 20 ms PCMU payload."""


def payloads(count: int) -> list[bytes]:
    """``count`` different 20 ms PCMU payloads, the same in each run.

    Code 0x7F is left out: it is minus zero, which has no linear value of its own, so an
    echo through linear PCM gives back 0xFF.
    """
    dice = random.Random(7)
    codes = bytes(code for code in range(256) if code != 0x7F)
    return [bytes(dice.choices(codes, k=FRAME_BYTES)) for _ in range(count)]
