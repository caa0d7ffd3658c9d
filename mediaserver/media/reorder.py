"""Chunks of a stream put back in order: bounded waiting, every chunk accounted for once.

Rules, for one line of numbers (a track, or both tracks where they share their numbers):

1. The first chunk starts the line. A chunk that comes later with a lower number is late.
2. The expected number is delivered at once, together with the chunks held behind it.
3. A higher number is held until the gap before it is filled or its time is over. The time runs
   from the arrival of the first chunk behind the gap; how long it is follows the jitter
   (`gap_wait`). Then each number of the gap is given out as `Lost` and counted as missing.
4. A lower number is late if it was given out as lost or is before the line's start; else it is a
   duplicate. Both are dropped.
5. The numbering restarted if a number is more than `MAX_JUMP` away, or if `RESTART_RUN`
   duplicates count up one by one. Then held chunks are given out, the line starts anew, and
   nothing is given out as lost for the jump. A wrap at 16, 31 or 32 bits is no restart.

Telnyx does not say whether it numbers each track or both together. ``auto`` takes the numbers
as shared until one number is seen on both tracks, or until a track begins far below the numbers
of the other; from then on each track has a line of its own. ``arrival`` ignores the numbers and
delivers all chunks as they come.
"""

from __future__ import annotations

from typing import Generic, Literal, NamedTuple, TypeVar

from mediaserver.media.frames import Track
from mediaserver.media.gap_wait import GapWait

Numbering = Literal["auto", "per_track", "shared", "arrival"]

MAX_JUMP = 100
"""A number further away is a new numbering and not a gap: two seconds at 20 ms."""
RESTART_RUN = 5
"""So many duplicates that count up one by one are a restart close to the old numbers."""

# If the first chunks are out of order, one can be so much below the first that came. A number
# further below belongs to another line.
_START_REACH = 8
_WRAPS = (1 << 16, 1 << 31, 1 << 32)

T = TypeVar("T")


class Lost(NamedTuple):
    """A chunk that did not come in time. Conceal as much audio as its track's last chunk had.

    Attributes:
        track: its track. Where tracks share their numbers this is a guess, which is right
            while tracks alternate or one is alone.
        chunk: its number.
    """

    track: Track
    chunk: int


class _Line(Generic[T]):
    """One line of numbers."""

    __slots__ = ("base", "held", "lost", "next", "run", "run_at", "run_next", "started", "wrap")

    def __init__(self, start: int = -1) -> None:
        self.started = start >= 0
        self.next = start
        self.base = start
        # Number -> (track, item, arrival); oldest arrival first, as dicts keep their order.
        self.held: dict[int, tuple[Track, T, float]] = {}
        # Number -> arrival of the first chunk behind its gap.
        self.lost: dict[int, float] = {}
        self.wrap = 0
        self.run = 0
        self.run_next = -1
        self.run_at = -1


class _Lane(Generic[T]):
    """One track: the line it is on, and the number after its last one there (-1: none yet)."""

    __slots__ = ("line", "next", "track")

    def __init__(self, track: Track, line: _Line[T]) -> None:
        self.track = track
        self.line = line
        self.next = -1


