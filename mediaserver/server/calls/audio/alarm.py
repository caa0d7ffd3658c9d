"""One timer for all the parts of a call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

INFINITY = float("inf")
# If the timer is later than ``LATE_S``, this process stood still, and the chunk that a gap waits
# for may be in a socket. So sockets are read for ``READ_FIRST_S``, longer than the poller's period.
LATE_S = 0.05
READ_FIRST_S = 0.012


class Alarm:
    """Rings once, at the earliest time that was set since it rang last.

    **Call `set` with each part's `next_at`; when it rings, let each part work, and `set` again.**

    Args:
        ring: called then.

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
        """Ring at ``at`` or earlier; None changes nothing."""
        if at is None or self.at <= at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self.at = at
        self._timer = self._loop.call_later(max(0.0, at - monotonic()), self._due)

    def ring(self) -> None:
        """Ring now; forget the times that were set."""
        self.off()
        self._ring()

    def _due(self) -> None:
        if monotonic() - self.at > LATE_S:
            self._timer = self._loop.call_later(READ_FIRST_S, self.ring)
        else:
            self.ring()

    def close(self) -> None:
        """Ring no more."""
        self.off()
        self._ring = _nobody

    def off(self) -> None:
        """Forget the times that were set."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.at = INFINITY


def _nobody() -> None:
    """Nobody wants to know."""
