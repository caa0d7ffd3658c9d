"""Frames with their places right: held back while these may be too early.

Behind a pause nobody knows whether it was a hold or a stall (`mediaserver.media.timeline`).
Until it is known, a frame carries its lag. Rules, for one track:

1. A frame without lag, with none held, goes on at once.
2. Frames with lag are held. What a frame's start still lacks is the least lag of all frames
   from it on; how far starts have jumped forward in the meantime counts with the lag.
3. A frame goes on when the jumps have caught up with that: the clock has settled it.
4. More than `HELD_S` of audio is never held, and only a backlog brings so much within the time
   that a hold takes to be known: the oldest goes on where it is.
5. Frames missing in between (by their index) are a gap of their own length, and no jump.
"""

from __future__ import annotations

from collections import deque

from msgspec.structs import replace

from mediaserver.media.frames import Frame

HELD_S = 10.0

# Starts are sums of floats, and a resampler's frames differ by a sample: no jump of a clock
# is so small.
_TINY_S = 0.005


class Settler:
    """Puts silence where a hold was, and none where a stall was; one track.

    **Call `push` for each frame, `flush` at the end.** Each gives frames in order, whose starts
    are right and never overlap; a gap between two is silence.
    """

    __slots__ = ("_end", "_held", "_held_s", "_index", "_low", "_moved")

    def __init__(self) -> None:
        # A frame, and how far starts had jumped by then.
        self._held: deque[tuple[Frame, float]] = deque()
        self._held_s = 0.0
        # Where the frame behind the last one begins if starts do not jump, and its index.
        self._end = 0.0
        self._index = 0
        self._moved = 0.0
        self._low = float("inf")

    @property
    def held_from(self) -> float | None:
        """The earliest time at which the oldest frame held may begin; None if none is."""
        return self._held[0][0].start if self._held else None

    def push(self, frame: Frame) -> list[Frame]:
        """Add the track's next frame and return those that are settled, in order."""
        held = self._held
        if not held:
            if not frame.lag:
                return [frame]
            self._moved = 0.0
            self._low = float("inf")
        else:
            self._jump(frame)
        self._end = frame.start + frame.duration
        self._index = frame.index + 1
        held.append((frame, self._moved))
        self._held_s += frame.duration
        self._low = min(self._low, frame.lag + self._moved)
        if not frame.lag:
            return self._release(len(held))
        if self._low <= self._moved + _TINY_S:
            return self._release(self._n_settled())
        return self._give_way() if self._held_s > HELD_S else []

    def flush(self) -> list[Frame]:
        """Return what is held, at the end: no backlog has come, so it was on hold."""
        return self._release(len(self._held))

    def _jump(self, frame: Frame) -> None:
        """Note how far this frame's start has jumped, if it has."""
        n_missing = max(frame.index - self._index, 0)
        jump_s = frame.start - self._end - n_missing * frame.duration
        if jump_s > _TINY_S:
            self._moved += jump_s

    def _give_way(self) -> list[Frame]:
        """Return the oldest where it is."""
        frame, _ = self._held.popleft()
        self._held_s -= frame.duration
        return [replace(frame, lag=0.0)]

    def _n_settled(self) -> int:
        """How many of the oldest the jumps have caught up with."""
        limit = self._moved + _TINY_S
        n_settled = len(self._held)
        for frame, moved in reversed(self._held):
            if frame.lag + moved <= limit:
                break
            n_settled -= 1
        return n_settled

    def _release(self, n_frames: int) -> list[Frame]:
        """Return the oldest, each moved by what its start lacks."""
        held = self._held
        lows = []
        low = float("inf")
        for frame, moved in reversed(held):
            low = min(low, frame.lag + moved)
            lows.append(low)
        out = []
        for _ in range(n_frames):
            frame, moved = held.popleft()
            self._held_s -= frame.duration
            lacks_s = lows.pop() - moved
            # A stall's backlog needs nothing; what is left of the lag then is jitter.
            out.append(replace(frame, start=frame.start + max(lacks_s, 0.0), lag=0.0))
        self._low = lows[-1] if lows else float("inf")
        return out
