"""Bots that fail in every way there is, as their call's parameter ``how`` says."""

from __future__ import annotations

import asyncio
import atexit
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, NoReturn

import numpy as np

from mediaserver.media.frames import Frame
from mediaserver.processors.api import Call, Dtmf, Filter, processor


def leaves() -> NoReturn:
    sys.exit(3)


def interrupts() -> NoReturn:
    raise KeyboardInterrupt


def closes() -> NoReturn:
    raise GeneratorExit


def groups() -> NoReturn:
    raise BaseExceptionGroup("several", [SystemExit(3), KeyboardInterrupt(), ValueError()])


def cancels() -> NoReturn:
    raise asyncio.CancelledError


RAISES: dict[str, Callable[[], NoReturn]] = {
    "leaves": leaves,
    "interrupts": interrupts,
    "closes": closes,
    "groups": groups,
    "cancels": cancels,
}
PLACES = ("handler", "source", "source_end", "task", "group", "callback", "thread", "finished")
FILTER_PLACES = ("init", "process", "end")


async def _source(fail: Callable[[], NoReturn], *, at_end: bool) -> AsyncIterator[Any]:
    try:
        yield np.zeros(160, np.int16)
        if not at_end:
            fail()
        await asyncio.sleep(60)
    finally:
        if at_end:
            fail()


@processor
async def fails(call: Call, how: str = "") -> None:
    """Echoes; at its third frame something of it raises, if ``how`` is ``place raise``."""
    place, _, name = how.partition(" ")
    fail = RAISES.get(name)
    n = 0
    async for frame in call.frames():
        n += 1
        if n == 3 and fail is not None:
            await _fail(call, place, fail)
        call.play_live(frame.samples, frame.rate)


async def _fail(call: Call, place: str, fail: Callable[[], NoReturn]) -> None:
    async def task() -> None:
        await asyncio.sleep(0)
        fail()

    async def behind(play: Any) -> None:
        await play.finished()
        fail()

    match place:
        case "handler":
            fail()
        case "source":
            await call.play(_source(fail, at_end=False))
        case "source_end":
            await call.play(_source(fail, at_end=True))
            await asyncio.sleep(0.01)
            await call.clear()
        case "task":
            call.kept = asyncio.ensure_future(task())  # type: ignore[attr-defined]  # else collected
        case "group":
            async with asyncio.TaskGroup() as group:
                group.create_task(task())
        case "callback":
            asyncio.get_running_loop().call_later(0.001, fail)
        case "thread":
            await asyncio.to_thread(fail)
        case "finished":
            play = await call.play(np.zeros(160, np.int16))
            call.kept = asyncio.ensure_future(behind(play))  # type: ignore[attr-defined]  # as above
            play.cancel()


class Fails(Filter):
    """The same of a filter: ``init``, ``process`` or ``end``."""

    def __init__(self, call: Call, how: str = "") -> None:
        super().__init__(call)
        self.place, _, self.name = how.partition(" ")
        self._fail("init")

    def process(self, frame: Frame) -> Frame:
        self._fail("process")
        return frame

    def close(self) -> None:
        self._fail("end")

    def _fail(self, place: str) -> None:
        if place == self.place and self.name in RAISES:
            RAISES[self.name]()


@processor
async def stays(call: Call, how: str = "") -> None:
    """Keeps its process from ending, once a key was pressed."""
    async for event in call.events():
        if isinstance(event, Dtmf):
            break
    call.play_live(np.full(160, 1000, np.int16))  # so that it is known to be there
    match how:
        case "swallow":
            await _swallow()
        case "block":
            time.sleep(60)  # noqa: ASYNC251  # on purpose
        case "spin":
            while True:
                pass
        case "thread":
            threading.Thread(target=time.sleep, args=(60,)).start()
        case "executor":
            await asyncio.to_thread(time.sleep, 60)
        case "finally":
            try:
                await asyncio.sleep(3600)
            finally:
                time.sleep(60)  # noqa: ASYNC251  # on purpose
        case "atexit":
            atexit.register(time.sleep, 60)
    await asyncio.sleep(3600)


async def _swallow() -> None:
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            continue


@processor
async def hangs(call: Call) -> None:
    """Echoes; once a key was pressed it never lets go of its process."""

    async def watch() -> None:
        async for event in call.events():
            while isinstance(event, Dtmf):
                pass

    async with asyncio.TaskGroup() as group:
        group.create_task(watch())
        async for frame in call.frames():
            call.play_live(frame.samples, frame.rate)
