"""Where each frame lies in stream time.

A frame's *lag* is its arrival minus the place that it would have directly behind the frame
before it. Rules, for one track:

1. A frame begins where the one before it ended. Lag up to `LATE_S` is jitter.
2. A lag that rises by more than `QUIET_S` at once is a *pause*, a hold or a stall: nobody can
   tell yet. The first frame of a track follows on a pause too. Until it is known, frames go on
   behind each other and carry their lag.
3. A pause whose lag falls was a stall: its backlog follows. One whose lag has not fallen by
   more than `SLACK_S` for `SETTLE_S`, while frames came, was a hold: the track moves forward by
   the least lag seen.
4. Pauses can follow on each other within that time. Each is the lag above the one before it,
   so a backlog ends the later ones first.
5. A lag that grew without a pause (clocks that drift, a longer way) is moved over as a hold
   is, after `DRIFT_S`.
"""

from __future__ import annotations

from mediaserver.media.frames import Frame, Int16Array, Track

LATE_S = 0.03
"""Lag up to this is jitter: two tracks of a stream are never further apart than this."""
QUIET_S = 0.06
"""A track that brought nothing for longer, with no chunk lost, has paused: a hold not longer
does not matter, and AMR sends a sign of life in 160 ms of silence."""
SETTLE_S = 1.0
"""A lag that stays so long was a hold: what a stall held back would have come."""
SPARSE_S = 0.5
"""Frames this far apart still tell that a lag stays: OPUS sends one in 400 ms of silence."""
SLACK_S = 0.03
"""A lag that falls by no more than this stays: it is jitter."""
DRIFT_S = 10.0

_NEVER = float("-inf")


class _Pause:
    """A rise of the lag whose nature is not known.

    Attributes:
        low_s: least lag since.
        since: when the lag rose, or last fell: from then on it has stayed.
        stayed_s: the lag at that time.
        wait_s: how long it must stay.
        rose_s: the lag when it rose.
    """

    __slots__ = ("low_s", "rose_s", "since", "stayed_s", "wait_s")

    def __init__(self, lag_s: float, now: float, wait_s: float) -> None:
        self.low_s = lag_s
        self.rose_s = lag_s
        self.stayed_s = lag_s
        self.since = now
        self.wait_s = wait_s

    def fall(self, lag_s: float, now: float) -> None:
        """Note a lag below the least one."""
        self.low_s = lag_s
        if lag_s < self.stayed_s - SLACK_S:
            self.stayed_s = lag_s
            self.since = now


