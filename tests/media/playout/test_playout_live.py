"""Live audio that nobody follows (``play_live``): the path of an echo, in virtual time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mediaserver.errors import AudioFormatError
from mediaserver.media.frames import Int16Array
from telephony_codecs.g711 import ulaw_to_linear

from .conftest import Rig

FRAME_S = 0.02
LIVE_LEAD_S = 0.08
# Every octet but 0x7F, the other zero, is encoded as itself.
CODES = [code for code in range(255) if code != 0x7F]


def frame(number: int, n_samples: int = 160) -> Int16Array:
    """A frame whose payload tells its number."""
    samples = np.full(n_samples, ulaw_to_linear()[CODES[number % len(CODES)]], np.int16)
    samples.flags.writeable = False
    return samples


def numbers(rig: Rig) -> list[int]:
    """The numbers of the frames that were sent, modulo those there are; 20 ms each."""
    wire = rig.wire
    return [CODES.index(wire[at]) for at in range(0, len(wire), 160)]


def stalled(lead_s: float = 0.2) -> Rig:
    """A call that got ten frames at once, and so has more than may be sent."""
    rig = Rig(backlog_s=5.0, lead_s=lead_s)
    for number in range(10):
        rig.playout.play_live(frame(number), 8000, rig.now)
    return rig


def test_behind_a_stall_each_frame_sends_the_oldest() -> None:
    """One comes and one goes, in order, without a gap or a timer's help."""
    rig = stalled()
    rig.run(0.7 * FRAME_S)  # out of step with the queue's own pace
    rig.playout.play_live(frame(10), 8000, rig.now)
    rig.run(rig.now + FRAME_S)
    for number in range(11, 200):
        n_sent = len(rig.payloads)
        rig.playout.play_live(frame(number), 8000, rig.now)
        assert len(rig.payloads) == n_sent + 1
        rig.run(rig.now + FRAME_S)
        assert len(rig.payloads) == n_sent + 1
    rig.run_out()
    assert numbers(rig) == list(range(200))
    assert max(rig.leads_s) <= LIVE_LEAD_S + 1e-6
    assert not rig.gaps_s
    assert rig.playout.dropped_s == 0


def test_what_waits_is_sent_in_time_when_nothing_more_comes() -> None:
    """The far end never runs dry while audio is here."""
    rig = stalled()
    rig.run(FRAME_S)
    rig.playout.play_live(frame(10), 8000, rig.now)
    rig.run_out()
    assert numbers(rig) == list(range(11))
    assert not rig.gaps_s


@pytest.mark.parametrize("lead_s", [0.0, 0.02, 0.05, 0.06, 2.0])
def test_however_short_the_lead_the_timer_does_not_spin(lead_s: float) -> None:
    """Frames that come a little early or late, 20 s of them, cost a few ticks each, no more."""
    rig = stalled(lead_s)
    n_turns = 0

    def turn() -> None:
        nonlocal n_turns
        n_turns += 1

    for number in range(10, 1000):
        rig.run(0.02 * number + 0.004 * (number % 2), turn)
        rig.playout.play_live(frame(number), 8000, rig.now)
    rig.run_out()
    assert numbers(rig) == [number % len(CODES) for number in range(1000)]
    assert n_turns < 5 * 1000


def test_a_clear_forgets_what_waits() -> None:
    """Nothing older than the clear is sent behind it, and what comes next goes at once."""
    rig = stalled()
    rig.run(FRAME_S)
    rig.playout.clear(rig.now)
    n_sent = len(rig.payloads)
    for number in range(50, 60):
        rig.playout.play_live(frame(number), 8000, rig.now)
        rig.run(rig.now + FRAME_S)
    rig.run_out()
    assert numbers(rig)[n_sent:] == list(range(50, 60))


def test_a_blocked_socket_is_sent_nothing_until_it_takes_more() -> None:
    """While blocked frames wait; then they follow in order."""
    rig = stalled()
    rig.playout.blocked = True
    n_sent = len(rig.payloads)
    for number in range(10, 14):
        rig.playout.play_live(frame(number), 8000, rig.now)
        rig.run(rig.now + FRAME_S)
    assert len(rig.payloads) == n_sent
    rig.playout.blocked = False
    rig.playout.tick(rig.now)
    rig.run_out()
    assert numbers(rig) == list(range(14))


