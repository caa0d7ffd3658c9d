"""Adds up the figures of all processes, also of those that have ended: no sum falls. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from mediaserver.figures.figures import Figures, Measured, total


class Gathered:
    """Keeps the last answer of each process, also of those that have ended.

    Each answer covers all that the process has measured since it began. So the last answer is
    still right when the process misses a question or dies. What it measured after its last answer
    is lost if it dies.
    """

    def __init__(self) -> None:
        self._gone = Figures()
        self._told = Figures()
        self._last: dict[int | None, Measured] = {}

    def heard(self, answers: Iterable[tuple[int | None, Measured]]) -> Figures:
        """All together, with these answers by the number of the worker; levels are theirs alone."""
        levels: list[Figures] = []
        for index, measured in answers:
            levels.append(Figures(levels=measured.figures.levels))
            before = self._last.get(index)
            if before is not None and before.pid == measured.pid:
                if before.number > measured.number:
                    continue  # two were asked for at once, and the later one was heard first
            elif before is not None:
                self._gone.take(_sums(before.figures))
            self._last[index] = measured
        known = [_sums(measured.figures) for measured in self._last.values()]
        self._told = _at_least(self._told, total((self._gone, *known)))
        return total((self._told, *levels))


def _at_least(before: Figures, now: Figures) -> Figures:
    """Where a sum of fractions comes out lower by the order in which they were added, as before.

    Whoever reads a counter takes a lower value for a new beginning.
    """
    return Figures(
        {key: max(value, before.sums.get(key, 0.0)) for key, value in now.sums.items()},
        {},
        {
            key: [*map(max, counts, before.histograms.get(key, counts))]
            for key, counts in now.histograms.items()
        },
    )


def _sums(figures: Figures) -> Figures:
    return Figures(figures.sums, {}, figures.histograms)
