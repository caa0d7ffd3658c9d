"""Where each frame lies in stream time."""

from __future__ import annotations

from mediaserver.media.frames import Frame, Int16Array, Track

QUIET_S = 0.2
"""A track that brought nothing for longer, with no chunk lost, was on hold."""


class _Place:
    """Where one track stands."""

    __slots__ = ("deadline", "index", "next_s")

    def __init__(self) -> None:
        self.index = 0
        self.next_s = 0.0
        # Audio that comes later than this follows on a pause. Before any came, all does.
        self.deadline = float("-inf")


class Timeline:
    """Makes the frames of one stream: per track numbered, end to end, on one clock.

    A frame begins where the one before it ended. The first of a track, and one after a
    pause (hold, DTX), begins at its arrival instead, but never before the last one's end.
    So tracks stay together, and jitter below 200 ms does not show.
    """

    def __init__(self, origin: float) -> None:
        """Count stream time from ``origin``, in the seconds of ``now``."""
        self._origin = origin
        self._places: dict[Track, _Place] = {"inbound": _Place(), "outbound": _Place()}

    def frame(
        self, track: Track, samples: Int16Array, rate_hz: int, now: float, *, lost: bool = False
    ) -> Frame:
        """Return the track's next frame; a lost one fills its gap and is no sign of a pause."""
        place = self._places[track]
        start = place.next_s
        duration_s = len(samples) / rate_hz
        if lost:
            place.deadline += duration_s
        else:
            if now > place.deadline:
                start = max(start, now - self._origin)
            place.deadline = now + QUIET_S
        index = place.index
        place.index = index + 1
        place.next_s = start + duration_s
        return Frame(samples, rate_hz, track, index, start, lost)
