"""When to reconnect to a service, and when to give up. Pure: time is an argument.

The rules:

- The wait between two tries is ``first_wait_s`` at first, then twice as long each time, up to
  ``longest_wait_s``. It is shortened at random, so that not all calls reconnect at once.
- If there is no working connection for ``give_up_s``, the service is given up.
- A connection works once a message has come on it. If ``MAX_LOSSES`` working connections are
  lost within ``LOSSES_WITHIN_S``, the service is given up as well: a conversation that keeps
  breaking off is of no use to the caller.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

MAX_LOSSES = 5
LOSSES_WITHIN_S = 60.0


class Limits(NamedTuple):
    """How long a caller is to wait for a service.

    Attributes:
        connect_s: longest time for one try to connect.
        give_up_s: longest time without a connection.
        answer_s: longest time until an answer that is due.
        first_wait_s: wait between the first two tries to connect.
        longest_wait_s: longest wait between two tries.
        queue_s: seconds of audio that are kept while the service does not take any.
        close_s: longest time for the last messages of the service after the call.
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
