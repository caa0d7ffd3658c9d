"""The figures of what was played into a call."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from mediaserver.media.playout.ledger import State


class Tally(NamedTuple):
    """What a playout has sent, and what became of it.

    Attributes:
        n_messages: media messages.
        dropped_s: seconds of live audio that came too late.
        plays: that ended and were no live audio, by final state.
        marks: the user's, by final state.
        too_late_s: the part of ``dropped_s`` that waited for longer than live audio may.
        underruns: times the peer had nothing to play while a play's source was to bring more.
    """

    n_messages: int
    dropped_s: float
    plays: Counter[State]
    marks: Counter[State]
    too_late_s: float = 0.0
    underruns: int = 0

    def plus(self, other: Tally) -> Tally:
        """Both together."""
        if self is NOTHING_SENT:
            return other
        return Tally(
            self.n_messages + other.n_messages,
            self.dropped_s + other.dropped_s,
            self.plays + other.plays,
            self.marks + other.marks,
            self.too_late_s + other.too_late_s,
            self.underruns + other.underruns,
        )


NOTHING_SENT = Tally(0, 0.0, Counter(), Counter())
