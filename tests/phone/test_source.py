"""What the caller says: a microphone that delivers as it likes, or a clip."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mediaserver.phone.source import BEGIN_S, MOST_S, PAUSE_S, Clip, Microphone
from telephony_codecs import Int16Array

RATE_HZ = 8000
N = 160


def ramp(n: int, first: int = 1) -> Int16Array:
    return np.arange(first, first + n).astype(np.int16)


def test_call_push_when_audio_comes_call_take_whenever_a_chunk_is_due() -> None:
    """What was pushed is taken in its order, behind the wait that evens out its pace."""
    microphone = Microphone(RATE_HZ, RATE_HZ)
    begin = round(BEGIN_S * RATE_HZ)
    microphone.push(ramp(N + begin - 1))
    assert not microphone.take(N).any()
    microphone.push(ramp(1, N + begin))
    assert microphone.waiting_s == (N + begin) / RATE_HZ
    assert microphone.take(N).tolist() == ramp(N).tolist()
    assert microphone.take(N).tolist() == ramp(N, N + 1).tolist()
    assert (microphone.n_missing, microphone.n_left_out) == (0, 0)


def test_audio_that_comes_too_late_is_silence_and_then_waited_for() -> None:
    """What is there is given; then it waits again, so that the next chunk is whole."""
    microphone = Microphone(RATE_HZ, RATE_HZ)
    microphone.push(ramp(round(BEGIN_S * RATE_HZ) + N))
    taken = np.concatenate([microphone.take(N) for _ in range(4)])
    assert taken.tolist() == [*ramp(3 * N).tolist(), *[0] * N]
    assert microphone.n_missing == N
    microphone.push(ramp(N))
    assert not microphone.take(N).any()


def test_what_would_only_be_delay_is_left_out() -> None:
    """After a page that stood still, the newest audio is said, not the oldest."""
    microphone = Microphone(RATE_HZ, RATE_HZ)
    n_pushed = round(MOST_S * RATE_HZ) + 1
    microphone.push(ramp(n_pushed))
    n_kept = round(BEGIN_S * RATE_HZ)
    assert microphone.waiting_s == BEGIN_S
    assert microphone.n_left_out == n_pushed - n_kept
    microphone.push(ramp(N, n_pushed + 1))
    assert microphone.take(N).tolist() == ramp(N, n_pushed - n_kept + 1).tolist()


def test_a_page_may_have_another_rate() -> None:
    """48 kHz in, 8 kHz out: as long, and a tone stays as loud."""
    microphone = Microphone(48_000, RATE_HZ)
    tone = (10_000 * np.sin(2 * np.pi * 400 * np.arange(48_000) / 48_000)).astype(np.int16)
    taken = []
    for at in range(0, 48_000, 960):
        microphone.push(tone[at : at + 960])
        taken.append(microphone.take(N))
    heard = np.concatenate(taken)
    assert len(heard) == RATE_HZ
    assert 9_900 < np.abs(heard.astype(int)).max() < 10_100
    assert microphone.n_missing == 0


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 700)), max_size=40))
def test_no_sample_is_made_up_or_said_twice(steps: list[tuple[bool, int]]) -> None:
    """However pushes and takes mix: in order, and all but what was left out and what waits."""
    microphone = Microphone(RATE_HZ, RATE_HZ)
    n_pushed, taken = 0, [np.zeros(0, np.int16)]
    for is_push, n in steps:
        if is_push:
            microphone.push(ramp(n, n_pushed + 1))
            n_pushed += n
        else:
            taken.append(microphone.take(n))
            assert len(taken[-1]) == n
    heard = [sample for sample in np.concatenate(taken).tolist() if sample]
    assert heard == sorted(set(heard))
    n_waiting = round(microphone.waiting_s * RATE_HZ)
    assert n_pushed == len(heard) + n_waiting + microphone.n_left_out


def test_a_clip_is_said_again_and_again() -> None:
    """With a pause between its end and its beginning, in chunks of any length."""
    clip = Clip(ramp(1000), RATE_HZ)
    lap = [*ramp(1000).tolist(), *[0] * round(PAUSE_S * RATE_HZ)]
    taken = np.concatenate([clip.take(n) for n in (1, 999, 700, len(lap) - 1700, 1000)])
    assert taken.tolist() == [*lap, *ramp(1000).tolist()]
    assert clip.waiting_s == 0
