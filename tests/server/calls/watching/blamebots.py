"""Bots that hold up the loop, each in its own way."""

from __future__ import annotations

import asyncio
import gc
import re
import time

from mediaserver import Call, Filter, Frame, processor


class Sleepy(Filter):
    """Once, in its fifth frame."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self.n = 0

    def process(self, frame: Frame) -> Frame:
        self.n += 1
        if self.n == 5:
            rest(0.4)
        return frame


def rest(seconds: float) -> None:
    time.sleep(seconds)  # the line


@processor
async def busy(call: Call) -> None:
    """A handler that computes."""
    async for frame in call.frames():
        if frame.index == 4:
            until = time.thread_time() + 0.3
            while time.thread_time() < until:
                pass


@processor
async def child(call: Call) -> None:
    """A task of a handler's."""

    async def work(owner: Call) -> None:
        rest(0.4)

    task = asyncio.create_task(work(call))
    async for _ in call.frames():
        pass
    await task


@processor
async def collecting(call: Call) -> None:
    """Garbage: a great many objects that the collector has to walk."""
    kept: list[list[int]] = []
    while len(kept) < 6_000_000:
        kept.extend([n] for n in range(50_000))
        await asyncio.sleep(0)
    gc.collect()
    del kept
    async for _ in call.frames():
        pass


@processor
async def in_c(call: Call) -> None:
    """Code in C that keeps the interpreter's lock."""
    re.match(r"(a+)+$", "a" * 25 + "b")
    async for _ in call.frames():
        pass


class Slow(Filter):
    """Each frame takes longer than its budget, and less than anybody would notice."""

    def process(self, frame: Frame) -> Frame:
        time.sleep(0.008)
        return frame
