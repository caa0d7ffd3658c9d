"""A deadline for a peer. It is judged only after what the peer has sent was read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

LATE_S = 0.25
"""If the timer is later than this, the process stood still, or had no time to read."""
READ_FIRST_S = 0.5
"""Then sockets are read for so long; all of them can be read in much less."""


class Deadline:
    """Calls ``action`` once, when ``delay_s`` is over, unless `cancel` was called.

    When a process or its machine was stopped, its timers are due and its sockets are full at the
    same time, and an event loop may run the timers first. So if this timer is late, sockets are
    read before ``action`` is called. If the peer has sent in time, its message cancels the
    deadline, or ``action`` sees it.

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
        """Do not call ``action`` any more."""
        self._timer.cancel()

    def _due(self) -> None:
        if monotonic() - self._due_at > LATE_S:
            self._timer = self._loop.call_later(READ_FIRST_S, self._action)
        else:
            self._action()
