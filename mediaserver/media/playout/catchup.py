"""When a little of live audio is left out, so that its delay becomes shorter again.

The delay of live audio grows by itself: audio that comes after a stall is played late, and so is
all audio after it. Each piece comes some time before it is played; the least of these times is
the part of the delay that jitter does not need. Rules:

1. The least time of the last `PARTS` parts of `PART_S` counts, with the part that runs: 3 to
   4.5 s.
2. If it is `KEEP_S` or more, pieces are left out until it is less: only quiet ones for
   `QUIET_FOR_S`, then any, one every `EVERY_S`, for `FORCED_FOR_S`. So the delay is normal again
   within 10 s.
3. What is above `MOST_S` is dropped at once.
4. If the end of the queue moves for another reason (a stall, a clear, a piece that did not need
   the queue), all times are forgotten: the delay then is what it must be.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from mediaserver.media.frames import Int16Array

PARTS = 3
PART_S = 1.5
KEEP_S = 0.04
MOST_S = 0.3
QUIET_FOR_S = 1.5
FORCED_FOR_S = 1.5
EVERY_S = 0.1
LESS_S = 0.02
"""So many seconds of a piece are left out; the whole piece if it is not twice as long."""
QUIET_PEAK = 500
"""A piece with no sample above this is quiet: noise of room and line, about -36 dBFS."""

# Times are sums of floats, and resamplers keep some samples back.
_TINY_S = 0.002
_NEVER = float("inf")
_ALWAYS = float("-inf")

Verdict = Literal["if quiet", "any"]


class CatchUp:
    """Decides what to leave out of one call's live audio.

    **Call `keep` for each piece of live audio before it is queued, and queue what it returns.**

    Attributes:
        pending: the first of the pieces just left out. The next piece is blended with it, so it
            must come through `keep`, even if the queue is empty.
        dropped_s: audio left out, in all.
    """

    __slots__ = (
        "_end_at",
        "_forced_at",
        "_look_at",
        "_low",
        "_lows",
        "_part_ends_at",
        "_since",
        "dropped_s",
        "pending",
    )

    def __init__(self) -> None:
        self._end_at = _ALWAYS
        self._look_at = _ALWAYS
        self._part_ends_at = _ALWAYS
        self._low = _NEVER
        self._lows = [0.0] * (PARTS - 1)
        # When leaving out began, if it has, and from when on it takes any piece.
        self._since = _NEVER
        self._forced_at = _NEVER
        self.pending: Int16Array | None = None
        self.dropped_s: float = 0.0

    def keep(
        self,
        samples: Int16Array,
        length_s: float,
        ahead_s: float,
        now: float,
        drop_oldest: Callable[[float], float],
    ) -> Int16Array | None:
        """What to queue instead of this piece; None if it is left out.

        Args:
            samples: the piece, shape ``(n,)``.
            length_s: its duration.
            ahead_s: for how many seconds the audio plays that was accepted before it.
            now: seconds, monotonic.
            drop_oldest: drops about so many seconds of queued audio; returns how many it dropped.
        """
        verdict = self.arrived(now + ahead_s, length_s, now)
        if verdict is None and self.pending is None:
            return samples
        n_less = round(len(samples) / length_s * LESS_S) if length_s else 0
        if verdict == "any" or (verdict is not None and is_quiet(samples[: 2 * n_less])):
            oldest_s = drop_oldest(self.excess_s())
            is_whole = len(samples) < 2 * n_less
            less_s = oldest_s + (length_s if is_whole else LESS_S)
            self.left_out(less_s, now)
            self.dropped_s += less_s
            if not is_whole:
                return squeezed(samples, n_less)
            self.pending = samples.copy() if self.pending is None else self.pending
            return None
        pending, self.pending = self.pending, None
        return samples if pending is None else blended(pending, samples)

    def arrived(self, end_at: float, length_s: float, now: float) -> Verdict | None:
        """Whether to leave out the piece that comes now; None: keep it.

        Args:
            end_at: when the audio accepted before it will have been played.
            length_s: its duration.
            now: seconds, monotonic.
        """
        if not -_TINY_S < end_at - self._end_at < _TINY_S:
            self._begin(now)
        self._end_at = end_at + length_s
        ahead_s = end_at - now
        if ahead_s < self._low:
            self._low = ahead_s
        return self._look(now) if now >= self._look_at else None

    def left_out(self, length_s: float, now: float) -> None:
        """Note that so many seconds were left out, now."""
        self._end_at -= length_s
        self._low -= length_s
        self._lows = [low - length_s for low in self._lows]
        self._forced_at = max(self._forced_at, now + EVERY_S)

    def excess_s(self) -> float:
        """By how many seconds the least time is above `MOST_S`."""
        return max(min(self._low, *self._lows) - MOST_S, 0.0)

    def _begin(self, now: float) -> None:
        """Begin anew: forget all times."""
        self._low = _NEVER
        self._lows = [0.0] * (PARTS - 1)
        self._part_ends_at = self._look_at = now + PART_S
        self._since = _NEVER

    def _look(self, now: float) -> Verdict | None:
        low = min(self._low, *self._lows)
        if now >= self._part_ends_at:
            self._lows = [*self._lows[1:], self._low]
            self._low = _NEVER
            self._part_ends_at = now + PART_S
        if low < KEEP_S or now >= self._since + QUIET_FOR_S + FORCED_FOR_S:
            self._since = _NEVER
            self._look_at = self._part_ends_at
            return None
        if self._since == _NEVER:
            self._since = now
            self._forced_at = now + QUIET_FOR_S
            self._look_at = _ALWAYS
        return "any" if now >= self._forced_at else "if quiet"


def squeezed(samples: Int16Array, n_less: int) -> Int16Array:
    """The piece without ``n_less`` samples; its beginning is faded into what follows."""
    joined = blended(samples[:n_less], samples[n_less : 2 * n_less])
    out: Int16Array = np.concatenate((joined, samples[2 * n_less :]))
    out.flags.writeable = False
    return out


def is_quiet(samples: Int16Array) -> bool:
    """Whether nobody would miss this piece."""
    return not len(samples) or max(int(samples.max()), -int(samples.min())) <= QUIET_PEAK


def blended(left_out: Int16Array, samples: Int16Array) -> Int16Array:
    """The piece after one that was left out; it begins as that one did, so there is no click."""
    if len(left_out) != len(samples):
        return samples
    fade = np.linspace(0.0, 1.0, len(samples), dtype=np.float32)
    mixed: Int16Array = np.rint(left_out * (1 - fade) + samples * fade).astype(np.int16)
    mixed.flags.writeable = False
    return mixed
