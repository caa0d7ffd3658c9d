"""Random plays, marks, clears and deaths: each thing resolves once, and rightly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mediaserver.media.playout import Outcome, Playout
from telephony_codecs import codec

if TYPE_CHECKING:
    from tests.media.playout.conftest import Told


class LogSink:
    """Writes down the marks and where in the audio they stand (PCMU: an octet a sample)."""

    def __init__(self) -> None:
        self.n_samples = 0
        self.names: list[str] = []
        # (name, samples sent before it) of those that the far end has not returned.
        self.outstanding: list[tuple[str, int]] = []

    def send_media(self, payload: bytes) -> None:
        self.n_samples += len(payload)

    def send_mark(self, name: str) -> None:
        self.names.append(name)
        self.outstanding.append((name, self.n_samples))

    def send_clear(self) -> None:
        pass


class Truth:
    """Does random things to a playout; knows from the wire what may have become of each."""

    def __init__(self, lead_s: float | None, told: Told) -> None:
        self.sink = LogSink()
        self.playout = Playout(codec("PCMU").encoder(), self.sink, lead_s=lead_s)
        self.now = 0.0
        self.told = told
        self.things: list[Outcome] = []

    def add(self, thing: Outcome) -> None:
        self.things.append(thing)
        self.told.watch(thing)

    def do(self, what: str, amount: int) -> None:
        playout = self.playout
        if what == "play":
            live = amount % 3 == 0
            self.add(playout.play(np.zeros(amount * 37, np.int16), 8000, self.now, live=live))
        elif what == "mark":
            self.add(playout.mark("user's", self.now))
        elif what == "clear":
            playout.clear(self.now)
            self.check_all_resolved()
        elif what == "wait":
            self.now += amount * 0.005
            while playout.next_at is not None and playout.next_at <= self.now:
                playout.tick(max(playout.next_at, 0.0))
        elif what == "return" and self.sink.outstanding:
            name, position = self.sink.outstanding.pop(0)
            stale = playout.ledger.stale_marks
            open_before = [thing for thing in self.things if not thing.resolved]
            playout.mark_returned(name, self.now)
            if playout.ledger.stale_marks > stale:
                assert not any(thing.resolved for thing in open_before)
                return
            # Marks come back in order: what ended before this one is played, else not. What
            # was queued behind a user's mark but ended in the same message, of below 40 ms, has
            # the next one.
            n_played = sum(thing.resolved for thing in open_before)
            for thing in open_before[:n_played]:
                assert thing.state == "played"
                assert 0 <= thing.end <= position
            for thing in open_before[n_played:]:
                assert not thing.resolved
                assert thing.end < 0 or thing.end > position - 320

    def check_all_resolved(self) -> None:
        for thing in self.things:
            assert thing.resolved
            assert len(self.told.of(thing)) == 1


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["play", "play", "mark", "wait", "return", "return", "clear"]),
        st.integers(0, 30),
    ),
    max_size=30,
)


@settings(max_examples=1000, deadline=None)
@given(STEPS, st.sampled_from([0.2, None]))
def test_each_thing_resolves_once_and_is_played_only_by_its_mark(
    make_told: type[Told], steps: list[tuple[str, int]], lead_s: float | None
) -> None:
    """Over random plays, marks, clears and death: told once, never changed, played by a mark.

    Played only while a mark is being returned, cleared only by clear or death: `do` checks
    the first, the counts before and after each other step the second.
    """
    truth = Truth(lead_s, make_told())
    for what, amount in steps:
        before = [thing.state for thing in truth.things]
        truth.do(what, amount)
        after = [thing.state for thing in truth.things]
        for old, new in zip(before, after, strict=False):
            if old in ("played", "cleared"):
                assert new == old
            elif new == "played":
                assert what == "return"
            elif new == "cleared":
                assert what == "clear"
    truth.playout.close(truth.now)
    truth.check_all_resolved()
    assert len(set(truth.sink.names)) == len(truth.sink.names)


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_a_returned_mark_resolves_exactly_what_was_sent_before_it(
    make_told: type[Told], steps: list[tuple[str, int]]
) -> None:
    """Once every wire mark came back, everything sent is played and nothing else is left."""
    truth = Truth(0.2, make_told())
    for what, amount in steps:
        if what != "clear":
            truth.do(what, amount)
    for _ in range(200):
        truth.do("wait", 30)
        truth.do("return", 0)
    assert [thing.state for thing in truth.things] == ["played"] * len(truth.things)
    truth.check_all_resolved()
