"""What was heard, by the playout's own ledger in virtual time."""

from __future__ import annotations

import numpy as np

from mediaserver.media.playout import Playout
from mediaserver.processors.builtin.recording.heard import Heard, PlayHeard
from mediaserver.processors.builtin.recording.pieces import Piece
from telephony_codecs import codec

BEGAN = 100.0


class Sink:
    """Takes messages; marks come back by hand."""

    def __init__(self) -> None:
        self.marks: list[str] = []

    def send_media(self, payload: bytes) -> None: ...

    def send_mark(self, name: str) -> None:
        self.marks.append(name)

    def send_clear(self) -> None: ...


class Rig:
    """A playout with somebody who hears, and a clock to be turned."""

    def __init__(self, lead_s: float | None = 0.2) -> None:
        self.now = BEGAN
        self.sink = Sink()
        self.heard = Heard(BEGAN, lambda: self.now)
        self.playout = self.new(lead_s)

    def new(self, lead_s: float | None = 0.2) -> Playout:
        playout = Playout(codec("L16").encoder(8000), self.sink, lead_s=lead_s)
        playout.listen(self.heard, lambda: self.now)
        return playout

    def until(self, at: float) -> None:
        """Turn the clock to a stream time."""
        while (due := self.playout.next_at) is not None and due <= BEGAN + at:
            self.now = max(self.now, due)
            self.playout.tick(self.now)
        self.now = BEGAN + at

    def play(self, seconds: float, value: int) -> None:
        samples = np.full(round(8000 * seconds), value, np.int16)
        self.playout.play(samples, 8000, self.now)


def spans(pieces: list[Piece]) -> list[tuple[float, float]]:
    return [(round(each.at, 3), round(each.end, 3)) for each in pieces]


def test_a_play_is_where_it_was_heard() -> None:
    """Two plays in a row are one sound; what follows silence is another one."""
    rig = Rig()
    rig.until(0.5)
    rig.play(0.4, 1)
    rig.play(0.2, 2)
    rig.until(1.5)
    rig.play(0.1, 3)
    rig.until(2.0)
    assert spans(rig.heard.take(2.0)) == [(0.5, 1.1), (1.5, 1.6)]


def test_what_is_not_heard_yet_is_not_taken() -> None:
    """It comes when its time has come, once, without a seam."""
    rig = Rig(lead_s=None)
    rig.play(1.0, 1)
    assert spans(rig.heard.take(0.3)) == [(0.0, 0.3)]
    assert rig.heard.take(0.3) == []
    assert spans(rig.heard.take(0.7)) == [(0.3, 0.7)]
    assert spans(rig.heard.take_all(0.9)) == [(0.7, 0.9)]
    assert rig.heard.take_all(5.0) == []


def test_what_was_cleared_is_not_there() -> None:
    """Nor is what was sent of it and not heard; the next play begins at once."""
    rig = Rig(lead_s=None)
    rig.play(1.0, 1)
    rig.until(0.4)
    rig.playout.clear(rig.now)
    rig.until(0.401)
    rig.play(0.2, 2)
    rig.until(1.0)
    found = rig.heard.take(1.0)
    assert spans(found) == [(0.0, 0.6)]  # a gap of a millisecond is none
    whole = np.concatenate([each.samples for each in found])
    assert np.count_nonzero(whole == 1) == 3200
    assert np.count_nonzero(whole == 2) == 1600


def test_what_became_of_plays_and_marks_is_known() -> None:
    """Each with what was heard of it, and where it began, also behind a clear."""
    rig = Rig()
    rig.until(0.25)
    rig.play(0.5, 1)
    rig.play(0.5, 1)
    rig.playout.mark("end", rig.now)
    rig.until(1.0)
    rig.playout.clear(rig.now)
    rig.until(1.001)
    rig.play(0.3, 2)
    rig.until(1.401)
    for name in rig.sink.marks:
        rig.playout.mark_returned(name, rig.now)
    assert rig.heard.plays == [
        PlayHeard("cleared", "barge_in", 0.5, 0.25),
        PlayHeard("cleared", "barge_in", 0.25, 0.75),
        PlayHeard("played", "finished", 0.3, 1.001),
    ]
    assert [(each.name, each.state, each.at) for each in rig.heard.marks] == [
        ("end", "cleared", 1.0)
    ]


def test_another_socket_goes_on() -> None:
    """What was on the lost one is not heard; the new ledger counts from 0."""
    rig = Rig()
    rig.play(0.5, 1)
    rig.until(0.2)
    rig.playout.close(rig.now)
    rig.heard.cleared(rig.now)
    rig.playout = rig.new()
    rig.until(0.6)
    rig.play(0.1, 2)
    rig.until(1.0)
    rig.playout.close(rig.now, "ended")
    assert spans(rig.heard.take(1.0)) == [(0.0, 0.2), (0.6, 0.7)]
    assert [(p.state, p.reason, p.heard, p.at) for p in rig.heard.plays] == [
        ("cleared", "socket", 0.2, 0.0),
        ("cleared", "ended", 0.1, 0.6),
    ]


def test_a_play_of_which_nothing_was_sent_has_no_place() -> None:
    """It was cleared before its turn."""
    rig = Rig()
    rig.play(2.0, 1)
    rig.play(2.0, 2)
    rig.playout.clear(rig.now)
    assert [(each.at, each.heard) for each in rig.heard.plays] == [(0.0, 0.0), (None, 0.0)]
