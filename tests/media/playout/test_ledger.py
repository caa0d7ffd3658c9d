"""Marks, clear, heard: what became of each play, told once and truthfully."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mediaserver.media.frames import Int16Array
from mediaserver.media.playout import Play
from mediaserver.media.playout.ledger import MAX_OUTSTANDING, Ledger, Mark

if TYPE_CHECKING:
    from tests.media.playout.conftest import Rig, Told

Tone = Callable[..., Int16Array]
FRAME = np.zeros(160, np.int16)
FRAME.flags.writeable = False


def test_marks_after_clear_are_cleared_whatever_comes_back(
    make_rig: type[Rig], make_tone: Tone
) -> None:
    """Telnyx returns all marks on clear; they prove nothing and are counted as stale."""
    rig = make_rig(one_way_s=0.03)
    play = rig.playout.play(make_tone(1.0), 8000, 0.0)
    mark = rig.playout.mark("after", 0.0)
    rig.run(0.99)
    cleared = rig.playout.clear(rig.now)
    assert cleared == (play, mark)
    assert (play.state, mark.state) == ("cleared", "cleared")
    rig.run_out()
    assert (play.state, mark.state) == ("cleared", "cleared")
    assert (rig.playout.ledger.stale_marks, rig.playout.ledger.unknown_marks) == (1, 0)


@pytest.mark.parametrize(
    "name", ["utt-1", "ms-", "ms-99", "ms-0", "ms-²", "ms-1x", "ms-" + "9" * 40]
)
def test_unknown_marks_are_counted_and_ignored(make_rig: type[Rig], name: str) -> None:
    """A name that is none of ours changes nothing but its counter."""
    rig = make_rig()
    item = rig.playout.play(FRAME, 8000, 0.0)
    rig.playout.mark_returned(name, 0.0)
    assert item.state == "playing"
    assert rig.playout.ledger.unknown_marks == 1


def test_joined_plays_share_marks(make_rig: type[Rig], make_tone: Tone) -> None:
    """A hundred 20 ms plays in a row cost at most one mark per 200 ms, and all resolve."""
    rig = make_rig()
    plays = [rig.playout.play(make_tone(0.02), 8000, 0.0) for _ in range(100)]
    rig.run_out()
    assert [play.state for play in plays] == ["played"] * 100
    assert 10 <= len(rig.marks_sent) <= 12


def test_the_last_play_always_gets_its_mark(make_rig: type[Rig], make_tone: Tone) -> None:
    """Also one that ends right behind a mark resolves, within the 200 ms and its length."""
    rig = make_rig()
    first = rig.playout.play(make_tone(0.5), 8000, 0.0)
    last = rig.playout.play(make_tone(0.06), 8000, 0.0)
    rig.run(0.8)
    assert (first.state, last.state) == ("played", "played")
    assert rig.playout.next_at is None


def test_a_steady_echo_costs_a_mark_a_second(make_rig: type[Rig]) -> None:
    """Ten seconds of echo send at most eleven marks, and its plays resolve by them."""
    rig = make_rig()
    plays = []
    for _ in range(500):
        plays.append(rig.playout.play(FRAME, 8000, rig.now, live=True))
        rig.run(rig.now + 0.02)
    assert len(rig.marks_sent) <= 11
    rig.run(12.0)
    assert {play.state for play in plays} == {"played"}
    assert plays[0].heard_s(rig.now) == 0.02


def test_a_users_mark_stands_exactly_behind_what_was_queued(
    make_rig: type[Rig], make_tone: Tone
) -> None:
    """It comes back when the play before it is over, though another follows without a gap."""
    rig = make_rig()
    rig.playout.play(make_tone(1.0), 8000, 0.0)
    mark = rig.playout.mark("half", 0.0)
    rig.playout.play(make_tone(1.0), 8000, 0.0)
    at: list[float] = []
    mark.notify(lambda _: at.append(rig.now))
    rig.run_out()
    assert at == [pytest.approx(1.0)]
    assert (mark.name, mark.state) == ("half", "played")


def test_marks_at_one_place_share_one_wire_mark(make_rig: type[Rig], make_tone: Tone) -> None:
    """Users may set any number of marks; the wire carries one for each place."""
    rig = make_rig()
    item = rig.playout.play(make_tone(0.1), 8000, 0.0)
    marks = [rig.playout.mark(str(n), 0.0) for n in range(50)]
    assert len(rig.marks_sent) == 1
    rig.run_out()
    assert {thing.state for thing in (item, *marks)} == {"played"}


def test_a_mark_with_nothing_before_it_comes_back_at_once(make_rig: type[Rig]) -> None:
    """Without audio a mark is still sent and still resolves."""
    rig = make_rig()
    mark = rig.playout.mark("first", 0.0)
    empty = rig.playout.play(np.zeros(0, np.int16), 8000, 0.0)
    rig.run_out()
    assert (mark.state, empty.state) == ("played", "played")
    assert empty.heard_s(rig.now) == 0.0


def test_notify_after_the_fact_is_told_at_once(make_rig: type[Rig], make_told: type[Told]) -> None:
    """Who asks late is told, once; who asks while it plays is told when it ends."""
    rig = make_rig()
    item = rig.playout.play(FRAME, 8000, 0.0, live=True)
    told = make_told()
    told.watch(item)
    rig.run_out()
    assert told.of(item) == ["played"]
    told.watch(item)
    assert told.of(item) == ["played", "played"]


def test_heard_is_within_20_ms_of_the_truth(make_rig: type[Rig], make_tone: Tone) -> None:
    """At 100 random moments, each a clear, heard is the far end's truth but for one way's time."""
    rng = np.random.default_rng(4)
    for _ in range(100):
        one_way_s = float(rng.choice([0.0, 0.01, 0.06]))
        rig = make_rig(one_way_s=one_way_s)
        sizes_s = rng.uniform(0.05, 1.5, 4)
        plays = [rig.playout.play(make_tone(float(s)), 8000, 0.0) for s in sizes_s]
        last = [0.0] * len(plays)

        def check(rig: Rig = rig, plays: list[Play] = plays, last: list[float] = last) -> None:
            for n, play in enumerate(plays):
                heard_s = play.heard_s(rig.now)
                assert heard_s >= last[n]
                last[n] = heard_s

        rig.run(float(rng.uniform(0.0, sum(sizes_s))), check)
        truth_s = rig.heard_samples() / 8000
        rig.playout.clear(rig.now)
        heard_s = sum(play.heard_s(rig.now) for play in plays)
        assert heard_s == pytest.approx(truth_s, abs=one_way_s + 0.02)
        frozen = [play.heard_s(rig.now) for play in plays]
        rig.run(rig.now + 5.0)
        assert [play.heard_s(rig.now) for play in plays] == frozen
        assert all(h <= s + 1e-3 for h, s in zip(frozen, sizes_s, strict=True))


def test_heard_claims_no_more_than_was_heard_once_a_mark_came_back(
    make_rig: type[Rig], make_tone: Tone
) -> None:
    """The lag of returned marks is held against the clock: far ends 100 ms away are believed."""
    rig = make_rig(one_way_s=0.1)
    first = rig.playout.play(make_tone(0.5), 8000, 0.0)
    second = rig.playout.play(make_tone(3.0), 8000, 0.0)
    rig.run(0.75)
    assert first.state == "played"
    for n in range(100):
        rig.run(0.75 + n * 0.02)
        truth_s = rig.heard_samples() / 8000 - 0.5
        assert truth_s - 0.12 <= second.heard_s(rig.now) <= truth_s + 1e-3


def test_nothing_of_a_cleared_play_is_heard_after_it(make_rig: type[Rig], make_tone: Tone) -> None:
    """After clear the wire carries only what is played afterwards, encoded as if anew."""
    rig = make_rig()
    source = rig.playout.open(16000, 0.0)
    rig.playout.feed(source, make_tone(1.003, 16000), 0.0)
    rig.playout.play(make_tone(1.0), 8000, 0.0)
    rig.run(0.5)
    n_before = len(rig.payloads)
    heard = rig.heard_samples()
    rig.playout.clear(rig.now)
    rig.playout.feed(source, make_tone(1.0, 16000), rig.now)
    rig.playout.end(source, rig.now)
    assert rig.playout.ignored_feeds == 1
    rig.run(1.0)
    assert (len(rig.payloads), rig.heard_samples()) == (n_before, heard)
    fresh = make_rig()
    for each in (rig, fresh):
        each.playout.play(make_tone(0.513, 16000), 16000, each.now)
        each.run_out()
    assert b"".join(rig.payloads[n_before:]) == fresh.wire


def test_who_is_told_of_a_clear_may_play_again(make_rig: type[Rig], make_tone: Tone) -> None:
    """A play started from within the telling is a fresh one, not part of the clear."""
    rig = make_rig()
    item = rig.playout.play(make_tone(1.0), 8000, 0.0)
    again: list[Play] = []
    item.notify(lambda _: again.append(rig.playout.play(make_tone(0.1), 8000, rig.now)))
    rig.run(0.3)
    rig.playout.clear(rig.now)
    assert again[0].state == "playing"
    rig.run_out()
    assert (item.state, again[0].state) == ("cleared", "played")


def test_a_far_end_without_marks_costs_bounded_memory(
    make_rig: type[Rig], make_told: type[Told]
) -> None:
    """Where no mark ever comes back, old plays end as cleared and are counted."""
    rig = make_rig()
    told = make_told()
    items = []
    for n in range(MAX_OUTSTANDING + 5):
        items.append(rig.playout.play(FRAME, 8000, n * 0.3))
        told.watch(items[-1])
    assert rig.playout.ledger.unconfirmed == 5
    assert [told.of(item) for item in items[:6]] == [["cleared"]] * 5 + [[]]
    assert items[0].heard_s(1000.0) == 0.02


# The ledger alone, at 8 kHz: what it is told, and what it concludes.


class Sink:
    """Remembers the marks that were sent."""

    def __init__(self) -> None:
        self.marks: list[str] = []

    def send_media(self, payload: bytes) -> None:
        raise AssertionError("a ledger sends no audio")

    def send_mark(self, name: str) -> None:
        self.marks.append(name)

    def send_clear(self) -> None:
        raise AssertionError("a ledger clears nothing at the far end")


def ledger_and_sink() -> tuple[Ledger, Sink]:
    sink = Sink()
    return Ledger(sink, 8000, 0.2, 1.0), sink


def test_a_mark_is_overdue_from_when_its_audio_should_have_ended() -> None:
    """Nothing awaited is overdue by nothing; a second sent at 0 and not confirmed at 3 by two."""
    ledger, sink = ledger_and_sink()
    assert ledger.overdue_s(5.0) == 0.0
    ledger.advance(8000, 0.0)
    ledger.send_mark(0.0)
    assert sink.marks == ["ms-1"]
    assert (ledger.overdue_s(0.5), ledger.overdue_s(3.0)) == (0.0, 2.0)
    ledger.mark_returned("ms-1", 3.0)
    assert ledger.overdue_s(9.0) == 0.0


def test_a_mark_before_its_audio_can_have_ended_is_counted_as_early() -> None:
    """It proves all the same that the far end has done with the audio; 40 ms early is no matter."""
    ledger, _ = ledger_and_sink()
    ledger.advance(8000, 0.0)
    ledger.send_mark(0.0)
    ledger.mark_returned("ms-1", 0.5)
    assert (ledger.returned_marks, ledger.early_marks, ledger.heard(0.5)) == (1, 1, 8000)
    ledger.advance(8000, 2.0)
    ledger.send_mark(2.0)
    ledger.mark_returned("ms-2", 2.96)
    assert (ledger.returned_marks, ledger.early_marks) == (2, 1)


def test_a_late_mark_is_believed_by_a_quarter() -> None:
    """A mark 400 ms late, after one in time, holds what was heard back by 100 ms."""
    ledger, _ = ledger_and_sink()
    for sent_at, returned_at in ((0.0, 1.0), (1.0, 2.4)):
        ledger.advance(8000, sent_at)
        ledger.send_mark(sent_at)
        ledger.mark_returned(f"ms-{int(sent_at) + 1}", returned_at)
    ledger.advance(8000, 3.0)
    assert ledger.heard(3.5) == 16000 + 3200
    assert ledger.heard(3.4) == 16000 + 3200, "it never falls"


def test_a_verdict_waits_for_the_mark_and_gives_its_name_to_the_end() -> None:
    """A play whose source failed is playing until its mark is back, and then it has failed."""
    ledger, _ = ledger_and_sink()
    item, neighbour = Play(ledger, 8000, False), Play(ledger, 8000, False)
    item.start, neighbour.start = 0, 0
    ledger.advance(160, 0.0)
    for each in (item, neighbour):
        ledger.finish(each)
    item.give("failed")
    ledger.send_mark(0.0)
    assert (item.state, item.resolved) == ("playing", False)
    ledger.mark_returned("ms-1", 0.02)
    assert (item.state, neighbour.state) == ("failed", "played")


def test_what_was_never_sent_is_resolved_and_told_once() -> None:
    """It is cleared unless it has another verdict; telling again tells nothing."""
    ledger, _ = ledger_and_sink()
    told: list[str] = []
    for verdict in (None, "failed"):
        mark = Mark(ledger, "m")
        mark.notify(lambda each: told.append(each.state))
        if verdict == "failed":
            mark.give("failed")
        mark.resolve_unsent()
        mark.tell()
    assert told == ["cleared", "failed"]


def test_each_end_has_its_reason(make_rig: type[Rig], make_tone: Tone) -> None:
    """Heard, interrupted, cancelled, cut off with the socket or the call, or failed."""
    rig = make_rig()
    heard = rig.playout.play(make_tone(0.1), 8000, 0.0)
    assert heard.reason is None
    rig.run_out()
    assert (heard.state, heard.reason) == ("played", "finished")
    cut = rig.playout.play(make_tone(1.0), 8000, rig.now)
    cancelled = rig.playout.play(make_tone(1.0), 8000, rig.now)
    broken = rig.playout.open(8000, rig.now)
    rig.playout.cancel(cancelled, rig.now)
    rig.playout.fail(broken, rig.now)
    rig.playout.clear(rig.now)
    assert (cut.reason, cancelled.reason, broken.reason) == ("barge_in", "cancelled", "source")
    last = rig.playout.play(make_tone(1.0), 8000, rig.now)
    rig.playout.close(rig.now, "ended")
    assert (last.state, last.reason) == ("cleared", "ended")


def test_what_goes_on_elsewhere_is_counted_there(make_rig: type[Rig], make_tone: Tone) -> None:
    """But for what was cancelled: that goes on nowhere. Live plays are never counted."""
    rig = make_rig()
    goes_on = rig.playout.play(make_tone(2.0), 8000, 0.0)
    cancelled = rig.playout.play(make_tone(2.0), 8000, 0.0)
    rig.playout.play(make_tone(0.1), 8000, 0.0, live=True)
    rig.playout.cancel(cancelled, 0.0)
    for play in (goes_on, cancelled):
        play.goes_on_elsewhere()
    rig.playout.close(0.1)
    assert rig.playout.ledger.plays == {"cleared": 1}


def test_followers_are_told_of_each_end_once(make_rig: type[Rig], make_tone: Tone) -> None:
    """Of plays and marks, with their final states; of live audio that nobody awaits, nothing."""
    rig = make_rig()
    told: list[tuple[object, str]] = []
    rig.playout.ledger.followers.append(lambda each: told.append((each, each.state)))
    first = rig.playout.play(make_tone(0.3), 8000, 0.0)
    mark = rig.playout.mark("here", 0.0)
    rig.run_out()
    rig.playout.play_live(FRAME, 8000, rig.now)
    second = rig.playout.play(make_tone(0.5), 8000, rig.now)
    rig.playout.clear(rig.now)
    rig.run_out()
    assert told == [(first, "played"), (mark, "played"), (second, "cleared")]
