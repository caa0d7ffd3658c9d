"""Whom a port listens to."""

from __future__ import annotations

import pytest

from mediaserver.server.fork.source import NEAR, QUIET_S, Judged, SourceLock
from mediaserver.wire.rtp import RtpPacket

ONE, OTHER = ("192.0.2.1", 4000), ("192.0.2.2", 4000)


def packet(sequence: int, ssrc: int = 7) -> RtpPacket:
    return RtpPacket(0, sequence, 160 * sequence, ssrc, b"")


def locked() -> SourceLock:
    lock = SourceLock()
    lock.judge(ONE, packet(1), 0.0)
    lock.judge(ONE, packet(2), 0.02)
    assert (lock.address, lock.ssrc, lock.heard_at) == (ONE, 7, 0.02)
    return lock


def test_look_at_address_and_ssrc_first_else_ask_judge() -> None:
    """The second packet of a stream proves the first, also the other way round; both are taken."""
    for first, second in ((1, 2), (2, 1), (0xFFFF, 0)):
        lock = SourceLock()
        assert lock.judge(ONE, packet(first), 0.0) == Judged()
        judged = lock.judge(ONE, packet(second), 0.02)
        assert judged == Judged((packet(first), packet(second)), is_new=True)


@pytest.mark.parametrize("sequence", [1, NEAR + 2, 40_000])
def test_two_packets_that_do_not_follow_prove_nothing(sequence: int) -> None:
    """The same one again, or one from far away: the first is refused, the second may be proven."""
    lock = SourceLock()
    lock.judge(ONE, packet(1), 0.0)
    assert lock.judge(ONE, packet(sequence), 0.02).refused == "unproven"
    assert lock.judge(ONE, packet(sequence + 1), 0.04).is_new


def test_others_are_refused_while_it_is_heard() -> None:
    """By their address, or their SSRC."""
    lock = locked()
    assert lock.judge(OTHER, packet(3), 1.0).refused == "source"
    assert lock.judge(ONE, packet(3, ssrc=8), 1.0).refused == "ssrc"


def test_another_stream_takes_the_place_of_one_that_is_quiet() -> None:
    """By the same proof; a hold or a transfer may bring another sender."""
    lock = locked()
    later = 0.02 + QUIET_S
    assert lock.judge(ONE, packet(900, ssrc=8), later) == Judged()
    assert lock.judge(ONE, packet(901, ssrc=8), later).is_new
    assert lock.ssrc == 8


def test_strangers_by_turns_prove_nothing() -> None:
    """One packet of each of many sources: nothing is listened to, and one packet is kept."""
    lock = SourceLock()
    for number in range(100):
        assert not lock.judge(("192.0.2.9", number), packet(number), 0.0).packets
    assert lock.address is None
