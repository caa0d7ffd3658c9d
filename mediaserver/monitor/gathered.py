"""The figures of all processes that carry calls, or did: their sums never fall. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from mediaserver.figures.figures import Figures, Measured, total


class Gathered:
    """What processes said last, those that are gone as well.

    A process says all it has measured since it began. So what one said last stays true when it
    does not answer once, and when it has died; what it measured behind that is lost with it.
    """

    def __init__(self) -> None:
        self._gone = Figures()
        self._last: dict[int | None, Measured] = {}

    def heard(self, answers: Iterable[tuple[int | None, Measured]]) -> Figures:
        """All together, with these answers by the number of the worker; levels are theirs alone."""
        levels: list[Figures] = []
        for index, measured in answers:
            before = self._last.get(index)
            if before is not None and before.pid != measured.pid:
                self._gone.take(_sums(before.figures))
            self._last[index] = measured
            levels.append(Figures(levels=measured.figures.levels))
        known = (_sums(measured.figures) for measured in self._last.values())
        return total((self._gone, *known, *levels))


def _sums(figures: Figures) -> Figures:
    return Figures(figures.sums, {}, figures.histograms)
