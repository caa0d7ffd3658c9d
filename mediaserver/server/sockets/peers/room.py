"""Room for connections of one kind; where it is used up, the oldest goes."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

M = TypeVar("M")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Room(Generic[M]):
    """So many members at most, and so many of one address.

    Whoever comes is let in. One who says nothing has waited longest before long, while one who
    means it is through in a moment: so the oldest goes, of the same address where that has too
    many.

    Args:
        most: members.
        most_of_address: of these, from one address.
    """

    def __init__(self, most: int, most_of_address: int) -> None:
        self._most = most
        self._most_of_address = most_of_address
        self._addresses: OrderedDict[M, str | None] = OrderedDict()
        self._of: dict[str, OrderedDict[M, None]] = {}

    def __len__(self) -> int:
        return len(self._addresses)

    def __iter__(self) -> Iterator[M]:
        """From the oldest on."""
        return iter(self._addresses)

    def enter(
        self, member: M, address: str | None, rather: Callable[[M], bool] | None = None
    ) -> M | None:
        """Let a member in; who must go for it, and is no longer a member.

        Args:
            member: who comes.
            address: where from; None: not known, so only all together are counted.
            rather: who goes first, even if others are older.
        """
        goes: M | None = None
        of_address = self._of.setdefault(address, OrderedDict()) if address else None
        if of_address is not None and len(of_address) >= self._most_of_address:
            goes = first(of_address, rather)
        elif len(self._addresses) >= self._most:
            goes = first(self._addresses, rather)
        self._addresses[member] = address
        if of_address is not None:
            of_address[member] = None
        if goes is not None:
            self.leave(goes)
        return goes

    def leave(self, member: M) -> None:
        """It is no longer a member; nothing happens if it was none."""
        address = self._addresses.pop(member, None)
        if address is not None:
            of_address = self._of[address]
            del of_address[member]
            if not of_address:
                del self._of[address]

    def take_oldest(self, may: Callable[[M], bool] = lambda _: True) -> M | None:
        """The oldest of whom ``may`` is true, who is no longer a member."""
        oldest = next((member for member in self._addresses if may(member)), None)
        if oldest is not None:
            self.leave(oldest)
        return oldest


def first(
    members: OrderedDict[M, None] | OrderedDict[M, str | None], rather: Callable[[M], bool] | None
) -> M:
    """The oldest of whom ``rather`` is true, else the oldest of all."""
    if rather is not None:
        for member in members:
            if rather(member):
                return member
    return next(iter(members))


class Addresses:
    """Whose address a connection is counted under.

    Args:
        trusted: networks of proxies whose ``X-Forwarded-For`` is believed.
    """

    def __init__(self, trusted: Iterable[Network]) -> None:
        self._trusted = tuple(trusted)

    def direct(self, peer: str | None) -> str | None:
        """Of a peer that has said nothing yet; None where it is a proxy, who speaks for many."""
        address = _parsed(peer)
        if address is None or self._is_trusted(address):
            return None
        return _key(address)

    def behind(self, peer: str | None, forwarded: Iterable[str]) -> str | None:
        """Of a peer whose request has these ``X-Forwarded-For`` fields.

        Each proxy adds at the end whom it heard: from there on, the first that is no trusted
        proxy. None where trusted proxies do not say.
        """
        address = self.whole(peer, forwarded)
        return None if address is None else _key(address)

    def whole(self, peer: str | None, forwarded: Iterable[str]) -> Address | None:
        """The same as an address; of IPv6 all of it."""
        address = _parsed(peer)
        told = [hop for field in forwarded for hop in field.split(",")]
        while address is not None and self._is_trusted(address):
            if not told:
                return None
            address = _parsed(told.pop().strip())
        return address

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def _parsed(text: str | None) -> Address | None:
    try:
        address = ipaddress.ip_address((text or "").partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _key(address: Address) -> str:
    """Who has an IPv6 address has a whole /64 of them."""
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
