"""What the soak looks at in the processes of a server, and the bots that run in them.

Loading this module makes its process write a census whenever it gets SIGUSR1. The server's
parent loads it because ``soak_server.py`` does, a worker because its bots are here.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import itertools
import json
import os
import re
import signal
import sys
import tempfile
import tracemalloc
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from mediaserver.processors.api import Call, processor
from tests.server import churnbots
from tests.server.churnbots import restless

__all__ = ["restless", "swallows"]

FOLDER = Path(os.environ.get("SOAK_FOLDER", "."))
TRACE_FRAMES = int(os.environ.get("SOAK_TRACE", "0"))
CLOSE_WAIT = "08"
_numbers = itertools.count()
_first_trace: list[tracemalloc.Snapshot] = []


def _heap() -> dict[str, int]:
    """KiB that C code holds in all arenas, and that are free in them; nothing without glibc."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "malloc_info"):
        return {}
    libc.fopen.restype = ctypes.c_void_p
    path = FOLDER / f"malloc-{os.getpid()}.xml"
    file = ctypes.c_void_p(libc.fopen(str(path).encode(), b"w"))
    libc.malloc_info(0, file)
    libc.fclose(file)
    _, _, totals = path.read_text().rpartition("</heap>")
    sizes = {kind: int(n) for kind, n in re.findall(r'type="(\w+)".*? size="(\d+)"', totals)}
    free = sizes["fast"] + sizes["rest"]
    held = sizes["current"] - free + sizes["mmap"]
    return {"malloc_kib": held // 1024, "malloc_free_kib": free // 1024}


def _python_kib() -> int:
    """KiB in live blocks of Python's own allocator; only its print to stderr has it."""
    kept = os.dup(2)
    with tempfile.TemporaryFile() as told:
        os.dup2(told.fileno(), 2)
        try:
            sys._debugmallocstats()
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        told.seek(0)
        found = re.search(rb"bytes in allocated blocks *= *([\d,]+)", told.read())
    return int(found[1].replace(b",", b"")) // 1024 if found else 0


def _traced() -> list[str]:
    """The lines whose memory has grown most since the first census, with their KiB."""
    if not TRACE_FRAMES:
        return []
    now = tracemalloc.take_snapshot()
    if not _first_trace:
        _first_trace.append(now)
    grown = now.compare_to(_first_trace[0], "traceback")
    return [
        f"{each.size_diff / 1024:+.0f} KiB, {each.count_diff:+d}: "
        + " < ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(each.traceback))
        for each in grown[:25]
        if each.size_diff > 0
    ]


def _n_left_by_peer() -> int:
    """TCP connections whose other end has closed, while a pool still keeps ours."""
    sockets = set()
    for link in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the one that lists them
            sockets.add(os.readlink(f"/proc/self/fd/{link}"))
    rows = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/self/net/{name}").read_text().splitlines()[1:]
    ]
    return sum(row[3] == CLOSE_WAIT and f"socket:[{row[9]}]" in sockets for row in rows)


def census() -> dict[str, Any]:
    """What this process holds: memory, descriptors, threads, tasks, objects by type."""
    found = churnbots.here() | _heap()
    kinds = Counter(
        f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.get_objects()
    )
    found["types"] = {name: n for name, n in kinds.items() if n >= 50}
    found["blocks"] = sys.getallocatedblocks()
    found["held_kib"] = found.get("malloc_kib", 0) + _python_kib()
    found["left_by_peer"] = _n_left_by_peer()
    found["descriptors"] -= found["left_by_peer"]
    found["traced"] = _traced()
    return found


def _write(*_: object) -> None:
    """Write a census; the reader waits for the name without ``.part``."""
    part = FOLDER / f"{os.getpid()}-{next(_numbers)}.part"
    part.write_text(json.dumps(census()))
    part.rename(part.with_suffix(".json"))


@processor
async def swallows(call: Call) -> None:
    """Does not end when it is told to, for a little while."""
    try:
        async for _ in call.frames():
            pass
    finally:
        await asyncio.sleep(0.05)


signal.signal(signal.SIGUSR1, _write)
if TRACE_FRAMES and not tracemalloc.is_tracing():
    tracemalloc.start(TRACE_FRAMES)
