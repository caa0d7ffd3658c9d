"""What plugins do that they should not, one each; all of them begin after some good frames."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from mediaserver import Call, Filter, Frame, processor

AFTER_FRAMES = 10
KEPT: list[Any] = []


class Criminal(Filter):
    """An echo until its eleventh frame; then ``commit`` with each."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self.n = 0

    def process(self, frame: Frame) -> Frame:
        self.n += 1
        if self.n > AFTER_FRAMES:
            self.commit()
        self.call.play_live(frame.samples, frame.rate)
        return frame

    def commit(self) -> None:
        raise NotImplementedError


class Spins(Criminal):
    def commit(self) -> None:
        while True:
            pass


class Sleeps(Criminal):
    def commit(self) -> None:
        time.sleep(0.05)


class Raises(Criminal):
    def commit(self) -> None:
        raise RuntimeError("each frame")


class Exits(Criminal):
    def commit(self) -> None:
        os._exit(3)


class Crashes(Criminal):
    def commit(self) -> None:
        ctypes.string_at(0)


class Allocates(Criminal):
    def commit(self) -> None:
        KEPT.append(np.ones(50 << 20, np.uint8))


class LeaksThreads(Criminal):
    def commit(self) -> None:
        for _ in range(20):
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()


class LeaksDescriptors(Criminal):
    def commit(self) -> None:
        KEPT.extend(os.open("/dev/null", os.O_RDONLY) for _ in range(100))


class ClosesDescriptors(Criminal):
    def commit(self) -> None:
        os.closerange(3, 512)


class Floods(Criminal):
    def commit(self) -> None:
        for _ in range(500):
            self.call.play_live(np.zeros(160, np.int16), 8000)
            logging.getLogger("flood").error("again")


class Patches(Criminal):
    def commit(self) -> None:
        def broken(*_: Any, **__: Any) -> Any:
            raise RuntimeError("patched")

        patched: Any = asyncio
        patched.sleep = patched.get_running_loop = patched.Future = broken
        patched.events.get_running_loop = patched.tasks.sleep = broken


@processor
async def never_returns(call: Call) -> None:
    """Echoes, and takes no notice of being cancelled."""
    while True:
        try:
            async for frame in call.frames():
                call.play_live(frame.samples, frame.rate)
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass


CRIMES: dict[str, Callable[..., Any]] = {
    crime.__name__: crime
    for crime in (
        Spins,
        Sleeps,
        Raises,
        Exits,
        Crashes,
        Allocates,
        LeaksThreads,
        LeaksDescriptors,
        ClosesDescriptors,
        Floods,
        Patches,
        never_returns,
    )
}
