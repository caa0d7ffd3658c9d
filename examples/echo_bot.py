"""Echo: callers hear themselves."""

from __future__ import annotations

from mediaserver import Call, processor


@processor
async def echo(call: Call) -> None:
    async for frame in call.frames():
        await call.play(frame.samples, frame.rate, live=True)
