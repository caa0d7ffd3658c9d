"""Where each frame lies in stream time.

A frame's *lag* is the time of its arrival minus the place it would have right behind the frame
before it. Rules, for one track:

1. A frame begins where the one before it ended. A lag of up to `LATE_S` is jitter.
2. If the lag rises by more than `QUIET_S` at once, there was a *pause*: a hold (there was no audio)
   or a stall (audio was kept back). At first nobody can tell which. A track's first frame follows
   a pause too. Until it is known, frames are placed end to end and carry their lag.
3. If the lag falls, it was a stall, and its backlog is coming. If frames come for `SETTLE_S` and
   the lag does not fall by more than `SLACK_S`, it was a hold: the track moves forward by the
   least lag seen.
4. A second pause can come before the first is settled. Each pause stands for the lag above the one
   before it, so a backlog ends the later ones first.
5. A lag that grew without a pause (clocks that drift, a longer network path) is treated as a hold
   after `DRIFT_S`.
"""

from __future__ import annotations

from mediaserver.media.frames import Frame, Int16Array, Track

LATE_S = 0.03
"""A lag up to this is jitter, so two tracks of a stream are never further apart than this."""
QUIET_S = 0.06
"""A track that brought nothing for longer, though no chunk was lost, has paused. A shorter hold
does not matter, and in silence AMR-WB sends a frame every 160 ms only (3GPP TS 26.193)."""
SETTLE_S = 1.0
"""A lag that stays for so long was a hold: audio kept back by a stall would have come."""
SPARSE_S = 0.5
"""Frames so far apart still show that a lag stays. In silence OPUS sends one every 400 ms."""
SLACK_S = 0.03
"""A lag that falls by less stays: the difference is jitter."""
DRIFT_S = 10.0

_NEVER = float("-inf")


class _Pause:
    """A rise of the lag, of which it is not known yet whether it was a hold or a stall.

    Attributes:
        low_s: the least lag since then.
        since: when the lag rose, or fell for the last time; from then on it has stayed.
        stayed_s: the lag at that time.
        wait_s: how long it must stay to be a hold.
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
    """One track's place in stream time. It makes the track's frames, numbered and end to end.

    **Call `frame` for audio that came, `lost_frame` for audio that did not.**

    Attributes:
        heard_at: when audio came last, in the seconds of ``now``; lost audio counts too.
        next_s: stream time at which the next frame begins, if it follows without a pause.
        held_s: how far holds have moved the track, in all.
        lost_s: seconds of audio made up for lost chunks, in all.
        stalled_s: the longest stall, in seconds of the audio that it kept back.
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
        # Lowest first; only the lowest can be a drift (rule 5). Most often there is none.
        self._pauses: list[_Pause] = []
        # hot path: one comparison. If now - next_s is not above this, the frame follows directly;
        # while a pause is open this is below any number.
        self._late_at = origin + LATE_S
        # The first audio follows a pause.
        self.heard_at: float = _NEVER
        self.next_s: float = 0.0
        self.held_s: float = 0.0
        self.lost_s: float = 0.0
        self.stalled_s: float = 0.0

    @property
    def came_s(self) -> float:
        """Seconds of audio that have come, in all."""
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
        """Return a frame that fills a gap. It says nothing about pauses."""
        start = self.next_s
        duration_s = len(samples) / rate_hz
        self.heard_at += duration_s
        self.lost_s += duration_s
        self.next_s = start + duration_s
        index = self._index
        self._index = index + 1
        # It has the lag of its neighbours: the audio that was lost would have come with them.
        lag_s = 0.0 if self.settled else self._pauses[-1].low_s
        return Frame(samples, rate_hz, self._track, index, start, True, lag_s)

    def room_s(self, now: float) -> float:
        """Return how many seconds the track is behind ``now``; negative if it is ahead."""
        return now - self._origin - self.next_s

    def _late_frame(self, samples: Int16Array, rate_hz: int, now: float) -> Frame:
        """Return the next frame, where there is a lag, or was one at the frame before."""
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
        """Begin a pause. Its own silence does not count for the pauses before it."""
        for pause in self._pauses:
            pause.since += max(quiet_s - SPARSE_S, 0.0)
        self._pauses.append(_Pause(lag_s, now, SETTLE_S))

    def _fall(self, lag_s: float, now: float) -> None:
        """End the pauses of which the falling lag shows that they were stalls, wholly or partly."""
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
        """End the pauses whose lag has stayed; return by how many seconds the track moves."""
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
    """Both tracks of one stream on the same clock, so that they stay together."""

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
        """The longest stall of either track, in seconds."""
        return max(clock.stalled_s for clock in self._clocks.values())
