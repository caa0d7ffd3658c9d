"""The echo as a handler, for the benchmark of forms."""

from __future__ import annotations

from mediaserver import Call, processor


@processor
async def echo(call: Call) -> None:
    """Plays every frame back as it comes."""
    async for frame in call.frames():
        await call.play(frame.samples, rate=frame.rate, live=True)
