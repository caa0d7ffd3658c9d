"""Live audio catches up: its delay follows the jitter and falls back within ten seconds."""

from __future__ import annotations

import random
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np
import pytest

from mediaserver.media.frames import Int16Array
from mediaserver.media.playout.catchup import (
    KEEP_S,
    MOST_S,
    QUIET_PEAK,
    CatchUp,
    blended,
    is_quiet,
    squeezed,
)
from telephony_codecs import codec

STEP_S = 0.02
QUIET, LOUD = np.full(160, 100, np.int16), np.full(160, 5000, np.int16)


class Queue:
    """What is queued, by its end alone; a piece of 20 ms comes each 20 ms."""

    def __init__(self) -> None:
        self.catch_up = CatchUp()
        self.now = 0.0
        self.end_at = 0.0
        self.left_out: list[float] = []

    def piece(self, *, late_s: float = 0.0, quiet: bool = False) -> None:
        now = self.now + late_s
        self.end_at = max(self.end_at, now)
        samples = QUIET if quiet else LOUD
        if self.catch_up.keep(samples, STEP_S, self.end_at - now, now, self.drop) is None:
            self.left_out.append(now)
        else:
            self.end_at += STEP_S
        self.now += STEP_S

    def drop(self, seconds: float) -> float:
        self.end_at -= seconds
        return seconds

    def run(self, seconds: float, **how: Any) -> None:
        for _ in range(round(seconds * 50)):
            self.piece(**how)

    @property
    def ahead_s(self) -> float:
        return self.end_at - self.now


def test_keep_for_each_piece_before_it_is_queued() -> None:
    """A delay that nothing needs is watched for 4.5 s, then left out, any piece in the end."""
    queue = Queue()
    queue.end_at = 0.164
    queue.run(4.4)
    assert queue.left_out == []
    queue.run(3.5)
    assert queue.ahead_s < KEEP_S
    assert len(queue.left_out) == 7
    assert queue.left_out[0] >= 4.5 + 1.5 - 0.03
    assert np.diff(queue.left_out).min() >= 0.1 - 1e-9


def test_quiet_pieces_go_first_and_at_once() -> None:
    """In silence the delay is back half a second after it was found to be too long."""
    queue = Queue()
    queue.end_at = 0.2
    queue.run(6.0, quiet=True)
    assert queue.ahead_s < KEEP_S
    assert queue.left_out[-1] < 5.1


def test_jitter_keeps_the_delay_that_it_needs() -> None:
    """Where one piece in a second comes at the last moment, nothing is left out."""
    queue = Queue()
    queue.end_at = 0.2
    for n in range(50 * 60):
        queue.piece(late_s=0.17 if n % 50 == 0 else 0.0, quiet=True)
    assert queue.left_out == []


def test_a_stall_begins_the_watch_anew() -> None:
    """What was seen before the end of the queue was moved says nothing about after it."""
    queue = Queue()
    queue.end_at = 0.1
    queue.run(4.0)
    queue.end_at += 0.1
    queue.run(4.0, quiet=True)
    assert queue.left_out == []


def test_more_than_the_most_goes_at_once() -> None:
    """A delay of two seconds falls to the longest that any jitter gets, then below it."""
    queue = Queue()
    queue.end_at = 2.0
    queue.run(4.6, quiet=True)
    assert queue.ahead_s <= MOST_S
    queue.run(4.0)
    assert queue.ahead_s < KEEP_S


def test_what_is_still_too_late_is_watched_again() -> None:
    """Leaving out ends after three seconds even where it had nothing quiet to take."""
    queue = Queue()
    queue.end_at = MOST_S
    queue.run(4.5 + 3.0)
    first = len(queue.left_out)
    assert 13 <= first <= 15
    queue.run(20.0)
    assert queue.ahead_s < KEEP_S


def test_a_blend_begins_as_one_piece_and_ends_as_the_next() -> None:
    """Nothing clicks where a piece was left out; of another length nothing can be blended."""
    one, two = np.full(160, 1000, np.int16), np.full(160, -1000, np.int16)
    mixed = blended(one, two)
    assert (mixed[0], mixed[-1]) == (1000, -1000)
    assert np.abs(np.diff(mixed)).max() < 20
    assert not mixed.flags.writeable
    assert blended(one[:80], two) is two
    short = squeezed(np.concatenate((one, two, two)), 160)
    assert len(short) == 320
    assert (short[0], short[159], short[-1]) == (1000, -1000, -1000)


def test_quiet_is_what_nobody_misses() -> None:
    """The loudest sample counts, of either sign; nothing at all is quiet."""
    assert is_quiet(np.zeros(0, np.int16))
    assert is_quiet(np.full(160, -QUIET_PEAK, np.int16))
    assert not is_quiet(np.full(160, QUIET_PEAK + 1, np.int16))
    assert not is_quiet(np.full(160, -32768, np.int16))


