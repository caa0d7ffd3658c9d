"""Where a playout sends."""

from __future__ import annotations

from typing import Protocol


class PlayoutSink(Protocol):
    """Where a playout sends: the wire of one call. Each call sends one message."""

    def send_media(self, payload: bytes) -> None:
        """Send one payload."""

    def send_mark(self, name: str) -> None:
        """Send a mark of that wire name."""

    def send_clear(self) -> None:
        """Tell the far end to drop all it has queued."""


class DetachedSink:
    """The sink of a call without a socket: its playout is blocked or closed, and sends nothing."""

    def send_media(self, payload: bytes) -> None:
        """Nothing is sent."""

    def send_mark(self, name: str) -> None:
        """Nothing is sent."""

    def send_clear(self) -> None:
        """Nothing to clear: what the peer had queued went with the socket."""
