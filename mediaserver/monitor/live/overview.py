"""Rates and times of the last seconds, from figures that only grow. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from mediaserver.figures.figures import Figures
from mediaserver.figures.table import FIGURES

WINDOW_S = 10.0


class Trend:
    """**Call ``heard`` with the figures from time to time, then ``told``.**"""

    def __init__(self) -> None:
        self._heard: deque[tuple[float, Figures]] = deque()

    def heard(self, figures: Figures, now: float) -> None:
        """All figures of all processes as they are now."""
        self._heard.append((now, figures))
        while len(self._heard) > 2 and self._heard[1][0] <= now - WINDOW_S:
            self._heard.popleft()

    def told(self) -> dict[str, float | None]:
        """By name what was a second, and 99 of 100 times in milliseconds; None: not known yet."""
        (then, before), (now, after) = self._heard[0], self._heard[-1]
        span_s = now - then
        if span_s <= 0:
            return dict.fromkeys(("calls_s", "frames_in_s", "frames_out_s", "lag_ms", "chain_ms"))
        setups = _more("call_setup_seconds", before, after)
        delivered, sent = ("delivered",), ("sent",)
        return {
            "calls_s": sum(setups) / span_s,
            "frames_in_s": _sum("frames_total", delivered, before, after) / span_s,
            "frames_out_s": _sum("frames_total", sent, before, after) / span_s,
            "lag_ms": p99_ms("loop_lag_seconds", _more("loop_lag_seconds", before, after)),
            "chain_ms": p99_ms("chain_seconds", _more("chain_seconds", before, after)),
        }


def _sum(name: str, ends: tuple[str, ...], before: Figures, after: Figures) -> float:
    """How much more there is of a sum whose last labels are these."""

    def total(sums: Mapping[tuple[str, ...], float]) -> float:
        return sum(n for key, n in sums.items() if key[0] == name and key[-1:] == ends)

    return total(after.sums) - total(before.sums)


def _more(name: str, before: Figures, after: Figures) -> list[float]:
    """How many more observations there are in each bucket, of all labels together."""
    counts = [0.0] * (len(FIGURES[name].bounds) + 1)
    for figures, sign in ((after, 1), (before, -1)):
        for key, found in figures.histograms.items():
            if key[0] == name:
                counts = [n + sign * m for n, m in zip(counts, found[:-1], strict=True)]
    return counts


def p99_ms(name: str, counts: list[float]) -> float | None:
    """At most so long 99 of 100 times: the bound of a bucket; None: there were none."""
    wanted, n = 0.99 * sum(counts), 0.0
    if wanted <= 0:
        return None
    bounds = FIGURES[name].bounds
    for bound, count in zip(bounds, counts, strict=False):
        n += count
        if n >= wanted:
            return 1000 * bound
    return 1000 * bounds[-1]