# The same in the playout.


def talk(n: int, *, loud: bool = True) -> Int16Array:
    """A piece that tells which one it is."""
    level = 8000 if loud else 300
    return np.random.default_rng(n).integers(-level, level, 160).astype(np.int16)


def echoed(rig: Any, arrivals: list[float], *, loud: bool = True) -> list[tuple[float, float]]:
    """When each piece came and how long after being said it was heard; of those heard whole."""
    encoder = codec("PCMU").encoder(8000)
    said = {}
    for n, at in enumerate(arrivals):
        rig.run(at)
        audio = talk(n, loud=loud)
        audio.flags.writeable = False
        said[encoder.encode(audio)] = n
        rig.playout.play_live(audio, 8000, rig.now)
    rig.run_out()
    heard = []
    for payload, (start, _) in zip(rig.payloads, rig.playing, strict=True):
        if payload in said:
            n = said[payload]
            heard.append((n * STEP_S, start - n * STEP_S))
    return heard


def stalled(seconds: float, *stalls: tuple[float, float], jitter_s: float = 0.0) -> list[float]:
    dice, latest, out = random.Random(4), 0.0, []
    for n in range(round(seconds * 50)):
        latest = max(latest, n * STEP_S + dice.uniform(0, jitter_s))
        for begin, end in stalls:
            latest = end if begin <= latest < end else latest
        out.append(latest)
    return out


@pytest.mark.parametrize("loud", [True, False])
@pytest.mark.parametrize(
    ("arrivals", "over_s"),
    [
        (stalled(25, (5, 6)), 6.0),
        (stalled(25, (5, 6), jitter_s=0.015), 6.0),
        (stalled(30, (5, 6), (7, 7.3), (9, 11.5)), 11.5),
        (stalled(25, (0, 3)), 3.0),
    ],
    ids=["a stall", "with jitter", "several", "at the start"],
)
def test_ten_seconds_behind_a_stall_an_echo_is_in_time(
    make_rig: type[Any], arrivals: list[float], over_s: float, loud: bool
) -> None:
    """The median delay is within 40 ms of what it was, for 250 ms of audio left out."""
    rig = make_rig(backlog_s=0.2)
    heard = echoed(rig, arrivals, loud=loud)
    late = [delay for at, delay in heard if at > over_s + 10]
    assert median(late) <= 0.04 + 1e-6
    # What a stall holds back beyond the most that may be late is dropped at once.
    at_once_s = sum(b - a for a, b in pairwise([0.0, *arrivals]) if b - a > 0.2)
    assert rig.playout.dropped_s <= at_once_s - 0.2 + 0.25
    after = [at for at, _ in heard if at > over_s + 10]
    assert len(after) >= (arrivals[-1] - over_s - 10) * 50 - 2


def test_a_longer_piece_is_squeezed(make_rig: type[Any]) -> None:
    """Of live pieces of 100 ms only 20 ms go, and pieces of no length do no harm."""
    rig = make_rig(backlog_s=0.4)
    rig.playout.play_live(talk(0)[:0], 8000, 0.0)
    for n in range(100):
        rig.run(max(n * 0.1, 0.35))
        audio = np.concatenate([talk(5 * n + i, loud=False) for i in range(5)])
        rig.playout.play_live(audio, 8000, rig.now)
    assert 0.1 < rig.playout.dropped_s < 0.4
    assert rig.playout.queued_s(rig.now) < 0.1 + KEEP_S + 0.021


def test_who_asks_to_keep_all_keeps_all(make_rig: type[Any]) -> None:
    """Without catching up an echo stays as late as its longest stall, and whole."""
    rig = make_rig(backlog_s=5.0, catch_up=False)
    heard = echoed(rig, stalled(15, (2, 3)))
    assert len(heard) == 15 * 50
    assert median(delay for at, delay in heard if at > 10) > 0.9
    assert rig.playout.dropped_s == 0


def test_clear_forgets_what_was_left_out(make_rig: type[Any]) -> None:
    """The first piece behind a clear is played as it is."""
    rig = make_rig(backlog_s=0.2)
    arrivals = stalled(12, (1, 2))
    n = 0
    while rig.playout._catch_up.pending is None:
        rig.run(arrivals[n])
        rig.playout.play_live(talk(n), 8000, rig.now)
        n += 1
    rig.playout.clear(rig.now)
    rig.playout.play_live(talk(9999), 8000, rig.now)
    assert rig.payloads[-1] == codec("PCMU").encoder(8000).encode(talk(9999))
