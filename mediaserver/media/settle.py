"""Frames in their right places: those whose start may be too early are held until it is known.

After a pause nobody knows at first whether it was a hold or a stall
(`mediaserver.media.timeline`). Until it is known, a frame carries its lag. Rules, for one track:

1. A frame without lag goes on at once, if none is held.
2. Frames with lag are held. What is missing from a frame's start is the least lag of it and of
   all frames after it. Where starts have jumped forward meanwhile, the jump is added to the lag.
3. A frame goes on when the jumps amount to what was missing: then the clock has settled it.
4. At most `HELD_S` of audio is held. Only the backlog of a stall brings more in the time in which
   a hold becomes known; then the oldest frame goes on with the start that it has.
5. Frames that are missing in between (by their index) are a gap of that length, and no jump.
"""

from __future__ import annotations

from collections import deque

from msgspec.structs import replace

from mediaserver.media.frames import Frame

HELD_S = 10.0

# Starts are sums of floats, and a resampler's frames differ by a sample. A smaller difference is
# no jump of the clock.
_TINY_S = 0.005


class Settler:
    """Leaves a gap where one track was on hold, and none where it was stalled.

    **Call `push` for each frame, `flush` at the end.** Each returns frames in order. Their starts
    are right and they do not overlap; between two frames with a gap there was silence.
    """

    __slots__ = ("_end", "_held", "_held_s", "_index", "_low", "_moved")

    def __init__(self) -> None:
        # Frames, each with the sum of the jumps up to it.
        self._held: deque[tuple[Frame, float]] = deque()
        self._held_s = 0.0
        # The next frame's index, and its start if the clock does not jump.
        self._end = 0.0
        self._index = 0
        self._moved = 0.0
        self._low = float("inf")

    @property
    def held_from(self) -> float | None:
        """The start of the oldest frame that is held, which may be too early; None: none is."""
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
        """Return the held frames, at the end. No backlog has come, so the track was on hold."""
        return self._release(len(self._held))

    def _jump(self, frame: Frame) -> None:
        """Note how far this frame's start has jumped, if it has."""
        n_missing = max(frame.index - self._index, 0)
        jump_s = frame.start - self._end - n_missing * frame.duration
        if jump_s > _TINY_S:
            self._moved += jump_s

    def _give_way(self) -> list[Frame]:
        """Return the oldest frame with the start that it has."""
        frame, _ = self._held.popleft()
        self._held_s -= frame.duration
        return [replace(frame, lag=0.0)]

    def _n_settled(self) -> int:
        """How many of the oldest frames are settled: see rule 3."""
        limit = self._moved + _TINY_S
        n_settled = len(self._held)
        for frame, moved in reversed(self._held):
            if frame.lag + moved <= limit:
                break
            n_settled -= 1
        return n_settled

    def _release(self, n_frames: int) -> list[Frame]:
        """Return the oldest frames, each moved by what is missing from its start."""
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
            # After a stall nothing is missing; the lag that is left is jitter.
            out.append(replace(frame, start=frame.start + max(lacks_s, 0.0), lag=0.0))
        self._low = lows[-1] if lows else float("inf")
        return out
