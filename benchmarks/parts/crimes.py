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
        """Echo, and commit the crime from the eleventh frame on."""
        self.n += 1
        if self.n > AFTER_FRAMES:
            self.commit()
        self.call.play_live(frame.samples, frame.rate)
        return frame

    def commit(self) -> None:
        """Do it."""
        raise NotImplementedError


class Spins(Criminal):
    """Computes for ever."""

    def commit(self) -> None:
        """Do it."""
        while True:
            pass


class Sleeps(Criminal):
    """50 ms a frame."""

    def commit(self) -> None:
        """Do it."""
        time.sleep(0.05)


class Raises(Criminal):
    """With each frame."""

    def commit(self) -> None:
        """Do it."""
        raise RuntimeError("each frame")


class Exits(Criminal):
    """Ends its process."""

    def commit(self) -> None:
        """Do it."""
        os._exit(3)


class Crashes(Criminal):
    """A segmentation fault."""

    def commit(self) -> None:
        """Do it."""
        ctypes.string_at(0)


class Allocates(Criminal):
    """50 MiB a frame."""

    def commit(self) -> None:
        """Do it."""
        KEPT.append(np.ones(50 << 20, np.uint8))


class LeaksThreads(Criminal):
    """20 a frame."""

    def commit(self) -> None:
        """Do it."""
        for _ in range(20):
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()


class LeaksDescriptors(Criminal):
    """100 a frame."""

    def commit(self) -> None:
        """Do it."""
        KEPT.extend(os.open("/dev/null", os.O_RDONLY) for _ in range(100))


class ClosesDescriptors(Criminal):
    """Whoever they belong to."""

    def commit(self) -> None:
        """Do it."""
        os.closerange(3, 512)


class Floods(Criminal):
    """Plays and logs far too much."""

    def commit(self) -> None:
        """Do it."""
        for _ in range(500):
            self.call.play_live(np.zeros(160, np.int16), 8000)
            logging.getLogger("flood").error("again")


class Patches(Criminal):
    """Breaks asyncio."""

    def commit(self) -> None:
        """Do it."""

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

BLOCKING = ("Spins", "Sleeps")
"""Those that hold up the event loop: they must be named."""
