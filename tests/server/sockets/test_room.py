"""Who must go for whom, and under whose address a connection is counted."""

from __future__ import annotations

import ipaddress

import pytest

from mediaserver.server.sockets.peers.room import Addresses, Room


def test_the_oldest_goes_where_all_are_too_many() -> None:
    """Whoever comes is let in."""
    room: Room[str] = Room(3, 2)
    assert [room.enter(each, None) for each in "abcde"] == [None, None, None, "a", "b"]
    assert list(room) == ["c", "d", "e"]


def test_the_oldest_of_an_address_goes_where_that_has_too_many() -> None:
    """Others are older, and stay."""
    room: Room[str] = Room(10, 2)
    assert room.enter("a", "one") is None
    assert [room.enter(each, "two") for each in "bcd"] == [None, None, "b"]
    assert list(room) == ["a", "c", "d"]
    room.leave("c")
    room.leave("c")
    assert room.enter("e", "two") is None
    assert len(room) == 3


def test_some_go_rather_than_others() -> None:
    """The oldest of those, if there is one."""
    room: Room[str] = Room(3, 3)
    for each in "aBc":
        room.enter(each, None)
    assert room.enter("d", None, str.isupper) == "B"
    assert room.enter("e", None, str.isupper) == "a"
    assert room.take_oldest(str.isupper) is None
    assert room.take_oldest() == "c"


def test_an_address_that_is_gone_leaves_nothing_behind() -> None:
    """However many addresses there were."""
    room: Room[int] = Room(10, 1)
    for n in range(1000):
        room.enter(n, f"address {n}")
    assert len(room) == 10
    for n in list(room):
        room.leave(n)
    assert not room._of


ADDRESSES = Addresses([ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("::1/128")])


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.1"], "192.0.2.1"),  # no trusted proxy may say anything
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.9, 198.51.100.1"], "198.51.100.1"),  # the client's own word
        ("10.0.0.1", ["203.0.113.9", "198.51.100.1, 10.2.3.4"], "198.51.100.1"),
        ("10.0.0.1", [], None),
        ("10.0.0.1", ["10.0.0.2"], None),
        ("10.0.0.1", ["nonsense\r\n"], None),
        ("10.0.0.1", [""], None),
        ("::1", ["2001:db8:1:2:3:4:5:6"], "2001:db8:1:2::/64"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("fe80::1%eth0", [], "fe80::/64"),
        (None, ["198.51.100.1"], None),
    ],
)
def test_a_trusted_proxy_says_who_connects(
    peer: str | None, forwarded: list[str], address: str | None
) -> None:
    """The last address that no trusted proxy has, of the peer that connects or those it names."""
    assert ADDRESSES.behind(peer, forwarded) == address


def test_before_it_has_spoken_a_proxy_is_nobody() -> None:
    """It speaks for many; anybody else is who connects."""
    assert ADDRESSES.direct("10.1.2.3") is None
    assert ADDRESSES.direct("192.0.2.1") == "192.0.2.1"
    assert ADDRESSES.direct(None) is None
