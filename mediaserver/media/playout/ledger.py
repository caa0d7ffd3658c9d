"""What was sent, what of it was heard, and what became of each play and mark.

The samples sent to the peer are counted from 0, and the count is never reset. A wire mark closes
a *segment* of them. Every play and mark that ended in the segment resolves with that wire mark.
Rules:

1. A segment is *played* if its wire mark comes back while it is outstanding. It is *cleared* if
   everything is voided first; a wire mark that comes back later is stale and changes nothing.
2. A play that was cancelled, or whose source failed, resolves together with the others of its
   segment, but with its own state.
3. Heard = what the peer has played by our clock, minus the lag of the marks that came back. It is
   never less than what a mark proved, and it never falls. Its error is the time from the peer to
   us, plus the part of the peer's buffer that the measured lag does not show.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Literal

from mediaserver.media.playout.ear.returns import MarkReturns
from mediaserver.media.playout.sink import PlayoutSink

State = Literal["queued", "playing", "played", "cleared", "failed"]
Cause = Literal["finished", "barge_in", "cancelled", "socket", "ended", "source", "unconfirmed"]
"""Why a play or mark is final; see ``processors.api.Play.reason``."""

MARK_PREFIX = "ms-"
EARLY_S = 0.05
"""If a mark comes back so long before its audio can have ended, the peer did not play it."""
MAX_OUTSTANDING = 1024
"""At most so many wire marks are awaited, so that a peer that returns none fills no memory."""


class Segment:
    """The sent samples up to one wire mark, and what ended in them."""

    __slots__ = (
        "cause",
        "due_at",
        "end",
        "ends_at",
        "entries",
        "every",
        "heard",
        "result",
        "wanted",
    )

    def __init__(self, every: int, due_at: float) -> None:
        self.every: int = every
        self.due_at: float = due_at
        self.wanted: bool = False
        self.entries: list[Outcome] = []
        self.end: int = 0
        self.ends_at: float = 0.0
        self.heard: int = 0
        self.result: State | None = None
        self.cause: Cause = "finished"


class Outcome:
    """What a play and a mark have in common: a state, and one word when it is final."""

    # hot path: defaults are the class's, because one object is made per frame and most of these
    # are never set.
    start = -1
    end = -1
    live = False
    _uncounted = False
    _verdict: State | None = None
    _segment: Segment | None = None
    _callback: Callable[[Any], None] | None = None

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    @property
    def resolved(self) -> bool:
        """The state is final."""
        return self._segment is not None and self._segment.result is not None

    @property
    def state(self) -> State:
        """queued: nothing sent yet; playing: sent in part or whole; the others are final."""
        segment = self._segment
        if segment is not None and segment.result is not None:
            return self._verdict or segment.result
        return "playing" if 0 <= self.start < self._ledger.sent else "queued"

    def goes_on_elsewhere(self) -> None:
        """Do not count it here: another playout goes on with it, unless it has a verdict."""
        self._uncounted = self._verdict is None

    @property
    def reason(self) -> Cause | None:
        """Why the state is final; None while it is not."""
        segment = self._segment
        if segment is None or segment.result is None:
            return None
        if self._verdict is not None:
            return "source" if self._verdict == "failed" else "cancelled"
        return segment.cause

    def notify(self, callback: Callable[[Any], None]) -> None:
        """Have ``callback(self)`` called once, when the state is final; now if it is already."""
        if self.resolved:
            callback(self)
            return
        self._callback = callback
        if self._segment is not None and self not in self._segment.entries:
            self._segment.entries.append(self)

    def give(self, verdict: State) -> None:
        """Set the state with which it will resolve."""
        self._verdict = verdict

    def resolve_unsent(self) -> None:
        """Resolve now, because nothing of it was sent: as cleared, or with its verdict."""
        self._segment = Segment(0, 0.0)
        self._segment.result = "cleared"
        self.tell()

    def tell(self) -> None:
        """Count it, and call its callback, once."""
        self._ledger.count(self)
        callback, self._callback = self._callback, None
        if callback is not None:
            callback(self)


class Mark(Outcome):
    """A user's mark: played when the peer has played everything queued before it.

    Attributes:
        name: the user's name for it; the wire mark has another one.
    """

    def __init__(self, ledger: Ledger, name: str) -> None:
        super().__init__(ledger)
        self.name = name


class Ledger:
    """Positions, clock, wire marks and outcomes of one call's outbound stream.

    Attributes:
        rate_hz: of the positions.
        sent: samples sent.
        dry_at: when the peer will have played them all, by our clock.
        mark_at: when the last wire mark was sent.
        returned_marks: wire marks that came back in time.
        returns: what these tell.
        unknown_marks: names that came back and are none of ours.
        stale_marks: marks of ours that came back after they had been cleared.
        early_marks: of those that came back, the ones whose audio cannot have been heard yet.
        unconfirmed: segments voided because too many marks were awaited.
        n_messages: media messages sent.
        plays: plays that are not live, by final state.
        marks: the user's marks, by final state.
        followers: told of each play and mark that is awaited or not live, once its state is final.
    """

    __slots__ = (
        "_every",
        "_heard",
        "_lag_s",
        "_live_every",
        "_live_every_s",
        "_mark_end",
        "_n_marks",
        "_outstanding",
        "current",
        "dry_at",
        "early_marks",
        "followers",
        "mark_at",
        "marks",
        "n_messages",
        "plays",
        "rate_hz",
        "returned_marks",
        "returns",
        "sent",
        "sink",
        "stale_marks",
        "unconfirmed",
        "unknown_marks",
    )

    def __init__(
        self, sink: PlayoutSink, rate_hz: int, every_s: float, live_every_s: float
    ) -> None:
        """Send a wire mark at most every ``every_s`` of audio; ``live_every_s`` if all is live."""
        self.sink: PlayoutSink = sink
        self.rate_hz: int = rate_hz
        self._every = round(every_s * rate_hz)
        self._live_every = round(live_every_s * rate_hz)
        self.sent: int = 0
        self.dry_at: float = float("-inf")
        self.mark_at: float = float("-inf")
        self._live_every_s = live_every_s
        self._mark_end = 0
        self._n_marks = 0
        self._heard = 0
        self._lag_s = -1.0
        self._outstanding: dict[str, Segment] = {}
        self.returns: MarkReturns = MarkReturns()
        self.returned_marks: int = 0
        self.early_marks: int = 0
        self.unknown_marks: int = 0
        self.stale_marks: int = 0
        self.unconfirmed: int = 0
        self.n_messages: int = 0
        self.plays: Counter[State] = Counter()
        self.marks: Counter[State] = Counter()
        self.followers: list[Callable[[Outcome], None]] = []
        self.current: Segment = Segment(self._live_every, float("-inf"))

    def advance(self, n_samples: int, now: float) -> None:
        """Note that so many samples were sent; after an underrun the clock begins anew."""
        self.sent += n_samples
        self.n_messages += 1
        self.dry_at = (self.dry_at if self.dry_at > now else now) + n_samples / self.rate_hz

    def count(self, entry: Outcome) -> None:
        """Count a play that is no live audio, or a named mark, whose state is final."""
        for follower in self.followers:
            follower(entry)
        if entry._uncounted:
            return  # it goes on in another playout, where it is counted
        if isinstance(entry, Play):
            self.plays[entry.state] += not entry.live
        elif isinstance(entry, Mark) and entry.name:
            self.marks[entry.state] += 1

    def heard(self, now: float) -> int:
        """Return the position up to which the caller has heard; never falls."""
        self._heard = max(self._heard, self._reckoned(now))
        return self._heard

    def _reckoned(self, now: float) -> int:
        """The same by our clock and the lag of marks alone."""
        lag_s = self._lag_s if self._lag_s > 0 else 0.0
        ahead_s = self.dry_at - now + lag_s
        return self.sent - round(ahead_s * self.rate_hz) if ahead_s > 0 else self.sent

    def finish(self, entry: Outcome) -> None:
        """Note that all of a play was sent: it resolves with the next wire mark."""
        segment = self.current
        entry._segment = segment
        segment.wanted = True
        if not entry.live or entry._callback is not None:
            segment.entries.append(entry)
        if not entry.live:
            segment.every = self._every
            segment.due_at = self.mark_at + self._every / self.rate_hz

    @property
    def n_awaited(self) -> int:
        """Wire marks that have not come back."""
        return len(self._outstanding)

    def mark_due(self, now: float) -> bool:
        """Whether the next wire mark is due, by the audio sent or the time since the last."""
        segment = self.current
        return segment.wanted and (
            segment.due_at <= now or self.sent - self._mark_end >= segment.every
        )

    def finish_mark(self, mark: Mark, now: float) -> None:
        """Note that all before a user's mark was sent: it needs a wire mark right here."""
        mark.start = mark.end = self.sent
        last = next(reversed(self._outstanding.values()), None)
        if last is not None and last.end == self.sent and not self.current.wanted:
            mark._segment = last
            last.entries.append(mark)
            return
        self.finish(mark)
        self.send_mark(now)

    def send_mark(self, now: float) -> None:
        """Close the current segment with a wire mark."""
        segment = self.current
        segment.end = self._mark_end = self.sent
        segment.ends_at = max(self.dry_at, now)
        self.mark_at = now
        self.current = Segment(self._live_every, now + self._live_every_s)
        self._n_marks += 1
        name = f"{MARK_PREFIX}{self._n_marks}"
        self._outstanding[name] = segment
        self.sink.send_mark(name)
        if len(self._outstanding) > MAX_OUTSTANDING:
            oldest = self._outstanding.pop(next(iter(self._outstanding)))
            self.unconfirmed += 1
            oldest.cause = "unconfirmed"
            self._resolve(oldest, "cleared", self.heard(now))

    def mark_returned(self, name: str, now: float) -> None:
        """Resolve as played what ended before that wire mark; count a name that is not awaited."""
        segment = self._outstanding.pop(name, None)
        if segment is None:
            if self._is_ours(name):
                self.stale_marks += 1
            else:
                self.unknown_marks += 1
            return
        self.returned_marks += 1
        if now < segment.ends_at - EARLY_S:
            self.early_marks += 1
        error = max(self._heard, self._reckoned(now)) - segment.end
        self.returns.add(now - segment.ends_at, error / self.rate_hz)
        # Early is believed at once, late by degrees: one late mark is a jolt of the network.
        lag_s = max(now - segment.ends_at, 0.0)
        slow = 0 <= self._lag_s < lag_s
        self._lag_s = self._lag_s + (lag_s - self._lag_s) / 4 if slow else lag_s
        self._heard = max(self._heard, segment.end)
        self._resolve(segment, "played", segment.end)

    def overdue_s(self, now: float) -> float:
        """Return for how many seconds the oldest awaited mark is overdue; 0 if it is not."""
        oldest = next(iter(self._outstanding.values()), None)
        return max(now - oldest.ends_at, 0.0) if oldest is not None else 0.0

    def _is_ours(self, name: str) -> bool:
        number = name.removeprefix(MARK_PREFIX)
        return (
            name.startswith(MARK_PREFIX)
            and number.isascii()
            and number.isdecimal()
            and len(number) < 19
            and 0 < int(number) <= self._n_marks
        )

    def void(self, now: float, unsent: list[Outcome], cause: Cause) -> tuple[Outcome, ...]:
        """Resolve everything outstanding as cleared, as heard by now; return it, oldest first.

        Args:
            now: seconds, monotonic.
            unsent: plays and marks not wholly sent, which are voided too.
            cause: the reason that they get.
        """
        heard = self.heard(now)
        segments = [*self._outstanding.values(), self.current]
        self._outstanding.clear()
        last = self.current
        last.entries.extend(unsent)
        for entry in unsent:
            entry._segment = last
        self.current = Segment(self._live_every, self.mark_at + self._live_every_s)
        self._mark_end = self._heard = self.sent
        self.dry_at = min(self.dry_at, now)
        entries = tuple(entry for segment in segments for entry in segment.entries)
        for segment in segments:
            segment.result, segment.heard, segment.cause = "cleared", heard, cause
        # Callbacks come last, because a callback may play again.
        for segment in segments:
            self._resolve(segment, "cleared", heard)
        return entries

    def _resolve(self, segment: Segment, result: State, heard: int) -> None:
        segment.result, segment.heard = result, heard
        entries, segment.entries = segment.entries, []
        for entry in entries:
            entry.tell()


class Play(Outcome):
    """One play. Final states: played, cleared, failed (its source raised).

    Attributes:
        live: its audio may be dropped when it comes too late.
        rate_hz: of the samples given to it.
        is_open: more samples may be fed.
    """

    is_open = False

    def __init__(self, ledger: Ledger, rate_hz: int, live: bool) -> None:
        self._ledger = ledger  # hot path: as super().__init__ does, without the call
        self.rate_hz = rate_hz
        self.live = live

    def heard_s(self, now: float) -> float:
        """Return the seconds of it that the caller has heard; it stays so once resolved.

        It never falls and is never more than what was sent. See the module for its error.
        """
        if self.start < 0:
            return 0.0
        segment = self._segment
        resolved = segment is not None and segment.result is not None
        ledger = self._ledger
        heard = segment.heard if segment is not None and resolved else ledger.heard(now)
        end = self.end if self.end >= 0 else ledger.sent
        return max(min(heard, end) - self.start, 0) / ledger.rate_hz
