"""The time of day as it would be if nobody had set the clock since.

A clock may be set while calls live: by an hour where a daylight saving was got wrong, by more
where a machine was paused. What was signed or issued before belongs to the time before.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class SteadyClock:
    """Unix seconds: the wall clock's at the beginning, and what has gone by since.

    Args:
        wall: unix seconds.
        monotonic: seconds that nobody sets.
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._ahead_s = wall() - monotonic()

    def __call__(self) -> float:
        """The time now."""
        return self._ahead_s + self._monotonic()
