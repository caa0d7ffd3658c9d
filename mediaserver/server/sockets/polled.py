"""Media sockets that are read together while many frames come."""

from __future__ import annotations

import asyncio

from websockets.server import ServerProtocol

from mediaserver.server.sockets import poller
from mediaserver.server.sockets.media_socket import (
    Connection,
    MediaSocket,
    Pings,
    make_media_socket,
)
from mediaserver.server.sockets.poller import SocketPoller
from mediaserver.settings import Settings


class PolledSockets:
    """Makes the media sockets of one process.

    Args:
        settings: see ``poll_ms`` and those of pings.

    Attributes:
        poller: reads them; None before ``start``, and where it is not asked for.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.poller: SocketPoller | None = None

    def start(self) -> None:
        """Be ready for sockets."""
        if self._settings.poll_ms and poller.AVAILABLE:
            self.poller = SocketPoller(self._settings.poll_ms / 1000)

    @property
    def is_ticking(self) -> bool:
        """So many frames come that they are read together."""
        return self.poller is not None and self.poller.is_ticking

    def make(
        self,
        protocol: ServerProtocol,
        transport: asyncio.Transport,
        connection: Connection,
        *,
        has_ponged: bool = False,
    ) -> MediaSocket:
        """The media socket of a connection whose handshake is done; its peer may have ponged."""
        pings = Pings.of(self._settings, answered=has_ponged)
        return make_media_socket(protocol, transport, connection, self.poller, pings)

    def close(self) -> None:
        """Read no more."""
        if self.poller is not None:
            self.poller.close()
