"""Built-in ``echo``: the caller hears himself."""

from __future__ import annotations

from mediaserver.processors.core import Call, processor


@processor
async def echo(call: Call) -> None:
    """Play every frame back as it comes."""
    async for frame in call.frames():
        await call.play(frame.samples, frame.rate, live=True)
