"""How long a gap waits for its chunk: as long as the last late chunks needed.

Rules:

1. When a chunk of a gap comes, in time or too late, it is known how long its gap had to wait. If
   that plus `MARGIN_S` is more than the present wait, it is the new wait at once.
2. While gaps need less, or nothing fills them, the wait falls towards the least: in `FALL_S` by
   two thirds of what it is above.
3. It stays between `LEAST_S` and `MOST_S`; if it began outside, that value is the bound. A chunk
   that needs more than the most counts as lost, and does not make the wait longer.
"""

from __future__ import annotations

import math

LEAST_S = 0.04
MOST_S = 0.2
MARGIN_S = 0.02
FALL_S = 10.0


class GapWait:
    """The wait of one stream. **Call `filled` or `given_up` for each gap; then read `seconds`.**

    Attributes:
        seconds: the present wait.
    """

    __slots__ = ("_changed_at", "_least_s", "_most_s", "seconds")

    def __init__(self, start_s: float, *, follows: bool) -> None:
        """Begin with ``start_s``. It never changes if that is 0, or without ``follows``."""
        self.seconds: float = start_s
        moves = follows and start_s > 0
        self._least_s = min(LEAST_S, start_s) if moves else start_s
        self._most_s = max(MOST_S, start_s) if moves else start_s
        self._changed_at = math.inf

    def filled(self, late_s: float, now: float) -> None:
        """Note that a chunk came ``late_s`` after the first chunk behind its gap."""
        self.given_up(now)
        if late_s <= self._most_s:
            self.seconds = min(max(self.seconds, late_s + MARGIN_S), self._most_s)

    def given_up(self, now: float) -> None:
        """Note a gap that nothing has filled yet."""
        passed_s = max(now - self._changed_at, 0.0)
        self._changed_at = now
        above_s = self.seconds - self._least_s
        self.seconds = self._least_s + above_s * math.exp(-passed_s / FALL_S)
