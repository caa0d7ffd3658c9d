from __future__ import annotations

from mediaserver.bridges.retries import LOSSES_WITHIN_S, MAX_LOSSES, Limits, Retries

LIMITS = Limits(give_up_s=4.0, first_wait_s=0.2, longest_wait_s=1.0)


def test_lost_says_how_long_to_wait_or_none() -> None:
    """Twice as long each time, up to the longest wait, until it is given up."""
    retries = Retries(LIMITS, 100.0)
    now, waits = 100.0, []
    while (wait := retries.lost(now, worked=False, chance=0.0)) is not None:
        waits.append(wait)
        now += wait
    assert waits == [0.2, 0.4, 0.8, 1.0, 1.0]
    assert retries.left_s(now) < 1.0


def test_a_part_of_the_wait_is_random() -> None:
    """At most half of it is left out."""
    assert Retries(LIMITS, 0.0).lost(0.0, worked=False, chance=1.0) == 0.1


def test_a_connection_that_worked_begins_anew() -> None:
    """Time and waits are those of the first try."""
    retries = Retries(LIMITS, 0.0)
    retries.lost(0.0, worked=False, chance=0.0)
    assert retries.lost(30.0, worked=True, chance=0.0) == 0.2
    assert retries.left_s(31.0) == 3.0
    assert retries.left_s(99.0) == 0.0


def test_what_the_service_asks_for_is_waited_or_it_is_given_up() -> None:
    """``Retry-After`` of 1 s fits, one of 10 s does not."""
    assert Retries(LIMITS, 0.0).lost(0.0, worked=False, chance=0.0, asked_s=1.0) == 1.0
    assert Retries(LIMITS, 0.0).lost(0.0, worked=False, chance=0.0, asked_s=10.0) is None


def test_a_service_that_is_lost_again_and_again_is_given_up() -> None:
    """Five times in a minute; not where it was rare."""
    often, rare = Retries(LIMITS, 0.0), Retries(LIMITS, 0.0)
    spacing = LOSSES_WITHIN_S / (MAX_LOSSES - 1) + 1
    for n in range(1, MAX_LOSSES):
        assert often.lost(n, worked=True, chance=0.0) is not None
        assert rare.lost(n * spacing, worked=True, chance=0.0) is not None
    assert often.lost(MAX_LOSSES, worked=True, chance=0.0) is None
    assert rare.lost(MAX_LOSSES * spacing, worked=True, chance=0.0) is not None
