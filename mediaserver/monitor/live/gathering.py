"""What all processes say of their live calls, asked once for all who look."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, NamedTuple

import msgspec

from mediaserver.figures.figures import Measured
from mediaserver.monitor.gathered import Gathered
from mediaserver.monitor.live.feed import LEVELS, json_part, part
from mediaserver.monitor.live.overview import Trend
from mediaserver.server.base import Service
from mediaserver.server.live import forms
from mediaserver.settings import Settings

TABLE_EVERY_S = 1.0
LEVELS_EVERY_S = 0.125
MOST_WARNINGS = 30
# Counters that tell of somebody or something that was turned away or lost.
_TROUBLED = ("refused", "lost_", "loop_blocked", "processor_errors", "gave_way", "overloads")
_WORKER = struct.Struct("!iI")


class Shared:
    """A cached value: if several ask at about the same time, it is made only once.

    Args:
        make: makes the value.
        for_s: how long the value stays valid.
    """

    def __init__(self, make: Callable[[], Awaitable[bytes]], for_s: float) -> None:
        self._make = make
        self._for_s = for_s
        self._made_at = float("-inf")
        self._made = b""
        self._lock = asyncio.Lock()

    async def get(self) -> bytes:
        """It, as it was made last, or anew."""
        async with self._lock:
            if monotonic() - self._made_at >= self._for_s:
                self._made_at = monotonic()
                self._made = await self._make()
            return self._made


class Found(NamedTuple):
    """A look at one call, and the number of the worker that has the call."""

    look: forms.Look
    worker: int | None


class Gathering:
    """Asks the processes.

    Args:
        settings: see ``Settings``.
        service: the media side.

    Attributes:
        table: the parts of overview and table; good for most of a second.
        levels: the part of all levels.
    """

    def __init__(self, settings: Settings, service: Callable[[], Service]) -> None:
        self._settings = settings
        self._service = service
        self._gathered = Gathered()
        self._trend = Trend()
        self._began_at = time.time()
        # A little less than the time between two looks, or every second one is of the past.
        self.table: Shared = Shared(self._table, 0.8 * TABLE_EVERY_S)
        self.levels: Shared = Shared(self._levels, 0.8 * LEVELS_EVERY_S)

    async def _levels(self) -> bytes:
        answers = await self._service().ask(forms.LEVELS)
        blocks = [
            _WORKER.pack(_number(worker), len(body) // forms.LEVEL_BYTES) + body
            for worker, body in answers
        ]
        return part(LEVELS, b"".join(blocks))

    async def _table(self) -> bytes:
        rows: list[tuple[int, forms.Row]] = []
        warnings: list[forms.LogLine] = []
        calls_of: dict[int, int] = {}
        for worker, body in await self._service().ask(forms.ROWS):
            told = msgspec.msgpack.decode(body, type=forms.Rows)
            calls_of[_number(worker)] = len(told.rows)
            rows += [(_number(worker), row) for row in told.rows]
            warnings += told.warnings
        await self._hear_figures()
        overview = self._overview(calls_of, sorted(warnings, key=lambda line: line.at))
        return json_part(overview) + json_part({"type": "table", "rows": rows})

    async def _hear_figures(self) -> None:
        answers = await self._service().ask("figures")
        read = [(w, msgspec.msgpack.decode(body, type=Measured)) for w, body in answers]
        self._trend.heard(self._gathered.heard(read), monotonic())

    def _overview(self, calls_of: dict[int, int], warnings: list[forms.LogLine]) -> dict[str, Any]:
        service = self._service()
        counters = service.counters
        return {
            "type": "overview",
            "at": time.time(),
            "began_at": self._began_at,
            "status": service.status,
            "calls": service.n_calls,
            "max_calls": self._settings.max_calls,
            "connections": service.n_connections,
            "workers": service.worker_states,
            "calls_of": calls_of,
            **self._trend.told(),
            "troubled": {n: c for n, c in counters.items() if c and n.startswith(_TROUBLED)},
            "warnings": warnings[-MOST_WARNINGS:],
        }

    async def look(self, wanted: forms.LookFor, worker: int | None = None) -> Found | None:
        """What is new in one call; None: nobody has it. ``worker``: who had it last."""
        argument = msgspec.json.encode(wanted).decode()
        for index, body in await self._service().ask(forms.LOOK, argument, worker):
            if body:
                return Found(msgspec.msgpack.decode(body, type=forms.Look), index)
        return None

    async def operate(self, asked: forms.Operate) -> bool:
        """Do something to a call; False: nobody has it."""
        argument = msgspec.json.encode(asked).decode()
        return any(body for _, body in await self._service().ask(forms.OPERATE, argument))


def _number(worker: int | None) -> int:
    return -1 if worker is None else worker
