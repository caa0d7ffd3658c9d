"""A caller who takes turns: when a turn is due, what is said, what was heard."""

from __future__ import annotations

import numpy as np
import pytest

from mediaserver.carrier.turns import Caller, Heard, Turn

RATE_HZ = 8000
N_CHUNK = 160
LOUD = np.full(RATE_HZ, 5000, np.int16)


class Talk:
    """A caller driven on a clock of 20 ms, and what they said and pressed."""

    def __init__(self, *turns: Turn, quiet_s: float = 0.5) -> None:
        self.heard = Heard(RATE_HZ)
        self.caller = Caller(turns, self.heard, quiet_s, RATE_HZ)
        self.said = np.zeros(0, np.int16)
        self.keys: list[tuple[float, str]] = []

    def until(self, end_s: float, *marks: str) -> None:
        while len(self.said) / RATE_HZ < end_s - 1e-9:
            now = len(self.said) / RATE_HZ
            keys, samples = self.caller.step(now, now, marks, N_CHUNK)
            marks = ()
            self.said = np.concatenate([self.said, samples])
            if keys:
                self.keys.append((round(now, 3), keys))

    def taken(self) -> list[tuple[str, float, float]]:
        return [(name, round(a, 3), round(b, 3)) for name, a, b in self.caller.taken]


def say(kind: str, seconds: float = 0.1, at_s: float = 0.0, mark: str = "") -> Turn:
    samples = LOUD[: round(seconds * RATE_HZ)]
    return Turn(kind + mark, kind, at_s=at_s, mark=mark, samples=samples)  # type: ignore[arg-type] # a test's text


def test_call_step_for_every_chunk_in_its_order() -> None:
    """A clip at a time is said from exactly then, once; before and behind it there is silence."""
    talk = Talk(say("time", 0.1, at_s=0.2))
    talk.until(1.0)
    assert np.flatnonzero(talk.said).tolist() == list(range(1600, 2400))
    assert talk.taken() == [("time", 0.2, 0.3)]
    assert talk.caller.waiting == []


def test_call_feed_with_all_audio() -> None:
    """Audible stretches are told, pauses between words joined, hiss and silence left out."""
    heard = Heard(RATE_HZ)
    heard.feed(LOUD[:1600], 1.0)
    heard.feed(np.full(800, 20, np.int16), 1.2)
    heard.feed(LOUD[:800], 1.3)
    heard.feed(LOUD[:800], 2.0)
    assert heard.until(9.0) == ((1.0, pytest.approx(1.4)), (2.0, pytest.approx(2.1)))
    assert heard.until(2.05) == ((1.0, pytest.approx(1.4)), (2.0, 2.05))
    assert heard.until(0.5) == ()
    heard.cut(1.1)
    assert heard.until(9.0) == ((1.0, 1.1),)
    heard.cut(0.5)
    assert (heard.until(9.0), heard.last_s) == ((), 0.0)


def test_the_loudest_negative_sample_is_heard() -> None:
    """-32768 has no positive counterpart in int16, and is loud all the same."""
    heard = Heard(RATE_HZ)
    heard.feed(np.full(160, -32768, np.int16), 0.0)
    assert heard.until(1.0) == ((0.0, 0.02),)


def test_silence_comes_only_behind_a_voice() -> None:
    """A bot that never spoke has not fallen silent; one that spoke has, after the quiet time."""
    talk = Talk(say("silence"))
    talk.until(2.0)
    assert talk.taken() == []
    talk.heard.feed(LOUD[:800], 2.0)
    talk.until(4.0)
    assert talk.taken() == [("silence", 2.6, 2.7)]


def test_each_silence_serves_one_turn() -> None:
    """The second turn waits until the bot has spoken again, while the caller talks or later."""
    talk = Talk(say("silence", 1.0), say("silence"), say("silence"))
    talk.heard.feed(LOUD[:800], 0.0)
    talk.until(0.8)
    talk.heard.feed(LOUD[:800], 0.8)
    talk.until(5.0)
    # Not while they still talk, to 1.6 s.
    assert talk.taken() == [("silence", 0.6, 1.6), ("silence", 1.6, 1.7)]
    assert len(talk.caller.waiting) == 1


def test_audio_still_queued_is_no_silence() -> None:
    """What plays on for a second counts to its end."""
    talk = Talk(say("silence"))
    talk.heard.feed(LOUD, 0.0)
    talk.until(3.0)
    assert talk.taken() == [("silence", 1.5, 1.6)]


def test_a_mark_serves_the_turns_that_wait_for_it_one_by_one() -> None:
    """Other marks serve nobody, and two turns of one name want it twice; times do not mind."""
    talk = Talk(say("mark", mark="a"), say("mark", mark="a"), say("time", at_s=9.0))
    talk.until(0.1, "b", "")
    talk.until(0.2, "a")
    talk.until(0.5)
    assert talk.taken() == [("marka", 0.1, 0.2)]
    talk.until(1.0, "a")
    assert len(talk.taken()) == 2


def test_two_marks_at_once_serve_two_turns() -> None:
    """Both clips are said, one behind the other."""
    talk = Talk(say("mark", mark="a"), say("mark", mark="a"))
    talk.until(0.5, "a", "a")
    assert talk.taken() == [("marka", 0.0, 0.1), ("marka", 0.1, 0.2)]


def test_clips_that_meet_queue_without_a_gap() -> None:
    """A second clip whose time comes while the first is said follows it."""
    talk = Talk(say("time", 0.15, at_s=0.1), say("time", 0.1, at_s=0.2))
    talk.until(1.0)
    assert talk.taken() == [("time", 0.1, 0.25), ("time", 0.25, 0.35)]
    assert np.flatnonzero(talk.said).tolist() == list(range(800, 2800))


def test_keys_are_pressed_one_after_the_other() -> None:
    """The keys of a turn are 0.2 s apart, and a silence waits for the last one."""
    talk = Talk(Turn("keys", "time", at_s=0.1, keys="12#"), say("silence"))
    talk.until(0.1)
    talk.heard.feed(LOUD[:160], 0.12)
    talk.until(2.0)
    assert talk.keys == [(0.1, "1"), (0.3, "2"), (0.5, "#")]
    assert talk.taken() == [("keys", 0.1, 0.5), ("silence", 0.64, 0.74)]
