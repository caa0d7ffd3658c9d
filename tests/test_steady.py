"""A clock that nobody sets."""

from __future__ import annotations

from mediaserver.steady import SteadyClock


def test_it_goes_on_when_the_clock_is_set() -> None:
    """What has gone by counts, and nothing else."""
    wall, monotonic = [1000.0], [5.0]
    steady = SteadyClock(lambda: wall[0], lambda: monotonic[0])
    assert steady() == 1000.0
    wall[0], monotonic[0] = 4600.0, 7.0
    assert steady() == 1002.0
