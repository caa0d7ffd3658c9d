"""How many messages of each kind one call may bring, on all its sockets. Pure.

Rules:
- Each kind has a rate and a burst. The burst is for messages that come together: after a stall,
  or when `clear` brings all marks back.
- A message beyond that is refused, and so it counts as `refused` as well. Beyond the limit of
  `refused` the socket is closed: Telnyx sends no such stream, and it takes time from other calls.
- Media is checked once a second and not for each message, as most messages are media.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["media", "dtmf", "mark", "error", "refused"]


class Limit(NamedTuple):
    """How much of one kind may come.

    Attributes:
        per_s: messages a second, for any time.
        burst: messages at once.
    """

    per_s: float
    burst: float


LIMITS: dict[Kind, Limit] = {
    # Two tracks in messages of 20 ms are 100 a second; the burst is a minute of them.
    "media": Limit(500, 6000),
    "dtmf": Limit(20, 200),
    "mark": Limit(200, 2000),
    # Telnyx may answer each of our messages with one: 50 a second.
    "error": Limit(100, 1000),
    # Two tracks whose payloads all fail to decode are 100 a second; that must not end the call.
    "refused": Limit(200, 2000),
}


class Bucket:
    """A leaky bucket: messages fill it, time empties it.

    Args:
        limit: how fast it empties, and how much it holds.
    """

    __slots__ = ("_at", "_burst", "_level", "_per_s")

    def __init__(self, limit: Limit) -> None:
        self._per_s, self._burst = limit
        self._level = 0.0
        self._at = float("-inf")

    def take(self, now: float, n: float = 1) -> bool:
        """Put in ``n``; if they do not fit, put in nothing and return False."""
        level = max(self._level - (now - self._at) * self._per_s, 0.0) + n
        if level > self._burst:
            return False
        self._level, self._at = level, now
        return True


class Rates:
    """The limits of one call: one bucket for each kind that has come."""

    __slots__ = ("_buckets",)

    def __init__(self) -> None:
        self._buckets: dict[Kind, Bucket] = {}

    def allow(self, kind: Kind, now: float, n: float = 1) -> bool:
        """Whether ``n`` more may come now; ``now`` in seconds, monotonic."""
        bucket = self._buckets.get(kind)
        if bucket is None:
            bucket = self._buckets[kind] = Bucket(LIMITS[kind])
        return bucket.take(now, n)
