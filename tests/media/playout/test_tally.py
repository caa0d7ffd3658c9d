"""Figures of several sockets add up."""

from __future__ import annotations

from collections import Counter

from mediaserver.media.playout.tally import NOTHING_SENT, Tally


def test_figures_add_up_by_state() -> None:
    """Counts and seconds are summed, states kept apart; nothing sent changes nothing."""
    first = Tally(10, 0.5, Counter(played=2, cleared=1), Counter(played=1), 0.25)
    second = Tally(5, 0.25, Counter(played=1, failed=1), Counter())
    both = Tally(15, 0.75, Counter(played=3, cleared=1, failed=1), Counter(played=1), 0.25)
    assert first.plus(second) == both
    assert NOTHING_SENT.plus(first) == first
