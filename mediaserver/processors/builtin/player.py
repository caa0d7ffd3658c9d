"""A handler that plays audio files."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from mediaserver.processors.api import Call, Play, processor


@processor
async def player(call: Call, clips: list[Path], loop: bool = False, gap_s: float = 0.0) -> None:
    """Play audio files one after the other, to their end or for ever.

    A clip that is cleared, by barge-in for one, is not played again: the next one follows.

    Args:
        call: the call.
        clips: audio files of any kind.
        loop: begin again behind the last.
        gap_s: silence behind each, in seconds.
    """
    if not clips or not gap_s >= 0:
        raise ValueError("player has one clip or more, and a gap of 0 s or more")
    silence = np.zeros(round(gap_s * call.rate), np.int16)
    before: Play | None = None
    for clip in itertools.cycle(clips) if loop else clips:
        play = await call.play(clip, resume=True)
        if len(silence):
            play = await call.play(silence, resume=True)
        # One clip is queued ahead, so that there is no seam between two.
        if before is not None:
            await before.finished()
        before = play
    if before is not None:
        await before.finished()
