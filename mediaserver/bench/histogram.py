"""HdrHistograms of times: three digits from a microsecond to a minute; sums are exact."""

from __future__ import annotations

from array import array

import numpy as np
from hdrh.histogram import HdrHistogram

PERCENTILES = {"p50": 50.0, "p95": 95.0, "p99": 99.0, "p99.9": 99.9, "max": 100.0}
MOST_US = 60_000_000
_BOUNDS_PER_DECADE = 10


class Times:
    """A distribution of times."""

    def __init__(self) -> None:
        self._found = HdrHistogram(1, MOST_US, 3)

    def add(self, times_s: array[float]) -> None:
        """Count these times, in seconds; what is negative counts as none."""
        us = np.clip(np.rint(np.frombuffer(times_s, np.float64) * 1e6), 1, MOST_US).astype(int)
        for value, count in zip(*np.unique(us, return_counts=True), strict=True):
            self._found.record_value(int(value), int(count))

    def merge(self, encoded: bytes) -> None:
        """Count what another one holds."""
        self._found.decode_and_add(encoded)

    def encode(self) -> bytes:
        """All of it, in HdrHistogram's own form."""
        encoded: bytes = self._found.encode()
        return encoded

    def percentiles_ms(self) -> dict[str, float]:
        """The ranks of ``PERCENTILES``; without times all are 0."""
        if not self._found.get_total_count():
            return dict.fromkeys(PERCENTILES, 0.0)
        return {
            name: self._found.get_value_at_percentile(rank) / 1000
            for name, rank in PERCENTILES.items()
        }

    def above(self, limit_ms: float) -> int:
        """How many were longer."""
        return sum(
            item.count_added_in_this_iter_step
            for item in self._found.get_recorded_iterator()
            if item.value_iterated_to > limit_ms * 1000
        )

    def buckets_ms(self) -> list[tuple[float, int]]:
        """Ten buckets for each power of ten: the upper bound, and how many are below it."""
        counts: dict[int, int] = {}
        for item in self._found.get_recorded_iterator():
            at = int(np.ceil(np.log10(item.value_iterated_to / 1000) * _BOUNDS_PER_DECADE))
            counts[at] = counts.get(at, 0) + item.count_added_in_this_iter_step
        if not counts:
            return []
        bounds = range(min(counts), max(counts) + 1)
        return [(10 ** (at / _BOUNDS_PER_DECADE), counts.get(at, 0)) for at in bounds]
