"""A bot that says how many other calls it sees, as the value of what it plays."""

from __future__ import annotations

import asyncio

import numpy as np

from mediaserver import Call, processor


@processor
async def seeing(call: Call) -> None:
    """Waits for one other call, for ten seconds at most."""
    for _ in range(1000):
        if call.calls:
            break
        await asyncio.sleep(0.01)
    await call.play(np.full(160, len(call.calls), np.int16), 8000)
    async for _event in call.events():
        pass
