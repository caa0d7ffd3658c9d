"""Rates and times of the last seconds."""

from __future__ import annotations

import pytest

from mediaserver.figures.figures import Figures
from mediaserver.monitor.live.overview import WINDOW_S, Trend, p99_ms


def figures(n: int) -> Figures:
    made = Figures()
    for direction, fate in (("in", "delivered"), ("in", "lost"), ("out", "sent")):
        made.add("frames_total", n, direction, "PCMU", fate)
    for _ in range(n):
        made.observe("loop_lag_seconds", 0.004, "calls")
        made.observe("call_setup_seconds", 0.001)
    return made


def test_at_first_nothing_is_known() -> None:
    """Of one moment there is no rate."""
    trend = Trend()
    trend.heard(figures(5), 1.0)
    assert set(trend.told().values()) == {None}


def test_rates_are_of_the_last_seconds() -> None:
    """What was before counts no more."""
    trend = Trend()
    for second, n in ((0, 0), (1, 1000), (2, 1010), (2 + WINDOW_S, 1110)):
        trend.heard(figures(n), second)
    told = trend.told()
    assert told["frames_in_s"] == pytest.approx(10)
    assert told["frames_out_s"] == pytest.approx(10)
    assert told["calls_s"] == pytest.approx(10)
    assert told["lag_ms"] == 5.0
    assert told["chain_ms"] is None


def test_the_slowest_of_a_hundred() -> None:
    """One in a hundred may be slower than what is told, not two."""
    counts = [0.0] * 12
    counts[0], counts[9] = 99.0, 1.0
    assert p99_ms("loop_lag_seconds", counts) == 1.0
    counts[9] = 2.0
    assert p99_ms("loop_lag_seconds", counts) == 1000.0
    assert p99_ms("loop_lag_seconds", [0.0] * 11 + [1.0]) == 5000.0
