"""Which rung comes next, and where the knee is. Pure.

    what is known                     next
    nothing failed yet                the next of eight even steps, up to the most
    a rung failed, or is unknown      the same again
    it failed (or is unknown) twice   half-way between it and the best good one
    that gap is small enough          nothing: the knee is found

A rung that is good at its second try counts as good.
"""

from __future__ import annotations

from typing import Protocol

from mediaserver.bench.figures import Knee, Outcome

STEPS = 8
GAP_PART = 0.03
"""The knee is found to this part of the most calls."""


class Climb(Protocol):
    """What says how many calls come next.

    Attributes:
        next_calls: of the next rung; None: it is over.
    """

    next_calls: int | None

    @property
    def knee(self) -> Knee:
        """What is known by now."""
        ...

    def note(self, outcome: Outcome) -> None:
        """The rung of ``next_calls`` went so."""
        ...


class Single:
    """One rung, and no other: whether so many calls are served well."""

    def __init__(self, n_calls: int) -> None:
        self.next_calls: int | None = n_calls
        self.knee: Knee = Knee(0, "server")

    def note(self, outcome: Outcome) -> None:
        """It went so."""
        assert self.next_calls is not None, "it is over"
        if outcome == "good":
            self.knee = Knee(self.next_calls, "asked")
        elif outcome == "unknown":
            self.knee = Knee(0, "generator")
        self.next_calls = None


class Ramp:
    """Finds the knee.

    **Run a rung of ``next_calls``; tell ``note`` how it went; go on until it is None.**

    Args:
        most: calls at most.
        steps: on the way up.

    Attributes:
        next_calls: of the next rung; None: the knee is found.
    """

    def __init__(self, most: int, steps: int = STEPS) -> None:
        self._way_up = sorted({max(1, most * step // steps) for step in range(1, steps + 1)})
        self._gap = max(1, round(most * GAP_PART))
        self._good = 0
        self._bad: int | None = None
        self._kind: Outcome = "failed"
        self._is_second_try = False
        self.next_calls: int | None = self._way_up[0]

    @property
    def knee(self) -> Knee:
        """What is known by now."""
        if self._bad is None:
            return Knee(self._good, "asked")
        return Knee(self._good, "server" if self._kind == "failed" else "generator")

    def note(self, outcome: Outcome) -> None:
        """The rung of ``next_calls`` went so."""
        calls = self.next_calls
        assert calls is not None, "the knee is found"
        if outcome != "good" and not self._is_second_try:
            self._is_second_try = True
            return
        self._is_second_try = False
        if outcome == "good":
            self._good = calls
        else:
            self._bad, self._kind = calls, outcome
        self.next_calls = self._next()

    def _next(self) -> int | None:
        if self._bad is None:
            return next((calls for calls in self._way_up if calls > self._good), None)
        if self._bad - self._good <= self._gap:
            return None
        return (self._good + self._bad) // 2
