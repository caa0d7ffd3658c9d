"""Bots whose calls go wrong, each in its own way, and one that is well."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from mediaserver import Call, processor

SPEECH = Path(__file__).parents[1] / "vectors/codecs/speech_16k.wav"


@processor
async def talks(call: Call) -> None:
    """Says the same all the while, with pauses."""
    while True:
        play = await call.play(SPEECH)
        await play.finished()
        await asyncio.sleep(0.3)


@processor
async def mute(call: Call) -> None:
    """Could play, and does not."""
    async for _ in call.frames():
        pass


@processor(tap=True)
async def listens(call: Call) -> None:
    """Is not to play."""
    async for _ in call.frames():
        pass


@processor
async def floods(call: Call) -> None:
    """Sends more than any buffer holds."""
    while True:
        await call.send({"event": "filling", "text": "x" * 60_000})


def rest(seconds: float) -> None:
    time.sleep(seconds)


@processor
async def blocks(call: Call) -> None:
    """Holds up all other calls of its process for a second, once."""
    n = 0
    async for _ in call.frames():
        n += 1
        if n == 30:
            rest(1.0)
