"""Whether a process has too much to do for new calls: late loops, memory. Pure but for a timer.

    what      too much                                          enough again
    lateness  most of the last second's beats are late by       at no time in the last 5 s were
              more than the limit                               most late by half of it, or a fifth
                                                                of the calls have ended
    busyness  with one call more the loop would work for        it would for less than 84 %
              more than 88 % of the time; with fewer than
              ``FEW`` calls: it has, for most of a second
    memory    above the watermark                               below nine tenths of it

Most, because one stall is no overload.

Busyness comes before lateness: a loop that has no time left is late a moment later, and each call
that it took meanwhile makes that worse for all. It is reckoned from what one call costs: within
the second that is looked at two hundred may have come, and as many may have ended. Lateness also
finds what takes no CPU time, such as a processor that sleeps.
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
BUSY = 0.88
BUSY_UNDER = 0.84
# While it works for less than this, there is room: what is reckoned of little says little.
BUSY_LEAST = 0.6
# A loop that worked all the time in most of its latest beats takes no call at this moment.
BUSY_NOW, LATEST = 0.95, 6
# Calls and beginnings can be told apart if they went so differently; calls cost so much at least.
LEAST_APART, LEAST_PART = 0.005, 0.3
# So much is kept, at each beat, of what is known of a beginning: half of it in ten seconds.
KEEP = 0.9965
# Of fewer calls nothing is reckoned: thirty that begin at once take half a second of a loop, and
# little after that.
FEW = 100
ENOUGH_FEWER = 0.8
# A loop that is very late has few beats in a second: so many count all the same.
LEAST_BEATS = 3
UNDER_S = 5.0
UNDER_PART = 0.5
MEMORY_UNDER_PART = 0.9
LOOK_EVERY_S = 0.25


class Lateness:
    """Whether an event loop is late all the time.

    **Call ``beat`` at each regular beat of the loop.**

    Args:
        limit: how late it may be, in seconds; None: any.

    Attributes:
        is_late: it has been above the limit for a second, and not below since.
        is_above: so is the latest beat, and were most of the last second's, or above half of it.
    """

    def __init__(self, limit: float | None) -> None:
        self.is_late: bool = False
        self.is_above: bool = False
        self._limit = limit
        self._beats: deque[tuple[float, float]] = deque()
        # How many of the beats are above the limit, and above its lower part.
        self._n_over = 0
        self._n_above = 0
        self._late_at = 0.0

    def beat(self, value: float, now: float) -> None:
        """The loop was so late for this beat."""
        limit = self._limit
        if limit is None:
            return
        beats = self._beats
        beats.append((now, value))
        self._tally(value, 1)
        while len(beats) > LEAST_BEATS and beats[0][0] < now - OVER_S:
            self._tally(beats.popleft()[1], -1)
        most = len(beats) // 2
        is_above = self._n_above > most
        if is_above:
            self._late_at = now
        self.is_above = is_above and value > limit * UNDER_PART
        if self.is_late:
            self.is_late = now - self._late_at < UNDER_S
        elif self._n_over > most and len(beats) >= LEAST_BEATS:
            self.is_late = now - beats[0][0] >= OVER_S * 0.9

    def _tally(self, value: float, n: int) -> None:
        # Counted, not sorted: twenty times a second in every process.
        assert self._limit is not None
        self._n_over += n * (value > self._limit)
        self._n_above += n * (value > self._limit * UNDER_PART)


class Room:
    """For how many calls a loop has time, by how busy it was with those that it had.

    A call that begins costs far more than one that lasts: two hundred that begin in a second take
    as much time as two hundred that last. So what is reckoned is

        busy = n_calls * what one costs + n_new * what its beginning costs

    by least squares. A second is too short to tell the two apart: what a beginning costs is learned
    for longer, and fades (``KEEP``); what a call costs is of the last second.

    **Call ``beat`` at each regular beat of the loop.**
    """

    def __init__(self) -> None:
        self._beats: deque[tuple[float, float, float, int]] = deque()
        self._n_calls = 0
        self._is_full = False
        self._busy_at = 0.0
        # Sums of products of calls, new ones and busyness; what a beginning costs, by these.
        self._sums: tuple[float, ...] = (0.0,) * 5
        self._beginning = 0.0

    def beat(self, busy: float, n_calls: int, now: float) -> int | None:
        """With now so many calls the loop worked for this part of the time since the last beat.

        Returns:
            how many calls there may be; None while that cannot be told.
        """
        beats = self._beats
        n_mean, n_new = (n_calls + self._n_calls) / 2, max(0, n_calls - self._n_calls)
        self._n_calls = n_calls
        beats.append((now, busy, max(1.0, n_mean), n_new))
        if busy < BUSY_NOW:  # a loop that had no time left says nothing of what things cost
            self._learn(busy, max(1.0, n_mean), n_new)
        while len(beats) > LEAST_BEATS and beats[0][0] < now - OVER_S:
            beats.popleft()
        shares = [share for _, share, _, _ in beats]
        took_s, share = now - beats[0][0], _median(shares)
        self._busy_at = now if share > BUSY_UNDER else self._busy_at
        most: int | None = None
        if n_calls < FEW:
            is_busy = (took_s >= OVER_S * 0.9 and share > BUSY) or (
                self._is_full and now - self._busy_at < OVER_S
            )
            # Else most have just ended: what the loop did was for them.
            were_few = all(n < FEW for _, _, n, _ in beats)
            most = n_calls if is_busy and were_few else None
        elif took_s >= OVER_S / 2 and share >= BUSY_LEAST:
            most = max(FEW, int((BUSY_UNDER if self._is_full else BUSY) / self._cost()))
        if n_calls >= FEW and len(beats) >= LATEST and _median(shares[-LATEST:]) > BUSY_NOW:
            most = n_calls if most is None else min(most, n_calls)
        self._is_full = most is not None and n_calls >= most
        return most

    def _learn(self, busy: float, n: float, n_new: int) -> None:
        seen = (n * n, n * n_new, n_new * n_new, n * busy, n_new * busy)
        self._sums = tuple(KEEP * was + now for was, now in zip(self._sums, seen, strict=True))
        nn, nc, cc, nb, cb = self._sums
        apart = nn * cc - nc * nc
        if apart > LEAST_APART * nn * cc:  # else both went the same way
            self._beginning = max(0.0, (nn * cb - nc * nb) / apart)

    def _cost(self) -> float:
        """The part of the time that one call takes."""
        nn = nb = nc = 0.0
        for _, busy, n, n_new in self._beats:
            if not n_new or busy < BUSY_NOW:  # else it may be for either
                nn += n * n
                nb += n * busy
                nc += n * n_new
        if not nn:  # no time was left all the while: no more than ``FEW``
            return 1.0 / FEW
        return max(nb - self._beginning * nc, LEAST_PART * nb) / nn


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


class LoopLoad:
    """Whether an event loop has too much to do for another call: it is late, or has no time left.

    **Call ``beat`` at each regular beat of the loop.**

    Args:
        limit_ms: how late it may be; None: as late and busy as it likes.

    Attributes:
        most_calls: a new call may come while there are fewer; None: any number.
    """

    def __init__(self, limit_ms: float | None) -> None:
        self.most_calls: int | None = None
        self._has_limit = limit_ms is not None
        self._lateness = Lateness(None if limit_ms is None else limit_ms / 1000)
        self._room = Room()
        self._n_late = 0

    def beat(self, late_s: float, busy: float, n_calls: int, now: float) -> None:
        """The beat came so late; the loop worked for this part of the time since the last."""
        if not self._has_limit:
            return
        lateness = self._lateness
        lateness.beat(late_s, now)
        if lateness.is_above:
            self._n_late = n_calls
        most = self._room.beat(busy, n_calls, now)
        if lateness.is_late:
            enough = int(ENOUGH_FEWER * self._n_late)
            most = enough if most is None else min(most, enough)
        self.most_calls = most


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

    """

    def __init__(self, settings: Settings, host: LoadHost) -> None:
        self._said = ""
        self._settings = settings
        self._host = host
        limit_mb = settings.shed_memory_mb
        self._memory = Watermark(None if limit_mb is None else limit_mb * 2**20)
        self._timer: asyncio.TimerHandle | None = None
        self._memory_at = float("-inf")

    @property
    def why(self) -> str:
        """The reason, in a word; empty: there is none. It may come and go with one call."""
        return "late" if self._host.is_late else "memory" if self._memory.is_over else ""

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
        why, before = self.why, self._said
        if why == before:
            return
        if why and not before:
            self._host.count("overloads")
            limited.warning("overload", "new calls are refused: %s", self._text(why))
        elif not why:
            limited.warning("overload over", "new calls are taken again")
        self._said = why

    def _text(self, why: str) -> str:
        settings = self._settings
        if why == "memory":
            return f"the memory is above shed_memory_mb ({settings.shed_memory_mb} MiB)"
        return (
            f"the event loop is late by more than shed_lag_ms ({settings.shed_lag_ms:g} ms),"
            " or has no time for more calls"
        )
