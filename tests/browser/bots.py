"""Processors for the tests in a browser."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np

from mediaserver import Call, processor
from tests.browser.live import BOT_HZ, tone


@processor
async def humming(call: Call) -> None:
    """Hums, whatever happens."""

    async def audio() -> AsyncIterator[np.ndarray]:
        while True:
            yield tone(0.5, BOT_HZ)

    await call.play(audio(), rate=8000)
    async for _ in call.events():
        pass


@processor
async def breaking(call: Call) -> None:
    """Breaks after a moment."""
    await asyncio.sleep(0.5)
    raise RuntimeError("it broke")