class TrackClock:
    """One track's place in stream time: makes its frames, numbered and end to end.

    Attributes:
        heard_at: when audio came last, in the seconds of ``now``; lost audio counts as come.
        next_s: stream time at which the next frame begins, if it follows without a pause.
        held_s: how far holds have moved the track, in all.
        lost_s: audio made up for what was lost, in all.
        stalled_s: the longest stall, by the audio that it held back.
    """

    __slots__ = (
        "_index",
        "_late_at",
        "_origin",
        "_pauses",
        "_track",
        "heard_at",
        "held_s",
        "lost_s",
        "next_s",
        "stalled_s",
    )

    def __init__(self, track: Track, origin: float) -> None:
        self._track = track
        self._origin = origin
        self._index = 0
        # Lowest first; a drift can only be the lowest one. Most often there is none.
        self._pauses: list[_Pause] = []
        # What now - next_s may be without a second look; while a pause is open it is less
        # than anything, so that a frame pays for one comparison.
        self._late_at = origin + LATE_S
        # Before any came, all audio follows on a pause.
        self.heard_at: float = _NEVER
        self.next_s: float = 0.0
        self.held_s: float = 0.0
        self.lost_s: float = 0.0
        self.stalled_s: float = 0.0

    @property
    def came_s(self) -> float:
        """Audio that the track has brought, in all."""
        return self.next_s - self.held_s - self.lost_s

    @property
    def settled(self) -> bool:
        """No pause is open: the place is right."""
        return not self._pauses or self._pauses[-1].wait_s == DRIFT_S

    def frame(self, samples: Int16Array, rate_hz: int, now: float) -> Frame:
        """Return the track's next frame."""
        start = self.next_s
        if now - start > self._late_at:
            return self._late_frame(samples, rate_hz, now)
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
        self.lost_s += duration_s
        self.next_s = start + duration_s
        index = self._index
        self._index = index + 1
        # Its lag is that of its neighbours: what it stands for would have come with them.
        lag_s = 0.0 if self.settled else self._pauses[-1].low_s
        return Frame(samples, rate_hz, self._track, index, start, True, lag_s)

    def room_s(self, now: float) -> float:
        """Return how far the track's place is behind ``now``; negative if it is ahead."""
        return now - self._origin - self.next_s

    def _late_frame(self, samples: Int16Array, rate_hz: int, now: float) -> Frame:
        """Return the next frame where there is a lag, or was one at the last frame."""
        duration_s = len(samples) / rate_hz
        lag_s = now - self._origin - self.next_s
        pauses = self._pauses
        if pauses and pauses[-1].low_s > lag_s:
            self._fall(lag_s, now)
        elif (quiet_s := now - self.heard_at - duration_s) > QUIET_S:
            self._pause(lag_s, quiet_s, now)
        elif not pauses:
            pauses.append(_Pause(lag_s, now, DRIFT_S))
        moved_s = self._settle(now)
        self._late_at = _NEVER if pauses else self._origin + LATE_S
        start = self.next_s + moved_s
        self.held_s += moved_s
        self.heard_at = now
        self.next_s = start + duration_s
        index = self._index
        self._index = index + 1
        lag_s = 0.0 if self.settled else lag_s - moved_s
        return Frame(samples, rate_hz, self._track, index, start, False, lag_s)

    def _pause(self, lag_s: float, quiet_s: float, now: float) -> None:
        """Open a pause; its own silence tells nothing about the ones before it."""
        for pause in self._pauses:
            pause.since += max(quiet_s - SPARSE_S, 0.0)
        self._pauses.append(_Pause(lag_s, now, SETTLE_S))

    def _fall(self, lag_s: float, now: float) -> None:
        """End the pauses that a backlog shows to have been stalls, in whole or in part."""
        pauses = self._pauses
        lowest = pauses.pop()
        while pauses and pauses[-1].low_s > lag_s:
            lowest = pauses.pop()
        if lowest.wait_s == SETTLE_S:
            self.stalled_s = max(self.stalled_s, lowest.rose_s - max(lag_s, 0.0))
        if lag_s > LATE_S:
            lowest.fall(lag_s, now)
            pauses.append(lowest)

    def _settle(self, now: float) -> float:
        """End the pauses whose lag has stayed, and return by how much the track moves."""
        pauses = self._pauses
        for at in reversed(range(len(pauses))):
            pause = pauses[at]
            if now - pause.since >= pause.wait_s:
                moved_s = pause.low_s
                higher = pauses[at + 1 :]
                for each in higher:
                    each.low_s -= moved_s
                    each.rose_s -= moved_s
                    each.stayed_s -= moved_s
                pauses[:] = [each for each in higher if each.low_s > LATE_S]
                return moved_s
        return 0.0


class Timeline:
    """The tracks of one stream on one clock; so they stay together, and jitter does not show."""

    def __init__(self, origin: float) -> None:
        """Count stream time from ``origin``, in the seconds of ``now``."""
        self._clocks: dict[Track, TrackClock] = {
            "inbound": TrackClock("inbound", origin),
            "outbound": TrackClock("outbound", origin),
        }

    def clock(self, track: Track) -> TrackClock:
        """Return where this track stands."""
        return self._clocks[track]

    @property
    def stalled_s(self) -> float:
        """The longest stall of a track."""
        return max(clock.stalled_s for clock in self._clocks.values())
