"""What one process has measured so far: sums that only grow, levels, histograms. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping

import msgspec

from mediaserver.figures.table import FIGURES

Key = tuple[str, ...]
"""A name of ``FIGURES``, then a value for each of its labels."""


class Figures(msgspec.Struct):
    """Values by name and labels.

    Attributes:
        sums: only grow.
        levels: go up and down.
        histograms: how many were at most as large as each of the figure's bounds and larger than
            the one before, then how many were larger than all, and last the sum of all.
    """

    sums: dict[Key, float] = {}
    levels: dict[Key, float] = {}
    histograms: dict[Key, list[float]] = {}

    def add(self, name: str, value: float, *labels: str) -> None:
        """So much more."""
        key = (name, *labels)
        self.sums[key] = self.sums.get(key, 0) + value

    def set(self, name: str, value: float, *labels: str) -> None:
        """So much now."""
        self.levels[name, *labels] = value

    def observe(self, name: str, value: float, *labels: str) -> None:
        """One more observation."""
        key, bounds = (name, *labels), FIGURES[name].bounds
        counts = self.histograms.get(key)
        if counts is None:
            counts = self.histograms[key] = [0.0] * (len(bounds) + 2)
        counts[bisect_left(bounds, value)] += 1
        counts[-1] += value

    def take(self, other: Figures) -> None:
        """Add what another process, or another part of this one, has measured; levels as well."""
        for mine, theirs in ((self.sums, other.sums), (self.levels, other.levels)):
            for key, value in theirs.items():
                mine[key] = mine.get(key, 0) + value
        for key, counts in other.histograms.items():
            own = self.histograms.get(key, ())
            self.histograms[key] = _sum(own, counts) if own else list(counts)


class Measured(msgspec.Struct, frozen=True):
    """What a process says it has measured: MessagePack of this is its answer.

    Attributes:
        pid: its process id; figures of another one begin at 0.
        number: of this answer; a later one has a higher.
        figures: all of it, since it began.
    """

    pid: int
    number: int
    figures: Figures


def _sum(one: Iterable[float], other: Iterable[float]) -> list[float]:
    return [a + b for a, b in zip(one, other, strict=True)]


def total(all_of: Iterable[Figures]) -> Figures:
    """All of them together."""
    result = Figures()
    for each in all_of:
        result.take(each)
    return result


def counted(name: str, counts: Mapping[str, int]) -> Figures:
    """Counts by word as sums of a figure with one label."""
    return Figures({(name, word): float(n) for word, n in counts.items()})
