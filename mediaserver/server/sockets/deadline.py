"""A peer's deadline, which is not over before what the peer has sent was read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

LATE_S = 0.25
"""A timer so late means that this process stood still, or had no time to read."""
READ_FIRST_S = 0.5
"""So long it then may read; all sockets have their turn in much less."""


class Deadline:
    """Calls ``action`` once, when ``delay_s`` are over.

    A process that was stopped, or on a machine that was, finds its timers due and its sockets
    full at the same time, and an event loop may well call the timers first. So if this one is
    late, what waits is read before it is judged: whoever has sent in time then cancels it, or
    ``action`` looks again.

    Args:
        delay_s: from now.
        action: what to do; it must not raise.
    """

    __slots__ = ("_action", "_due_at", "_loop", "_timer")

    def __init__(self, delay_s: float, action: Callable[[], object]) -> None:
        self._loop = asyncio.get_running_loop()
        self._action = action
        self._due_at = monotonic() + delay_s
        self._timer = self._loop.call_later(delay_s, self._due)

    def cancel(self) -> None:
        """Do nothing any more."""
        self._timer.cancel()

    def _due(self) -> None:
        if monotonic() - self._due_at > LATE_S:
            self._timer = self._loop.call_later(READ_FIRST_S, self._action)
        else:
            self._action()
