"""Which networks media may come from."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from mediaserver.errors import ConfigurationError
from mediaserver.server.sockets.peers.room import Address, Network

TELNYX = "telnyx"
# As Telnyx' documentation had them in November 2026. Sites that it opens later are not here.
TELNYX_NETWORKS = (
    "192.76.120.128/29",
    "192.76.120.136/29",
    "192.76.120.144/29",
    "185.246.41.0/29",
    "185.246.41.8/29",
    "185.246.41.16/29",
    "103.115.244.0/29",
    "103.115.244.8/29",
)


def networks(setting: str, written: Iterable[str]) -> tuple[Network, ...]:
    """The networks that a setting names.

    Raises:
        ConfigurationError: one of them is none.
    """
    try:
        return tuple(ipaddress.ip_network(each, strict=False) for each in written)
    except ValueError as exc:
        raise ConfigurationError(f"{setting}: {exc}") from exc


class Sources:
    """The networks that media may come from.

    Args:
        written: networks, and ``telnyx`` for those of Telnyx; none: from anywhere.

    Raises:
        ConfigurationError: one of them is no network.
    """

    def __init__(self, written: Iterable[str]) -> None:
        named = [
            name
            for each in written
            for name in (TELNYX_NETWORKS if each.lower() == TELNYX else (each,))
        ]
        self._networks = networks("media_sources", named)

    def has(self, address: Address | None) -> bool:
        """Whether media may come from there; not from where nobody knows."""
        if not self._networks:
            return True
        return address is not None and any(address in network for network in self._networks)
