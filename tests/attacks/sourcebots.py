"""A bot whose sources are odd: what becomes of each play is in its log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np

from mediaserver import Call, processor


async def forever(chunk: Any) -> AsyncIterator[Any]:
    """The same chunk for ever, without ever waiting."""
    while True:
        yield chunk


SOURCES: dict[str, Any] = {
    "empty arrays": np.zeros(0, np.int16),
    "empty bytes": b"",
    "floats": np.zeros(1000),
    "two dimensions": np.zeros((10, 2), np.int16),
    "no dimension": np.int16(3),
    "no length": iter(()),
    "nothing": None,
    "a text": "audio",
    "two hours": np.broadcast_to(np.int16(0), 8000 * 7200),
}
ENDLESS: dict[str, Any] = {
    "whole messages": np.zeros(160, np.int16),
    "one sample": np.ones(1, np.int16),
    "one octet": b"\x01",
    "a second": np.zeros(8000, np.int16),
}


@processor
async def odd_sources(call: Call) -> None:
    """Play each, live and not; those that fail by themselves first."""
    for live in (False, True):
        for name, chunk in SOURCES.items():
            play = await call.play(forever(chunk), 8000, live=live)
            print(f"{name}, live {live}: {await play.finished()} ({play.reason})", flush=True)
        for name, chunk in ENDLESS.items():
            play = await call.play(forever(chunk), 8000, live=live)
            for _ in range(20):
                await asyncio.sleep(0)  # the loop has its turn
            await asyncio.sleep(0.05)
            print(f"{name}, live {live}: {play.state}", flush=True)
            await call.clear()
    print("all sources were tried", flush=True)
