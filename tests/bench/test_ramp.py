from __future__ import annotations

import pytest

from mediaserver.bench.figures import Knee, Outcome
from mediaserver.bench.ramp import Ramp, Single


def climb(ramp: Ramp, knee: int, above: Outcome = "failed") -> list[int]:
    """The rungs against a server that serves so many calls well, and no more."""
    seen = []
    while (calls := ramp.next_calls) is not None:
        seen.append(calls)
        ramp.note("good" if calls <= knee else above)
        assert len(seen) < 50
    return seen


def test_run_a_rung_of_next_calls_tell_note_how_it_went_go_on_until_it_is_none() -> None:
    """A server that serves 130 of 160: up in eighths, twice at the first bad one, then between."""
    ramp = Ramp(160)
    assert climb(ramp, 130) == [20, 40, 60, 80, 100, 120, 140, 140, 130, 135, 135]
    assert ramp.knee == Knee(130, "server")


def test_all_that_were_asked_for_may_be_served() -> None:
    """Then the knee is at least that."""
    ramp = Ramp(80)
    assert climb(ramp, 80)[-1] == 80
    assert (ramp.knee.n_calls, ramp.knee.limit) == (80, "asked")


def test_a_generator_that_is_too_slow_is_the_limit() -> None:
    """What cannot be told is no knee of the server."""
    ramp = Ramp(80)
    climb(ramp, 35, "unknown")
    assert 33 <= ramp.knee.n_calls <= 35
    assert ramp.knee.limit == "generator"


def test_a_rung_that_is_good_at_its_second_try_is_good() -> None:
    """One stall of the machine does not end the way up."""
    ramp = Ramp(8)
    ramp.note("failed")
    assert ramp.next_calls == 1
    ramp.note("good")
    assert ramp.next_calls == 2


@pytest.mark.parametrize(
    ("outcome", "knee"),
    [("good", Knee(9, "asked")), ("failed", Knee(0, "server")), ("unknown", Knee(0, "generator"))],
)
def test_a_single_rung_is_one(outcome: Outcome, knee: Knee) -> None:
    """It is judged, and nothing comes behind it."""
    single = Single(9)
    assert single.next_calls == 9
    single.note(outcome)
    assert single.next_calls is None
    assert single.knee == knee


@pytest.mark.parametrize("most", [1, 2, 3, 7])
def test_few_calls_make_few_rungs(most: int) -> None:
    """No number twice on the way up; where nothing is served, the knee is 0."""
    assert climb(Ramp(most), most) == list(range(1, most + 1))
    ramp = Ramp(most)
    climb(ramp, 0)
    assert ramp.knee.n_calls == 0
