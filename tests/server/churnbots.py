"""Processors for the churn test, and a look at the process that they run in.

Loaded by file name, in this process or in a worker; nothing here keeps a call.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import io
import json
import os
import resource
import threading
import wave
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np

from mediaserver import CallEndedError
from mediaserver.processors.api import Call, Dtmf, Mark, Play, processor

# Plays and marks that began, and how each ended.
BEGUN: Counter[str] = Counter()
ENDED: Counter[str] = Counter()
_WATCHES: set[asyncio.Task[None]] = set()
# What must go with a call.
OF_A_CALL = ("Session", "CallView", "Inbound", "Outbound", "Playout", "Reorder", "MediaConnection")


def _clip() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as clip:
        clip.setparams((1, 2, 8000, 0, "NONE", ""))
        clip.writeframes(bytes(3200))
    return file.getvalue()


CLIP = _clip()


def _watch(kind: str, outcome: Play | Mark) -> None:
    """Note how a play or mark ends, by a task that its call does not cancel."""

    async def wait() -> None:
        ENDED[f"{kind} {await outcome.finished()}"] += 1

    BEGUN[kind] += 1
    task = asyncio.create_task(wait())
    _WATCHES.add(task)
    task.add_done_callback(_WATCHES.discard)


async def _pieces() -> AsyncIterator[Any]:
    for _ in range(50):
        yield np.full(800, 7, np.int16)
        await asyncio.sleep(0.01)


async def _act(call: Call, key: str) -> None:
    sources: dict[str, Any] = {
        "1": np.full(1600, 9, np.int16),
        "2": Path("missing.wav"),
        "3": CLIP,
        "4": _pieces,
    }
    if key == "4":
        _watch("play", await call.play(_pieces()))
    elif key in sources:
        _watch("play", await call.play(sources[key]))
    elif key == "5":
        _watch("mark", await call.mark("here"))
    elif key == "6":
        await call.clear()
    elif key == "7":
        play = await call.play(np.full(16_000, 9, np.int16))
        _watch("play", play)
        play.cancel()
    elif key == "8":
        raise RuntimeError("a bot's own fault")
    elif key == "0":
        await call.hangup()
    elif key == "9":  # for an isolated one
        os._exit(9)


@processor
async def restless(call: Call) -> None:
    """Plays, marks, clears, fails and hangs up, as the keys say."""
    async for event in call.events():
        if isinstance(event, Dtmf):
            try:
                await _act(call, event.digit)
            except CallEndedError:
                return


def here() -> dict[str, Any]:
    """What this process holds now, its memory trimmed."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    kinds = Counter(cls.__name__ for each in gc.get_objects() for cls in type(each).__mro__)
    tasks = Counter(str(task.get_coro().__qualname__) for task in asyncio.all_tasks())
    # The loop's executor starts its threads one by one, up to a bound, and keeps them.
    pool = ("asyncio_", "uvloop_", "ThreadPoolExecutor")
    threads = [t.name for t in threading.enumerate() if not t.name.startswith(pool)]
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "pid": os.getpid(),
        "tasks": dict(tasks),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": sorted(threads),
        "objects": {name: kinds[name] for name in OF_A_CALL},
        "begun": dict(BEGUN),
        "ended": dict(ENDED),
        "watched": len(_WATCHES),
        "rss_kib": pages * resource.getpagesize() // 1024,
    }


@processor
async def census(call: Call, folder: Path) -> None:
    """Writes down what its process holds while this call is up, once a key was pressed."""
    async for event in call.events():
        if isinstance(event, Dtmf):
            part = folder / f"{call.id}.part"
            part.write_text(json.dumps(here()))
            part.rename(folder / f"{call.id}.json")
