"""Digits in the order in which they were pressed."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")

DTMF_WAIT_S = 0.2
"""How long a digit waits for one that was pressed before it and comes after it."""


class DtmfOrder(Generic[T]):
    """Gives out digits in the order of pressing, each at most ``wait_s`` after it came.

    No digit is dropped. One that comes too late to be put in order is given out at once.

    **Call `push` for each digit; call `poll` when `next_at` has come; `drain` at the end.**

    Attributes:
        next_at: when `poll` has work, in the seconds of ``now``; None while nothing waits.
    """

    def __init__(self, wait_s: float = DTMF_WAIT_S) -> None:
        self._wait_s = wait_s
        # (pressed at, arrival, digit), by arrival.
        self._held: list[tuple[float, float, T]] = []
        self._given_to = float("-inf")
        self.next_at: float | None = None

    def push(self, digit: T, occurred_at: float | None, now: float) -> list[T]:
        """Add a digit and return those whose time has come.

        Args:
            digit: what to give back.
            occurred_at: when it was pressed, in seconds of the peer's clock; None (unknown):
                after all others.
            now: seconds, monotonic.
        """
        if occurred_at is None:
            occurred_at = max([self._given_to, *(pressed for pressed, _, _ in self._held)])
        # A later digit was given out already, so waiting is of no use.
        arrival = float("-inf") if occurred_at < self._given_to else now
        self._held.append((occurred_at, arrival, digit))
        return self._give(now)

    def poll(self, now: float) -> list[T]:
        """Return the digits whose time has come."""
        return self._give(now)

    def drain(self) -> list[T]:
        """Return all that wait, at the end of the call."""
        return self._give(float("inf"))

    def _give(self, now: float) -> list[T]:
        """Give digits that have waited long enough, and those pressed before them."""
        due = [pressed for pressed, arrival, _ in self._held if arrival + self._wait_s <= now]
        given = []
        if due:
            self._given_to = max(self._given_to, *due)
            given = sorted(
                (held for held in self._held if held[0] <= max(due)), key=lambda held: held[0]
            )
            self._held = [held for held in self._held if held[0] > max(due)]
        arrivals = [arrival for _, arrival, _ in self._held]
        self.next_at = min(arrivals) + self._wait_s if arrivals else None
        return [digit for _, _, digit in given]
