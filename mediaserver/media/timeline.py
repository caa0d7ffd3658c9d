"""Where each frame lies in stream time."""

from __future__ import annotations

from mediaserver.media.frames import Frame, Int16Array, Track

QUIET_S = 0.2
"""A track that brought nothing for longer, with no chunk lost, was on hold."""


class TrackClock:
    """One track's place in stream time: makes its frames, numbered and end to end.

    A frame begins where the one before it ended. The first of a track, and one after a
    pause (hold, DTX), begins at its arrival instead, but never before the last one's end.

    Attributes:
        heard_at: when audio came last, in the seconds of ``now``; lost audio counts as come.
        next_s: stream time at which the next frame begins, if it follows without a pause.
    """

    __slots__ = ("_index", "_origin", "_track", "heard_at", "next_s")

    def __init__(self, track: Track, origin: float) -> None:
        self._track = track
        self._origin = origin
        self._index = 0
        # Before any came, all audio follows on a pause.
        self.heard_at = float("-inf")
        self.next_s = 0.0

    def frame(self, samples: Int16Array, rate_hz: int, now: float) -> Frame:
        """Return the track's next frame."""
        start = self.next_s
        if now - self.heard_at > QUIET_S:
            start = max(start, now - self._origin)
        self.heard_at = now
        self.next_s = start + len(samples) / rate_hz
        index = self._index
        self._index = index + 1
        return Frame(samples, rate_hz, self._track, index, start)

    def lost_frame(self, samples: Int16Array, rate_hz: int) -> Frame:
        """Return a frame that fills a gap: it is no sign of life, nor of a pause."""
        start = self.next_s
        duration_s = len(samples) / rate_hz
        self.heard_at += duration_s
        self.next_s = start + duration_s
        index = self._index
        self._index = index + 1
        return Frame(samples, rate_hz, self._track, index, start, True)


class Timeline:
    """The tracks of one stream on one clock; so they stay together, and jitter below
    200 ms does not show.
    """

    def __init__(self, origin: float) -> None:
        """Count stream time from ``origin``, in the seconds of ``now``."""
        self._clocks: dict[Track, TrackClock] = {
            "inbound": TrackClock("inbound", origin),
            "outbound": TrackClock("outbound", origin),
        }

    def clock(self, track: Track) -> TrackClock:
        """Return where this track stands."""
        return self._clocks[track]