def test_other_audio_and_marks_keep_their_place_among_live_frames() -> None:
    """A clip, a mark and a followed live play between live frames are sent where they came."""
    rig = stalled()
    rig.playout.play(np.concatenate([frame(10), frame(11)]), 8000, rig.now)
    mark = rig.playout.mark("here", rig.now)
    rig.playout.play(frame(12), 8000, rig.now, live=True)
    for number in range(13, 40):
        rig.playout.play_live(frame(number), 8000, rig.now)
        rig.run(rig.now + FRAME_S)
    rig.run_out()
    assert numbers(rig) == list(range(40))
    assert mark.state == "played"


@pytest.mark.parametrize("bad", [[0] * 160, np.zeros(160), np.zeros((160, 1), np.int16)])
def test_what_is_no_audio_is_refused_and_costs_nothing(bad: Int16Array) -> None:
    """A wrong array raises, whatever waits, and neither it nor anything else is lost."""
    rig = stalled()
    rig.run(FRAME_S)
    with pytest.raises(AudioFormatError):
        rig.playout.play_live(bad, 8000, rig.now)
    rig.playout.play_live(frame(10), 8000, rig.now)
    rig.run_out()
    assert numbers(rig) == list(range(11))


def test_an_array_that_its_owner_may_write_is_copied() -> None:
    """What is written to an array behind ``play_live`` is not heard."""
    rig = stalled()
    rig.run(FRAME_S)
    mine = frame(10).copy()
    rig.playout.play_live(mine, 8000, rig.now)
    mine[:] = 0
    rig.run_out()
    assert numbers(rig) == list(range(11))


def test_once_closed_it_does_nothing() -> None:
    """Frames behind the socket's end are ignored."""
    rig = stalled()
    rig.playout.close(rig.now)
    rig.alive = False
    rig.playout.play_live(frame(10), 8000, rig.now)
    assert rig.playout.next_at is None


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 24), st.integers(1, 9)), min_size=1, max_size=25),
    st.sampled_from([0.1, 0.2, 0.5]),
)
def test_bursts_and_pauses_lose_only_what_is_counted(
    bursts: list[tuple[int, int]], backlog_s: float
) -> None:
    """Whatever the rhythm: order is kept, the lead and the delay are bounded, drops are counted."""
    rig = Rig(backlog_s=backlog_s)
    fed = 0

    def bounded() -> None:
        assert rig.playout.queued_s(rig.now) <= backlog_s + 1e-3

    for wait, n in bursts:
        rig.run(rig.now + wait * 0.005)
        for _ in range(n):
            rig.playout.play_live(frame(fed), 8000, rig.now)
            fed += 1
            bounded()
    rig.run_out()
    sent = numbers(rig)
    assert sent == sorted(set(sent)), "in order, none twice"
    assert len(sent) + round(rig.playout.dropped_s / FRAME_S) == fed
    assert max(rig.leads_s) <= LIVE_LEAD_S + 1e-6


@pytest.mark.parametrize("n_samples", [80, 200, 320])
def test_frames_of_other_lengths_join_those_that_wait(n_samples: int) -> None:
    """Shorter and longer frames behind a stall: every sample is sent, in order."""
    rig = stalled()
    rig.run(FRAME_S)
    mixed: list[Int16Array] = []
    for number in range(10, 40):
        mixed.append(frame(number, n_samples if number % 3 else 160))
        rig.playout.play_live(mixed[-1], 8000, rig.now)
        rig.run(rig.now + len(mixed[-1]) / 8000)
    rig.run_out()
    wanted = b"".join(bytes([CODES[n]]) * 160 for n in range(10)) + b"".join(
        bytes([CODES[n + 10]]) * len(each) for n, each in enumerate(mixed)
    )
    assert rig.wire.rstrip(b"\xff") == wanted
