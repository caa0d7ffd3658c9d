"""When each frame is due: a schedule that never waits for a reply."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from typing import Literal, Protocol

from mediaserver.bench.figures import PERIOD_S
from mediaserver.bench.load import fine_timer

_BUNCH_S = 0.001
_FINEST_S = 0.00005
"""A finer timer than this costs more than it gives."""


class Paced(Protocol):
    """What sends a frame."""

    is_up: bool

    def send(self, due_s: float) -> None:
        """Send the one that was due then."""


def offsets_s(
    slots: Sequence[int], n_calls: int, frames: Literal["spread", "bunches"]
) -> list[float]:
    """When in the 20 ms the frames of these calls are due, of so many calls in all."""
    spread = [slot * PERIOD_S / n_calls for slot in slots]
    if frames == "spread":
        return spread
    return [int(offset / _BUNCH_S) * _BUNCH_S for offset in spread]


class Pacer:
    """Sends one frame for each call and period.

    What is late is sent at once, so the schedule never drifts. A call that is not up is left out.

    Args:
        calls: one for each offset; they may come up later.
        offsets: when in a period each is due, in rising order.
        begin_s: of the first period, on the monotonic clock.
    """

    def __init__(self, calls: Sequence[Paced], offsets: Sequence[float], begin_s: float) -> None:
        self._calls = calls
        self._offsets = offsets
        self._begin_s = begin_s
        self._at = 0
        self._n = 0
        self._end_s = float("inf")
        step_s = max(_FINEST_S, PERIOD_S / len(calls))
        self._timer = fine_timer.open_timer(begin_s, min(step_s, _BUNCH_S))
        asyncio.get_running_loop().add_reader(self._timer, self._tick)

    def end(self, end_s: float) -> None:
        """Nothing is due from then on."""
        self._end_s = end_s

    def close(self) -> None:
        """Send no more."""
        asyncio.get_running_loop().remove_reader(self._timer)
        os.close(self._timer)

    def _tick(self) -> None:
        os.read(self._timer, 8)
        calls, offsets = self._calls, self._offsets
        while True:
            due_s = self._begin_s + self._n * PERIOD_S + offsets[self._at]
            if due_s > time.monotonic() or due_s >= self._end_s:
                return
            call = calls[self._at]
            if call.is_up:
                call.send(due_s)
            self._at += 1
            if self._at == len(calls):
                self._at, self._n = 0, self._n + 1
