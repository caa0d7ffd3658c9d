"""One timer for all the parts of a call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

INFINITY = float("inf")
# Late by more, this process stood still: the chunk that a gap waits for may have come. The
# sockets then have this long to be read, longer than the poller's period.
LATE_S = 0.05
READ_FIRST_S = 0.012


class Alarm:
    """Rings once, at the earliest time that any part has asked for since it last rang.

    Args:
        ring: called then; it looks at every part, and sets the alarm for what is next.

    Attributes:
        at: monotonic seconds at which it will ring; infinity while it is not set.
    """

    __slots__ = ("_loop", "_ring", "_timer", "at")

    def __init__(self, ring: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._ring = ring
        self._timer: asyncio.TimerHandle | None = None
        self.at: float = INFINITY

    def set(self, at: float | None) -> None:
        """Ring at ``at`` at the latest; None asks for nothing."""
        if at is None or self.at <= at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self.at = at
        self._timer = self._loop.call_later(max(0.0, at - monotonic()), self._due)

    def ring(self) -> None:
        """Ring now, and not again for what was asked so far."""
        self.off()
        self._ring()

    def _due(self) -> None:
        if monotonic() - self.at > LATE_S:
            self._timer = self._loop.call_later(READ_FIRST_S, self.ring)
        else:
            self.ring()

    def off(self) -> None:
        """Forget what was asked for."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.at = INFINITY
