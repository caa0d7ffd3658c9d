"""When a service is tried again, and when it is given up. Pure: time is an argument.

The rules:

- Between two tries it waits: ``first_wait_s``, then twice as long each time, up to
  ``longest_wait_s``; a random part of it is left out, so that many calls do not come at once.
- Without a working connection for ``give_up_s``, it is given up.
- A connection works once a message has come on it. With ``MAX_LOSSES`` working ones lost
  within ``LOSSES_WITHIN_S``, it is given up as well: the caller hears a conversation in pieces.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

MAX_LOSSES = 5
LOSSES_WITHIN_S = 60.0


class Limits(NamedTuple):
    """How long a caller is to wait for a service.

    Attributes:
        connect_s: for one try to connect.
        give_up_s: without a connection.
        answer_s: for an answer that is due.
        first_wait_s: between the first two tries to connect.
        longest_wait_s: between two tries.
        queue_s: seconds of audio that are kept for a service that does not take them.
        close_s: for the last words of a service when the call is over.
    """

    connect_s: float = 5.0
    give_up_s: float = 3.0
    answer_s: float = 8.0
    first_wait_s: float = 0.2
    longest_wait_s: float = 2.0
    queue_s: float = 10.0
    close_s: float = 1.5


class Retries:
    """Decides about the next try.

    **Call ``lost`` whenever a try or a connection has ended: it says how long to wait, or None.**

    Args:
        limits: how long.
        now: any clock in seconds.
    """

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._since = now
        self._wait_s = limits.first_wait_s
        self._losses: deque[float] = deque(maxlen=MAX_LOSSES)

    def left_s(self, now: float) -> float:
        """How long it may still take to have a connection."""
        return max(0.0, self._since + self._limits.give_up_s - now)

    def lost(
        self, now: float, *, worked: bool, chance: float, asked_s: float = 0.0
    ) -> float | None:
        """Return seconds to wait before the next try; None: it is given up.

        Args:
            now: as before.
            worked: a message had come on the connection.
            chance: a random number from 0 to 1.
            asked_s: the service asks to wait so long.
        """
        if worked:
            self._since, self._wait_s = now, self._limits.first_wait_s
            self._losses.append(now)
            if len(self._losses) == MAX_LOSSES and now - self._losses[0] < LOSSES_WITHIN_S:
                return None
        wait_s = max(self._wait_s * (1 - chance / 2), asked_s)
        self._wait_s = min(2 * self._wait_s, self._limits.longest_wait_s)
        return wait_s if wait_s < self.left_s(now) else None
