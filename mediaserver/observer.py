"""Who follows the calls of a server from outside, and what they are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec


class StreamRequest(msgspec.Struct, frozen=True):
    """What a call's stream was set up with: enough to ask for the same again.

    Attributes:
        send_codec: of what goes back.
        send_rate: its audio rate in Hz.
        send_mode: ``rtp`` or ``mp3``.
        processor: the one the call asked for, or None.
        parameters: its ``param_*`` values, by name.
    """

    send_codec: str
    send_rate: int
    send_mode: str
    processor: str | None = None
    parameters: Mapping[str, str] = {}


class CallObserver(Protocol):
    """Who follows the calls of a server from outside: webhooks, restarts."""

    def opened(
        self, call_id: str, request: StreamRequest, webhook: Callable[[Any, str], None]
    ) -> None:
        """A call has its media socket, for the first time or again.

        ``webhook(event, event_type)`` gives the call a webhook's event.
        """

    def lost(self, call_id: str) -> None:
        """The call's socket went away without ``stop``."""

    def closed(self, call_id: str, reason: str) -> None:
        """The call's media is over; ``reason`` as in ``Stop``."""
