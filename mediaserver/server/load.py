"""Whether a process has too much to do for new calls: late loops, memory. Pure but for a timer.

    what      too much                                          enough again
    lateness  most of the last second's beats are late by       at no time in the last 5 s were
              more than the limit                               most late by half of it
    busyness  in most of them the loop worked for more than     at no time in the last second did
              85 % of the time                                  most work for 80 %
    memory    above the watermark                               below nine tenths of it

Most, because one stall is no overload.

Busyness comes before lateness: a loop that has no time left is late a moment later, and each call
that it took meanwhile makes that worse for all. Lateness also finds what takes no CPU time, such
as a processor that sleeps.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from time import monotonic
from typing import Protocol

from mediaserver.logs import LimitedLog
from mediaserver.settings import Settings

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

OVER_S = 1.0
BUSY = 0.85
BUSY_UNDER_PART = 0.8 / BUSY
BUSY_UNDER_S = 1.0
# A loop that is very late has few beats in a second: so many count all the same.
LEAST_BEATS = 3
UNDER_S = 5.0
UNDER_PART = 0.5
MEMORY_UNDER_PART = 0.9
LOOK_EVERY_S = 0.25


class Lateness:
    """Whether an event loop is late, or busy, all the time.

    **Call ``beat`` at each regular beat of the loop.**

    Args:
        limit: how late it may be, in seconds, or how busy; None: any.
        under_part: it must fall below this part of the limit,
        under_s: for so long, to be in time again; None: ``UNDER_S``.

    Attributes:
        is_late: it has been above the limit for a second, and not below since.
    """

    def __init__(
        self,
        limit: float | None,
        *,
        under_part: float = UNDER_PART,
        under_s: float | None = None,
    ) -> None:
        self.is_late: bool = False
        self._limit = limit
        self._under_part = under_part
        self._under_s = under_s
        self._beats: deque[tuple[float, float]] = deque()
        # How many of the beats are above the limit, and above its lower part.
        self._n_over = 0
        self._n_above = 0
        self._late_at = 0.0

    def beat(self, value: float, now: float) -> None:
        """The loop was so late, or busy, for this beat."""
        limit = self._limit
        if limit is None:
            return
        beats = self._beats
        beats.append((now, value))
        self._tally(value, 1)
        while len(beats) > LEAST_BEATS and beats[0][0] < now - OVER_S:
            self._tally(beats.popleft()[1], -1)
        most = len(beats) // 2
        if self._n_above > most:
            self._late_at = now
        if self.is_late:
            under_s = UNDER_S if self._under_s is None else self._under_s
            self.is_late = now - self._late_at < under_s
        elif self._n_over > most and len(beats) >= LEAST_BEATS:
            self.is_late = now - beats[0][0] >= OVER_S * 0.9

    def _tally(self, value: float, n: int) -> None:
        # Counted, not sorted: twenty times a second in every process.
        assert self._limit is not None
        self._n_over += n * (value > self._limit)
        self._n_above += n * (value > self._limit * self._under_part)


class LoopLoad:
    """Whether an event loop has too much to do for another call: it is late, or has no time left.

    **Call ``beat`` at each regular beat of the loop.**

    Args:
        limit_ms: how late it may be; None: as late and busy as it likes.
    """

    def __init__(self, limit_ms: float | None) -> None:
        self._lateness = Lateness(None if limit_ms is None else limit_ms / 1000)
        self._busyness = Lateness(
            None if limit_ms is None else BUSY, under_part=BUSY_UNDER_PART, under_s=BUSY_UNDER_S
        )

    @property
    def is_late(self) -> bool:
        """It takes no new call now."""
        return self._lateness.is_late or self._busyness.is_late

    def beat(self, late_s: float, busy: float, now: float) -> None:
        """The beat came so late; the loop worked for this part of the time since the last."""
        self._lateness.beat(late_s, now)
        self._busyness.beat(busy, now)


class Watermark:
    """Whether there is too much of something.

    Args:
        limit: the watermark; None: there is none.

    Attributes:
        is_over: it was above, and has not been below nine tenths since.
    """

    def __init__(self, limit: float | None) -> None:
        self.is_over: bool = False
        self._limit = limit

    def look(self, value: float) -> None:
        """There is so much now."""
        if self._limit is not None:
            self.is_over = value > self._limit * (MEMORY_UNDER_PART if self.is_over else 1.0)


class LoadHost(Protocol):
    """Whose load is looked at."""

    @property
    def is_late(self) -> bool:
        """No process that could carry a new call is in time."""

    @property
    def resident_bytes(self) -> int:
        """Memory of all its processes."""

    def count(self, name: str) -> None:
        """One more of ``name``."""


class LoadGuard:
    """Says why new calls must wait, if they must.

    **Call ``start``; then look at ``why``; at the end call ``stop``.**

    Args:
        settings: the limits.
        host: whose load it is.

    Attributes:
        why: the reason, in a few words; empty: there is none.
    """

    def __init__(self, settings: Settings, host: LoadHost) -> None:
        self.why: str = ""
        self._settings = settings
        self._host = host
        limit_mb = settings.shed_memory_mb
        self._memory = Watermark(None if limit_mb is None else limit_mb * 2**20)
        self._timer: asyncio.TimerHandle | None = None
        self._memory_at = float("-inf")

    def start(self) -> None:
        """Look from now on."""
        self._timer = asyncio.get_running_loop().call_later(LOOK_EVERY_S, self.start)
        self.look(monotonic())

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def look(self, now: float) -> None:
        """Judge what is there now; a change is logged, and a new overload counted."""
        if self._settings.shed_memory_mb is not None and now >= self._memory_at + 1.0:
            self._memory_at = now
            self._memory.look(self._host.resident_bytes)
        why = "late" if self._host.is_late else "memory" if self._memory.is_over else ""
        if why == self.why:
            return
        if why and not self.why:
            self._host.count("overloads")
            limited.warning("overload", "new calls are refused: %s", self._text(why))
        elif not why:
            limited.warning("overload over", "new calls are taken again")
        self.why = why

    def _text(self, why: str) -> str:
        settings = self._settings
        if why == "memory":
            return f"the memory is above shed_memory_mb ({settings.shed_memory_mb} MiB)"
        return (
            f"the event loop is late by more than shed_lag_ms ({settings.shed_lag_ms:g} ms),"
            " or works all the time"
        )
