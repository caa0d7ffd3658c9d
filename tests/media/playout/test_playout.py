"""What a playout takes and refuses, and live audio that nobody follows, in virtual time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mediaserver.errors import AudioFormatError, CallEndedError
from mediaserver.media.frames import Int16Array
from mediaserver.media.playout.ledger import Ledger
from telephony_codecs import codec
from telephony_codecs.g711 import ulaw_to_linear

from .conftest import Rig, Told

Tone = Callable[..., Int16Array]
ULAW = codec("PCMU")
FRAME_S = 0.02
LIVE_LEAD_S = 0.16
# Every octet but 0x7F, the other zero, is encoded as itself.
CODES = [code for code in range(255) if code != 0x7F]


# Live audio that nobody follows: the path of an echo.


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


def stall(rig: Rig, number: int, n_frames: int) -> int:
    """Nothing comes for so many frames, then all of them at once; the number of the next."""
    rig.run(rig.now + n_frames * FRAME_S)
    for late in range(number, number + n_frames):
        rig.playout.play_live(frame(late), 8000, rig.now)
    return number + n_frames


def test_behind_a_short_stall_the_far_end_has_what_came_late() -> None:
    """All of it goes at once, so that the second stall is not heard; later the delay goes down."""
    rig, number = Rig(), 1
    rig.playout.play_live(frame(0), 8000, rig.now)
    for _ in range(2):
        number = stall(rig, number, 5)
        assert len(rig.payloads) == number
        for _ in range(50):
            rig.run(rig.now + FRAME_S)
            rig.playout.play_live(frame(number), 8000, rig.now)
            number += 1
            assert len(rig.payloads) == number
    assert len(rig.gaps_s) == 1
    for _ in range(500):
        rig.run(rig.now + FRAME_S)
        rig.playout.play_live(frame(number), 8000, rig.now)
        number += 1
    assert rig.playout.queued_s(rig.now) <= 0.04 + FRAME_S
    assert rig.playout.dropped_s == pytest.approx(0.06, abs=0.021)
    assert len(rig.payloads) == number - round(rig.playout.dropped_s / FRAME_S)
    assert len(rig.gaps_s) == 1


def test_a_delay_that_nothing_needs_is_left_out() -> None:
    """Ten seconds behind a stall frames go straight out again; what is missing is counted."""
    rig = stalled()
    for number in range(10, 600):
        rig.run(rig.now + FRAME_S)
        rig.playout.play_live(frame(number), 8000, rig.now)
    assert rig.playout.queued_s(rig.now) <= 0.04 + FRAME_S
    assert 0.1 < rig.playout.dropped_s < 0.25


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


def test_what_is_no_audio_is_refused_when_nothing_waits() -> None:
    """Also where a message would have gone at once: nothing goes, and the next frame does."""
    rig = Rig()
    with pytest.raises(AudioFormatError):
        rig.playout.play_live(np.zeros(160), 8000, 0.0)  # type: ignore[arg-type]  # that is the test
    rig.playout.play_live(frame(1), 8000, 0.0)
    rig.run_out()
    assert numbers(rig) == [1]


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


# Plays that somebody follows.


def test_an_echoed_frame_leaves_at_once_as_one_message(
    make_rig: type[Rig], make_tone: Tone
) -> None:
    """A live 20 ms frame is one message, sent by play itself, bit for bit its encoding."""
    rig = make_rig()
    audio = make_tone(1.0)
    for at in range(0, len(audio), 160):
        rig.run(at / 8000)
        rig.playout.play(audio[at : at + 160], 8000, rig.now, live=True)
        assert len(rig.payloads) == at // 160 + 1
    assert rig.wire == ULAW.encoder().encode(audio)
    assert len(rig.marks_sent) <= 2


@pytest.mark.parametrize(
    "samples",
    [np.zeros((160, 2), np.int16), np.zeros(160, np.float32), np.zeros(100, np.float32)],
)
def test_what_is_no_audio_is_refused(make_rig: type[Rig], samples: Int16Array) -> None:
    """A wrong shape or type raises, queues nothing and leaves the playout usable."""
    rig = make_rig()
    with pytest.raises(AudioFormatError):
        rig.playout.play(samples, 8000, 0.0)
    with pytest.raises(AudioFormatError):
        rig.playout.play(np.zeros(160, np.int16), 12345, 0.0)
    source = rig.playout.open(8000, 0.0)
    with pytest.raises(AudioFormatError):
        rig.playout.feed(source, [0] * 160, 0.0)  # type: ignore[arg-type]  # that is the test
    rig.playout.end(source, 0.0)
    rig.run_out()
    assert rig.payloads == []
    assert rig.playout.play(np.zeros(160, np.int16), 8000, 0.0).state == "playing"


def test_a_callers_array_may_change_after_play(make_rig: type[Rig], make_tone: Tone) -> None:
    """What was accepted is what is played, whatever the caller does to the array."""
    rig = make_rig()
    audio = make_tone(1.0)
    reused = audio.copy()
    rig.playout.play(reused, 8000, 0.0)
    reused[:] = 0
    rig.run_out()
    assert rig.wire == ULAW.encoder().encode(audio)


def test_a_closed_playout_refuses(make_rig: type[Rig], make_tone: Tone) -> None:
    """After the end of the call plays and marks raise, and nothing is sent."""
    rig = make_rig()
    rig.playout.play(make_tone(1.0), 8000, 0.0)
    rig.alive = False
    rig.playout.close(0.1)
    for late in (
        lambda: rig.playout.play(make_tone(0.02), 8000, 0.2),
        lambda: rig.playout.open(8000, 0.2),
        lambda: rig.playout.mark("m", 0.2),
    ):
        with pytest.raises(CallEndedError):
            late()
    assert rig.playout.clear(0.2) == ()
    rig.playout.tick(0.3)


def test_a_source_that_breaks_ends_as_failed(
    make_rig: type[Rig], make_told: type[Told], make_tone: Tone
) -> None:
    """What it gave is heard, then it is failed; one that gave nothing fails at once."""
    rig = make_rig()
    told = make_told()
    broken, silent = rig.playout.open(8000, 0.0), rig.playout.open(8000, 0.0)
    for item in (broken, silent):
        told.watch(item)
    rig.playout.feed(broken, make_tone(0.5), 0.0)
    rig.playout.fail(silent, 0.0)
    assert told.of(silent) == ["failed"]
    rig.playout.fail(broken, 0.0)
    rig.playout.fail(broken, 0.0)
    assert told.of(broken) == []
    rig.run_out()
    assert told.of(broken) == ["failed"]
    assert (broken.heard_s(rig.now), silent.heard_s(rig.now)) == (0.5, 0.0)


def test_cancel_stops_one_play_and_no_other(
    make_rig: type[Rig], make_told: type[Told], make_tone: Tone
) -> None:
    """What is not sent is dropped, the next play follows; the cancelled one tells its truth."""
    rig = make_rig()
    told = make_told()
    first, waiting, last = (rig.playout.play(make_tone(s), 8000, 0.0) for s in (2.0, 1.0, 0.5))
    for item in (first, waiting, last):
        told.watch(item)
    rig.run(0.51)
    rig.playout.cancel(waiting, rig.now)
    assert told.of(waiting) == ["cleared"]
    rig.playout.cancel(first, rig.now)
    assert told.of(first) == []
    rig.run_out()
    assert told.of(first) == ["cleared"]
    assert 0.51 <= first.heard_s(rig.now) <= 0.72
    assert (waiting.heard_s(rig.now), last.heard_s(rig.now)) == (0.0, 0.5)
    assert rig.gaps_s == []
    rig.playout.cancel(last, rig.now)
    assert last.state == "played"


def test_an_open_play_holds_back_what_is_behind_it(make_rig: type[Rig], make_tone: Tone) -> None:
    """Plays go in order: the next one waits for the end of an open one, state queued."""
    rig = make_rig()
    source = rig.playout.open(8000, 0.0)
    behind = rig.playout.play(make_tone(0.1), 8000, 0.0)
    rig.run(0.5)
    assert (source.state, behind.state, rig.payloads) == ("queued", "queued", [])
    rig.playout.feed(source, make_tone(0.1), rig.now)
    assert source.state == "playing"
    rig.playout.end(source, rig.now)
    rig.run_out()
    assert (source.state, behind.state) == ("played", "played")


def test_a_dead_socket_clears_all_and_sends_nothing(make_rig: type[Rig], make_tone: Tone) -> None:
    """Death resolves everything at once as cleared, as far as heard."""
    rig = make_rig()
    items = [rig.playout.play(make_tone(1.0), 8000, 0.0) for _ in range(2)]
    mark = rig.playout.mark("end", 0.0)
    rig.run(0.5)
    rig.alive = False
    assert rig.playout.close(rig.now) == (*items, mark)
    assert [thing.state for thing in (*items, mark)] == ["cleared"] * 3
    assert items[0].heard_s(9.0) == pytest.approx(0.5)
    assert rig.playout.next_at is None


def test_cancelling_what_a_source_has_not_begun_ends_it_at_once(make_rig: type[Rig]) -> None:
    """An open play without samples is cleared, and what it is fed later is counted, not played."""
    rig = make_rig()
    source = rig.playout.open(8000, 0.0)
    rig.playout.cancel(source, 0.0)
    rig.playout.feed(source, frame(1), 0.0)
    rig.playout.fail(source, 0.0)
    rig.run_out()
    assert (source.state, source.heard_s(0.0)) == ("cleared", 0.0)
    assert (rig.payloads, rig.playout.ignored_feeds) == ([], 1)


def test_a_play_that_skipped_the_queue_cannot_be_taken_back(make_rig: type[Rig]) -> None:
    """What left as one message at once plays on when it is cancelled."""
    rig = make_rig()
    item = rig.playout.play(frame(1), 8000, 0.0)
    rig.playout.cancel(item, 0.0)
    rig.run_out()
    assert (item.state, numbers(rig)) == ("played", [1])


def test_a_fifth_of_a_second_of_short_plays_asks_for_a_mark(make_rig: type[Rig]) -> None:
    """Plays of one message each share a mark, sent by the play that makes them 200 ms."""
    rig = make_rig(lead_s=1.0)
    for n in range(10):
        rig.playout.play(frame(n), 8000, n * 0.02)
    assert rig.marks_sent == ["ms-1"], "the first play's own"
    rig.playout.play(frame(10), 8000, 0.2)
    assert rig.marks_sent == ["ms-1", "ms-2"]


def test_a_clip_is_a_play_that_is_open_until_its_samples_have_come() -> None:
    """It counts as one play, and the caller hears all of it; silence of ours is no speech."""
    rig = Rig(keepalive=True)
    rig.run(0.1)
    assert not rig.playout.is_speaking(rig.now)
    clip = rig.playout.open_clip(8000, rig.now)
    rig.playout.feed(clip, frame(1), rig.now)
    rig.playout.end(clip, rig.now)
    rig.run(1.0)
    tally = rig.playout.tally
    assert clip.state == "played"
    assert dict(tally.plays) == {"played": 1}
    assert tally.n_messages == len(rig.payloads)


def test_whoever_listens_is_told_what_is_sent() -> None:
    """Each frame, when it is at the ear."""
    told: list[tuple[int, int]] = []

    class Ears:
        def playing(self, ledger: Ledger) -> None:
            assert ledger is rig.playout.ledger

        def sent(self, samples: Int16Array, rate_hz: int, at: float) -> None:
            assert at >= 0
            told.append((len(samples), rate_hz))

        def cleared(self, at: float) -> None:
            raise AssertionError(at)

    rig = Rig()
    rig.playout.listen(Ears(), lambda: rig.now)
    rig.playout.play_live(frame(1), 8000, rig.now)
    assert told == [(160, 8000)]
