"""What the caller heard of what was played, and what became of each play. Time is given."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from mediaserver.media.frames import Int16Array
from mediaserver.media.playout.ledger import Ledger, Mark, Outcome, Play
from mediaserver.processors.builtin.recording.pieces import Piece, follows, joined

# Of so many stretches of sound it is known when they began, for plays that end later.
MAX_STRETCHES = 4096
# Plays and marks of one call that are listed; the rest are counted in its summary.
MAX_LISTED = 10_000


class PlayHeard(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a play.

    Attributes:
        state: ``played``, ``cleared`` or ``failed``.
        reason: why, as in ``Play.reason``.
        heard: seconds of it that the caller has heard.
        at: stream time of its first sample; None: nothing of it was sent.
    """

    state: str
    reason: str | None
    heard: float
    at: float | None = None


class MarkReached(msgspec.Struct, frozen=True):
    """What became of a mark: its name, ``played`` or ``cleared``, and when that was known."""

    name: str
    state: str
    at: float


class _Stretch(NamedTuple):
    """Where a stretch of sound began: in the samples sent, and in stream time."""

    position: int
    at: float


class Heard:
    """Collects what the caller hears, with its stream time; a ``Listener``.

    **Register it as a listener; call `take` regularly, and `take_all` at the end.**

    Args:
        origin: when stream time began, by the playout clock.
        clock: the playout clock.

    Attributes:
        plays: what became of plays that are not live, in the order in which they ended.
        marks: what became of the user's marks.
    """

    def __init__(self, origin: float, clock: Callable[[], float]) -> None:
        self.plays: list[PlayHeard] = []
        self.marks: list[MarkReached] = []
        self._origin = origin
        self._clock = clock
        self._pieces: deque[Piece] = deque()
        self._end = float("-inf")
        self._ledger: Ledger | None = None
        self._stretches: deque[_Stretch] = deque(maxlen=MAX_STRETCHES)

    def playing(self, ledger: Ledger) -> None:
        """See ``Listener``."""
        self._ledger = ledger
        self._stretches.clear()
        ledger.followers.append(self._ended)

    def sent(self, samples: Int16Array, rate_hz: int, at: float) -> None:
        """See ``Listener``."""
        at -= self._origin
        if follows(self._end, at):
            at = self._end  # rounding must not tear apart what is one sound
        elif self._ledger is not None:
            self._stretches.append(_Stretch(self._ledger.sent, at))
        piece = Piece(at, samples.copy(), rate_hz)
        self._pieces.append(piece)
        self._end = piece.end

    def cleared(self, at: float) -> None:
        """See ``Listener``."""
        at -= self._origin
        while self._pieces and self._pieces[-1].at >= at:
            self._pieces.pop()
        if self._pieces:
            self._pieces[-1] = self._pieces[-1].split(at)[0]
        self._end = float("-inf")  # what is sent next begins anew, as soon as it may be

    def take(self, until: float) -> list[Piece]:
        """What was heard before a stream time, in order, once."""
        pieces, taken = self._pieces, []
        while pieces and pieces[0].end <= until:
            taken.append(pieces.popleft())
        if pieces and pieces[0].at < until:
            before, pieces[0] = pieces[0].split(until)
            taken.append(before)
        return joined(taken)

    def take_all(self, end: float) -> list[Piece]:
        """What was heard up to the call's end; the rest was never heard. It follows no more."""
        taken = self.take(end)
        self._pieces.clear()
        ledger, self._ledger = self._ledger, None
        if ledger is not None:
            ledger.followers.remove(self._ended)
        return taken

    def _ended(self, outcome: Outcome) -> None:
        if isinstance(outcome, Play):
            if not outcome.live and len(self.plays) < MAX_LISTED:
                at = self._time_of(outcome.start) if outcome.start >= 0 else None
                heard = round(outcome.heard_s(self._clock()), 3)
                self.plays.append(PlayHeard(outcome.state, outcome.reason, heard, at))
        elif isinstance(outcome, Mark) and outcome.name and len(self.marks) < MAX_LISTED:
            at = round(self._clock() - self._origin, 3)
            self.marks.append(MarkReached(outcome.name, outcome.state, at))

    def _time_of(self, position: int) -> float | None:
        """When the caller heard the sample that was sent at a position."""
        assert self._ledger is not None
        for stretch in reversed(self._stretches):
            if stretch.position <= position:
                after_s = (position - stretch.position) / self._ledger.rate_hz
                return round(stretch.at + after_s, 3)
        return None