class Reorder(Generic[T]):
    """Puts the chunks of one stream in order; what comes in order is never held.

    **Call `push` for each chunk, `poll` when `next_at` has come, `drain` at the end.** Each
    returns what can be delivered now, in order per track: items as pushed, and `Lost` between.

    Attributes:
        next_at: when `poll` has work, in the seconds of ``now``; None while nothing waits.
        ignores_numbers: all is delivered as it comes.
        shared: the tracks are taken to share one line of numbers.
        late: chunks dropped because their gap had been given up.
        duplicate: chunks dropped because their number had been seen.
        missing: numbers given out as `Lost`.
        restarts: times the numbering began anew.
    """

    __slots__ = (
        "_auto",
        "_given",
        "_held_up",
        "_in_order",
        "_inbound",
        "_outbound",
        "_wait",
        "duplicate",
        "ignores_numbers",
        "late",
        "missing",
        "next_at",
        "restarts",
        "shared",
    )

    def __init__(
        self, wait_s: float = 0.06, numbering: Numbering = "auto", *, follows: bool = False
    ) -> None:
        """Wait ``wait_s`` seconds for a missing chunk; 0 does not wait.

        With ``follows`` the wait begins with that, and then follows the jitter.
        """
        self._wait = GapWait(wait_s, follows=follows)
        self._auto = numbering == "auto"
        self.ignores_numbers: bool = numbering == "arrival"
        self.shared: bool = numbering != "per_track"
        line: _Line[T] = _Line()
        self._inbound: _Lane[T] = _Lane("inbound", line)
        self._outbound: _Lane[T] = _Lane("outbound", line if self.shared else _Line())
        self.next_at: float | None = None
        # hot path: a chunk in order adds to one count only; all others add to the other two.
        self._in_order = 0
        self._held_up = 0
        self._given = 0
        self.late: int = 0
        self.duplicate: int = 0
        self.missing: int = 0
        self.restarts: int = 0

    @property
    def wait_s(self) -> float:
        """Seconds that a gap waits at present."""
        return self._wait.seconds

    @property
    def received(self) -> int:
        """Chunks pushed. Once drained, equal to delivered + late + duplicate."""
        return self._in_order + self._held_up

    @property
    def delivered(self) -> int:
        """Chunks given out."""
        return self._in_order + self._given

    def push(self, track: Track, chunk: int | None, item: T, now: float) -> tuple[T | Lost, ...]:
        """Return what can be delivered now that this chunk has come; nothing while it waits.

        Args:
            track: the chunk's track.
            chunk: its number; None (the message had none) is delivered at once.
            item: what to give back, in order.
            now: seconds, monotonic.
        """
        if chunk is None or self.pass_on(track, chunk):
            self._in_order += chunk is None
            return (item,)
        self._held_up += 1
        lane = self._inbound if track == "inbound" else self._outbound
        return self._place(lane, chunk, item, now)

    def pass_on(self, track: Track, chunk: int | None) -> bool:
        """Whether this chunk may go on at once; then it counts as pushed and as given out.

        It may if it is simply the next one, or if numbers are ignored. If it may not, nothing was
        changed: call `push`.
        """
        lane = self._inbound if track == "inbound" else self._outbound
        line = lane.line
        if chunk == line.next and self.next_at is None:  # and so nothing is held
            line.next = lane.next = chunk + 1
            self._in_order += 1
            return True
        if self.ignores_numbers:
            self._in_order += 1
            return True
        return False

    def ignore_numbers(self) -> tuple[T, ...]:
        """Deliver chunks as they come from now on. Returns those that were held, no `Lost`."""
        self.ignores_numbers = True
        out: list[T] = []
        for line in self._lines():
            out += (item for _, (_, item, _) in sorted(line.held.items(), key=lambda each: each[0]))
            line.held.clear()
        self._given += len(out)
        self.next_at = None
        return tuple(out)

    def poll(self, now: float) -> tuple[T | Lost, ...]:
        """Return what can be delivered now that time has passed; gaps as `Lost`."""
        if self.next_at is None or now < self.next_at:
            return ()
        out: list[T | Lost] = []
        for line in self._lines():
            self._expire(line, now, out)
        self._arm()
        return tuple(out)

    def drain(self) -> tuple[T | Lost, ...]:
        """Return all that is held, at the end of the stream; gaps as `Lost`."""
        out: list[T | Lost] = []
        for line in self._lines():
            self._empty(line, out)
        self._arm()
        return tuple(out)

    def _lanes(self) -> tuple[_Lane[T], _Lane[T]]:
        return self._inbound, self._outbound

    def _lines(self) -> list[_Line[T]]:
        return list(dict.fromkeys(lane.line for lane in self._lanes()))

    def _arm(self) -> None:
        """Set `next_at` from the oldest chunk held on any line."""
        arrivals = [next(iter(line.held.values()))[2] for line in self._lines() if line.held]
        self.next_at = min(arrivals) + self._wait.seconds if arrivals else None

    def _place(self, lane: _Lane[T], chunk: int, item: T, now: float) -> tuple[T | Lost, ...]:
        """Handle a chunk that is not simply the next one."""
        out: list[T | Lost] = []
        number = self._unwrapped(lane.line, chunk)
        if self._auto and self.shared and self._contradicts(lane, chunk, number):
            self._split(out)
            number = self._unwrapped(lane.line, chunk)
        line = lane.line
        if number is None or (number < line.next and self._restarted(line, number)):
            self._begin(lane, chunk, item, out)
        elif number < line.next:
            self._drop(line, number, now)
        elif number in line.held:
            self.duplicate += 1
        else:
            behind = (at for n, (_, _, at) in line.held.items() if n > number)
            gap_since = next(behind, None)
            if gap_since is not None:
                self._wait.filled(now - gap_since, now)
            line.held[number] = (lane.track, item, now)
            self._release(line, out)
            self._expire(line, now, out)
        self._arm()
        return tuple(out)

    def _contradicts(self, lane: _Lane[T], chunk: int, number: int | None) -> bool:
        """Whether this chunk proves that the tracks are numbered apart."""
        line = lane.line
        first_of_track = lane.next == -1
        if number is None:
            return line.started and first_of_track and chunk < line.next
        if number in line.held:
            return line.held[number][0] != lane.track
        if number < line.base:
            return first_of_track and number < line.base - _START_REACH
        # It is below the line's next number and not lost, so it was seen. It is not below this
        # track's own next number, so it was seen on the other track.
        return lane.next <= number < line.next and number not in line.lost

    def _split(self, out: list[T | Lost]) -> None:
        """Give each track a line of its own, with the chunks of its own that are held."""
        self.shared = False
        for lane in self._lanes():
            old = lane.line
            line = lane.line = _Line(lane.next)
            line.base = old.base if line.started else -1
            line.lost = dict(old.lost)
            line.held = {n: held for n, held in old.held.items() if held[0] == lane.track}
            if line.held and not line.started:
                line.started = True
                line.next = line.base = min(line.held)
            self._release(line, out)

    def _restarted(self, line: _Line[T], number: int) -> bool:
        """Whether this duplicate ends a run of duplicates that only a restart explains."""
        counts_up = number == line.run_next and line.next == line.run_at
        line.run = line.run + 1 if counts_up else 1
        line.run_next = number + 1
        line.run_at = line.next
        return line.run >= RESTART_RUN and number not in line.lost

    def _begin(self, lane: _Lane[T], chunk: int, item: T, out: list[T | Lost]) -> None:
        """Start the line, or start it anew, at this chunk."""
        line = lane.line
        self._empty(line, out)
        self.restarts += line.started
        line.started = True
        line.lost.clear()
        line.base = chunk
        line.next = chunk + 1
        line.run = 0
        for other in self._lanes():
            if other.line is line and other.next >= 0:
                other.next = chunk
        lane.next = chunk + 1
        self._given += 1
        out.append(item)

    def _drop(self, line: _Line[T], number: int, now: float) -> None:
        if number in line.lost or number < line.base:
            self.late += 1
            self._wait.filled(now - line.lost.get(number, now), now)
        else:
            self.duplicate += 1

    def _release(self, line: _Line[T], out: list[T | Lost]) -> None:
        """Deliver the held chunks that are next, up to the next gap."""
        held = line.held
        while line.next in held:
            track, item, _ = held.pop(line.next)
            line.next += 1
            (self._inbound if track == "inbound" else self._outbound).next = line.next
            self._given += 1
            out.append(item)

    def _expire(self, line: _Line[T], now: float, out: list[T | Lost]) -> None:
        while line.held and next(iter(line.held.values()))[2] + self._wait.seconds <= now:
            self._give_up(line, out)
            self._wait.given_up(now)

    def _empty(self, line: _Line[T], out: list[T | Lost]) -> None:
        while line.held:
            self._give_up(line, out)

    def _give_up(self, line: _Line[T], out: list[T | Lost]) -> None:
        """Give out the first gap as lost, and deliver the chunks behind it."""
        since = next(iter(line.held.values()))[2]
        for number in range(line.next, min(line.held)):
            lane = self._owner(line, number)
            lane.next = line.next = number + 1
            line.lost[number] = since
            self.missing += 1
            out.append(Lost(lane.track, number if number >= 0 else number + line.wrap))
        self._release(line, out)
        if len(line.lost) > 2 * MAX_JUMP:
            oldest = line.next - MAX_JUMP
            line.lost = {number: at for number, at in line.lost.items() if number >= oldest}

    def _owner(self, line: _Line[T], number: int) -> _Lane[T]:
        """The track that a lost number probably belongs to: see `Lost`."""
        lanes = [lane for lane in self._lanes() if lane.line is line]
        for lane in lanes:
            if lane.next == number - 1:
                return lane
        return max(lanes, key=lambda lane: lane.next)

    def _unwrapped(self, line: _Line[T], chunk: int) -> int | None:
        """The chunk's number on the line, also across a wrap; None if it is too far away."""
        if not line.started:
            return None
        if abs(chunk - line.next) <= MAX_JUMP:
            return chunk
        for wrap in _WRAPS:
            if abs(chunk - wrap - line.next) <= MAX_JUMP:
                return chunk - wrap
            if abs(chunk + wrap - line.next) <= MAX_JUMP:
                self._move_down(line, wrap)
                return chunk
        return None

    def _move_down(self, line: _Line[T], wrap: int) -> None:
        """Subtract the wrap from all numbers of the line, so that later chunks need no care."""
        line.wrap = wrap
        line.next -= wrap
        line.base -= wrap
        line.lost = {number - wrap: at for number, at in line.lost.items()}
        line.held = {number - wrap: held for number, held in line.held.items()}
        for lane in self._lanes():
            if lane.line is line and lane.next >= 0:
                lane.next -= wrap
