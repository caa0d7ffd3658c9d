"""Bots that hold up the loop, each in its own way."""

from __future__ import annotations

import asyncio
import gc
import re
import subprocess
import time
from collections.abc import AsyncIterator

import numpy as np

from mediaserver import Call, Filter, Frame, processor
from mediaserver.media.frames import Int16Array


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


@processor
async def spawned(call: Call) -> None:
    """A task of the call's, in a library."""
    call.spawn(in_a_library())
    async for _ in call.frames():
        pass


async def in_a_library() -> None:
    subprocess.run(["sleep", "0.4"], check=True)  # noqa: ASYNC221  # the task's line: it blocks


@processor
async def sourced(call: Call) -> None:
    """A source of a play."""

    async def source() -> AsyncIterator[Int16Array]:
        yield np.zeros(160, np.int16)
        time.sleep(0.4)  # noqa: ASYNC251  # the source's line: it blocks

    await call.play(source())
    async for _ in call.frames():
        pass


class Later:
    """Keeps its call, for a callback."""

    def __init__(self, call: Call) -> None:
        self.call = call

    def act(self) -> None:
        time.sleep(0.4)  # the callback's line


@processor
async def later(call: Call) -> None:
    """A callback of the loop's."""
    asyncio.get_running_loop().call_later(0.1, Later(call).act)
    async for _ in call.frames():
        pass


class Opening(Filter):
    """At the beginning of its call."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        time.sleep(0.4)  # the filter's line

    def process(self, frame: Frame) -> Frame:
        return frame


class Slow(Filter):
    """Each frame takes longer than its budget, and less than anybody would notice."""

    def process(self, frame: Frame) -> Frame:
        time.sleep(0.008)
        return frame
