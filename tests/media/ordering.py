"""A plain model of reordering, and streams to hold the real one against it."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import strategies as st

from mediaserver.media.frames import Track
from mediaserver.media.reorder import RESTART_RUN, Lost, Reorder

STEP_S = 0.005
WRAP = 1 << 16


class Event(NamedTuple):
    track: Track
    number: int
    serial: int
    at: float


class Model:
    """One line of numbers, said number by number and without any regard to cost."""

    def __init__(self, wait_s: float) -> None:
        self.wait_s = wait_s
        self.base: int | None = None
        self.expected = 0
        self.waiting: dict[int, Event] = {}
        self.lost: set[int] = set()
        self.counts = {"delivered": 0, "late": 0, "duplicate": 0, "missing": 0}
        self.out: list[int | str] = []
        self.run: list[int] = []

    def push(self, event: Event) -> None:
        n = event.number
        if self.base is None:
            self.base = self.expected = n
        if n < self.expected:
            self.run = [*self.run, n] if self.run and n == self.run[-1] + 1 else [n]
            if len(self.run) >= RESTART_RUN and n not in self.lost:
                self.restart(event)
            elif n in self.lost or n < self.base:
                self.counts["late"] += 1
            else:
                self.counts["duplicate"] += 1
            return
        if n in self.waiting:
            self.counts["duplicate"] += 1
            return
        self.waiting[n] = event
        self.settle(event.at)

    def restart(self, event: Event) -> None:
        self.settle(float("inf"))
        self.base = self.expected = event.number
        self.lost = set()
        self.run = []
        self.waiting[event.number] = event
        self.settle(event.at)

    def settle(self, now: float) -> None:
        while self.waiting:
            oldest = min(event.at for event in self.waiting.values())
            if self.expected in self.waiting:
                self.out.append(self.waiting.pop(self.expected).serial)
                self.counts["delivered"] += 1
            elif oldest + self.wait_s <= now:
                self.out.append("lost")
                self.lost.add(self.expected)
                self.counts["missing"] += 1
            else:
                return
            self.expected += 1
            self.run = []


def seen(out: tuple[int | Lost, ...]) -> list[int | str]:
    return ["lost" if isinstance(item, Lost) else item for item in out]


def drive(reorder: Reorder[int], events: list[Event]) -> list[int | str]:
    """Push the events at their times, poll whenever asked to, drain at the end."""
    out: list[int | str] = []
    for event in events:
        while reorder.next_at is not None and reorder.next_at <= event.at:
            out += seen(reorder.poll(reorder.next_at))
        out += seen(reorder.push(event.track, event.number % WRAP, event.serial, event.at))
    return out + seen(reorder.drain())


@st.composite
def arrivals(draw: st.DrawFn, max_window: int = 8) -> list[tuple[int, float]]:
    """Numbers that arrive shuffled within a window, some twice, some never, with their times."""
    first = draw(st.sampled_from([0, 1, 500, WRAP - 12, WRAP - 1]))
    window = draw(st.integers(1, max_window))
    # One draw of bytes, not a draw per number: thousands of runs in seconds.
    dice = draw(st.binary(min_size=2, max_size=80))
    copies = [
        (i + (die // 10 + 5 * copy) % window, i)
        for i, die in enumerate(dice[: len(dice) // 2])
        for copy in range(int("1111112230"[die % 10]))
    ]
    copies.sort(key=lambda copy: copy[0])
    at, out = 0, []
    for (_, i), die in zip(copies, dice[::-1] * 3, strict=False):
        at += die % 9
        out.append((first + i, at * STEP_S))
    return out


def counts(reorder: Reorder[int]) -> dict[str, int]:
    names = ("delivered", "late", "duplicate", "missing")
    return {name: getattr(reorder, name) for name in names}
