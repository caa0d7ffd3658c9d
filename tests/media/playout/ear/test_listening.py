"""A listener learns what is sent, and when it is at the ear."""

from __future__ import annotations

import numpy as np
import pytest

from mediaserver.media.frames import Int16Array
from mediaserver.media.playout import Playout
from mediaserver.media.playout.ledger import Ledger
from telephony_codecs import codec


class Sink:
    """Takes all."""

    def send_media(self, payload: bytes) -> None: ...
    def send_mark(self, name: str) -> None: ...
    def send_clear(self) -> None: ...


class Heard:
    """A listener."""

    def __init__(self) -> None:
        self.pieces: list[tuple[float, Int16Array]] = []
        self.cleared_at: list[float] = []
        self.ledgers: list[Ledger] = []

    def playing(self, ledger: Ledger) -> None:
        self.ledgers.append(ledger)

    def sent(self, samples: Int16Array, rate_hz: int, at: float) -> None:
        assert rate_hz == 8000
        self.pieces.append((at, samples.copy()))

    def cleared(self, at: float) -> None:
        self.cleared_at.append(at)


@pytest.mark.parametrize("name", ["PCMU", "PCMA", "L16"])
def test_what_is_sent_is_told_with_its_time(name: str) -> None:
    """Pieces lie end to end at the ear, however far ahead they are sent; live audio as well."""
    now = 100.0
    heard = Heard()
    playout = Playout(codec(name).encoder(8000), Sink(), lead_s=0.2)
    playout.listen(heard, lambda: now)
    samples = np.arange(4000, dtype=np.int16)
    playout.play(samples, 8000, now)
    while playout.next_at is not None and now < 101.0:
        now = max(playout.next_at, now)
        playout.tick(now)
        now += 0.001
    np.testing.assert_array_equal(np.concatenate([each for _, each in heard.pieces]), samples)
    ends = [at + len(each) / 8000 for at, each in heard.pieces]
    assert heard.pieces[0][0] == 100.0
    assert [at for at, _ in heard.pieces[1:]] == pytest.approx(ends[:-1], abs=0.002)
    now = 105.0
    playout.play_live(np.ones(160, np.int16), 8000, now)
    assert heard.pieces[-1][0] == 105.0


def test_what_is_cleared_is_told() -> None:
    """At the time of ``clear``."""
    heard = Heard()
    playout = Playout(codec("PCMU").encoder(), Sink(), lead_s=None)
    playout.listen(heard, lambda: 3.5)
    playout.play(np.zeros(8000, np.int16), 8000, 3.0)
    playout.clear(3.5)
    assert heard.cleared_at == [3.5]


def test_whose_sound_it_is_is_told_first() -> None:
    """The ledger, from which a listener learns what became of plays."""
    heard = Heard()
    playout = Playout(codec("PCMU").encoder(), Sink())
    playout.listen(heard, lambda: 0.0)
    assert heard.ledgers == [playout.ledger]
    assert heard.pieces == []


def test_a_codecs_own_delay_is_part_of_the_time() -> None:
    """What G722 is given comes out of the far end's decoder a little later."""
    told: list[float] = []

    class Times(Heard):
        def sent(self, samples: Int16Array, rate_hz: int, at: float) -> None:
            told.append(at)

    encoder = codec("G722").encoder()
    assert encoder.delay_samples > 0
    playout = Playout(encoder, Sink())
    playout.listen(Times(), lambda: 2.0)
    playout.play(np.zeros(320, np.int16), 16000, 2.0)
    assert told == [2.0 + encoder.delay_samples / 16000]


def test_one_of_several_listens_no_more() -> None:
    """The others do, whether they began before it or behind it."""
    heard = [Heard(), Heard(), Heard()]
    playout = Playout(codec("PCMU").encoder(), Sink(), lead_s=None)
    for each in heard:
        playout.listen(each, lambda: 3.0)
    playout.listen_no_more(heard[1])
    playout.listen_no_more(Heard())
    playout.play(np.ones(8000, np.int16), 8000, 3.0)
    assert [bool(each.pieces) for each in heard] == [True, False, True]
    for each in heard:
        playout.listen_no_more(each)
    playout.clear(3.5)
    assert [each.cleared_at for each in heard] == [[], [], []]
