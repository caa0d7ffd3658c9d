"""How long a gap waits for its chunk: as long as late chunks have needed lately.

Rules:

1. A chunk that came behind a gap's first one, in time or too late, says how long its gap had
   to wait; the wait is that and `MARGIN_S`, at once where this is more.
2. It falls towards the least while gaps need less, or are filled by nothing: by two thirds of
   what is above in `FALL_S`.
3. It stays from `LEAST_S` to `MOST_S`, or to where it began if that is outside. A chunk that
   needs more than the most is as good as lost, and no reason to wait longer.
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
        """Begin with ``start_s``; 0, or without ``follows``: stay there."""
        self.seconds: float = start_s
        moves = follows and start_s > 0
        self._least_s = min(LEAST_S, start_s) if moves else start_s
        self._most_s = max(MOST_S, start_s) if moves else start_s
        self._changed_at = math.inf

    def filled(self, late_s: float, now: float) -> None:
        """Note that a chunk came ``late_s`` behind the first one after its gap."""
        self.given_up(now)
        if late_s <= self._most_s:
            self.seconds = min(max(self.seconds, late_s + MARGIN_S), self._most_s)

    def given_up(self, now: float) -> None:
        """Note a gap that nothing has filled, so far."""
        passed_s = max(now - self._changed_at, 0.0)
        self._changed_at = now
        above_s = self.seconds - self._least_s
        self.seconds = self._least_s + above_s * math.exp(-passed_s / FALL_S)
