"""Processors as users write them, for the test that an ended call leaves nothing to collect."""

from __future__ import annotations

import asyncio

import numpy as np

from mediaserver.processors.api import Call, Filter, Frame, Hint, processor


@processor
async def talker(call: Call) -> None:
    """It listens, plays in each way, follows events, and has a task of its own."""

    async def follow() -> None:
        async for event in call.events():
            assert not isinstance(event, Hint) or event.name

    following = asyncio.create_task(follow())
    tone = np.full(800, 1000, dtype=np.int16)

    async def source() -> object:
        for _ in range(3):
            yield tone

    await (await call.play(tone, rate=8000)).finished()
    await (await call.play(source(), rate=8000)).finished()
    async for frame in call.frames():
        call.play_live(frame.samples, frame.rate)
    await following


@processor
async def fails_late(call: Call) -> None:
    """It raises in the middle."""
    async for frame in call.frames():
        if frame.start > 0.2:
            raise ValueError("as a user's code does")


@processor
async def never_ends(call: Call) -> None:
    """It waits for what never comes, and is cancelled behind its grace."""
    await asyncio.Event().wait()


class FailsInFrame(Filter):
    """A filter that raises."""

    def process(self, frame: Frame) -> Frame:
        if frame.start > 0.2:
            raise ValueError("as a user's code does")
        return frame
