"""Buckets in given time: what fits, what does not, what has run out again."""

from __future__ import annotations

import pytest

from mediaserver.wire.rates import LIMITS, Bucket, Kind, Limit, Rates


def test_a_burst_fits_and_one_more_does_not() -> None:
    """What does not fit changes nothing."""
    bucket = Bucket(Limit(per_s=2, burst=3))
    assert [bucket.take(10.0) for _ in range(5)] == [True, True, True, False, False]
    assert not bucket.take(10.4)
    assert bucket.take(10.5)
    assert not bucket.take(10.5)


def test_several_fit_together_or_not_at_all() -> None:
    """As media is counted, once a second."""
    bucket = Bucket(Limit(per_s=10, burst=20))
    assert bucket.take(0.0, 20)
    assert not bucket.take(1.0, 11)
    assert bucket.take(1.0, 10)


def test_the_rate_may_last_for_ever() -> None:
    """An hour of keys, one each 50 ms."""
    bucket = Bucket(LIMITS["dtmf"])
    assert all(bucket.take(n * 0.05) for n in range(72_000))


@pytest.mark.parametrize("kind", LIMITS)
def test_each_kind_has_a_bucket_of_its_own(kind: Kind) -> None:
    """What one kind has used up, another has not."""
    rates = Rates()
    assert rates.allow(kind, 0.0, LIMITS[kind].burst)
    assert not rates.allow(kind, 0.0)
    assert all(rates.allow(other, 0.0) for other in LIMITS if other != kind)
