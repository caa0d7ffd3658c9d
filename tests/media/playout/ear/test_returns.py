"""What marks tell is kept until it is taken."""

from __future__ import annotations

from mediaserver.media.playout.ear.returns import MAX_KEPT, MarkReturns


def test_what_was_taken_is_gone() -> None:
    """The oldest first, and once."""
    returns = MarkReturns()
    returns.add(0.1, 0.0)
    returns.add(0.2, -0.01)
    assert returns.take() == [(0.1, 0.0), (0.2, -0.01)]
    assert returns.take() == []


def test_nobody_need_ever_take_it() -> None:
    """The oldest go."""
    returns = MarkReturns()
    for n in range(MAX_KEPT + 5):
        returns.add(float(n), 0.0)
    taken = returns.take()
    assert len(taken) == MAX_KEPT
    assert taken[0] == (5.0, 0.0)
