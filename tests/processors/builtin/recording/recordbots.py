"""Bots whose calls are recorded."""

from __future__ import annotations

import asyncio
import random

import numpy as np

from mediaserver import Call, Reconnected, processor
from mediaserver.carrier.plan import speech


@processor
async def talks(call: Call) -> None:
    """Says something again and again, and falls silent in the middle of it, at random.

    What a lost socket leaves in the far end's queue is in nobody's ledger: it is cleared.
    """
    call.spawn(_clears(call))
    dice = random.Random(call.id)
    clip = speech().samples
    while True:
        length = round(16000 * dice.uniform(0.3, 1.6))
        at = dice.randrange(len(clip) - length)
        await call.play(clip[at : at + length], rate=16000)
        await asyncio.sleep(dice.uniform(0.1, 1.4))
        if dice.random() < 0.5:
            await call.clear()
            await asyncio.sleep(dice.uniform(0.0, 0.4))


async def _clears(call: Call) -> None:
    async for event in call.events():
        if isinstance(event, Reconnected):
            await call.clear()


@processor
async def pauses(call: Call) -> None:
    """A tone all the while; the recording pauses from 0.6 s to 1.2 s, as this bot sees it."""
    tone = np.full(8000 * 3, 4000, np.int16)
    tone[::2] *= -1
    await call.play(tone, rate=8000)
    await call.mark("said")
    await asyncio.sleep(0.6)
    call.recording.pause()
    call.recording.pause()
    await asyncio.sleep(0.6)
    call.recording.resume()
    async for _ in call.frames():
        pass
