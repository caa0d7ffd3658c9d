"""What the caller hears, sample by sample as time goes on."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mediaserver.carrier.ear import Ear
from mediaserver.phone.earpiece import Earpiece
from telephony_codecs import Int16Array

RATE_HZ = 8000


def ramp(n: int, first: int = 1) -> Int16Array:
    return np.arange(first, first + n).astype(np.int16)


def test_call_feed_and_cut_as_things_happen_call_take() -> None:
    """Silence, then what was queued, as far as it was heard; what was cut is not."""
    earpiece = Earpiece(RATE_HZ)
    assert earpiece.take(0.01).tolist() == [0] * 80
    earpiece.feed(ramp(160), 0.02)
    earpiece.feed(ramp(160, 161), 0.04)
    assert earpiece.take(0.03).tolist() == [*[0] * 80, *ramp(80).tolist()]
    earpiece.cut(0.045)
    assert earpiece.take(0.06).tolist() == [*ramp(120, 81).tolist(), *[0] * 120]
    assert earpiece.take(0.06).tolist() == []
    earpiece.feed(ramp(8, 500), 0.06)
    assert earpiece.take(0.061).tolist() == ramp(8, 500).tolist()


def test_it_knows_when_the_bot_was_audible() -> None:
    """Loud audio is a stretch; what is cut is none."""
    earpiece = Earpiece(RATE_HZ)
    earpiece.feed(np.full(1600, 9000, np.int16), 1.0)
    earpiece.cut(1.1)
    assert earpiece.heard.stretches == [[1.0, 1.1]]


STEP = st.tuples(st.sampled_from(["feed", "clear", "take"]), st.integers(1, 400))


@given(st.lists(STEP, max_size=40), st.floats(0, 1e4))
def test_it_gives_what_the_ear_hears(steps: list[tuple[str, int]], origin_s: float) -> None:
    """However audio, clears and time mix: the same samples as the model of Telnyx's playout."""
    ear, earpiece = Ear(RATE_HZ), Earpiece(RATE_HZ)
    now, fed, taken = origin_s, 1, []
    earpiece.take(now)
    for what, n in steps:
        now += n / 16_000
        if what == "feed":
            samples = ramp(n, fed % 30_000 + 1)
            fed += n
            earpiece.feed(samples, max(now, ear.end_s))
            ear.feed(samples, now)
        elif what == "clear":
            earpiece.cut(now)
            ear.clear(now)
        else:
            taken.append(earpiece.take(now))
    end_s = max(now, ear.end_s) + 0.1
    taken.append(earpiece.take(end_s))
    given_all = np.concatenate(taken)
    heard = ear.between(origin_s, end_s)
    assert abs(len(given_all) - len(heard)) <= 1
    # Times are rounded to samples in two ways: one more or less at the edge of a gap or a cut.
    n_runs = len(ear.runs) + len(ear.cuts)
    difference = np.count_nonzero(given_all) - np.count_nonzero(heard)
    assert abs(difference) <= n_runs
    sounds = given_all[given_all != 0].tolist()
    missing = set(heard[heard != 0].tolist()) - set(sounds)
    assert len(missing) <= n_runs
