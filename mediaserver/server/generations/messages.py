"""What two generations of a server say to each other.

Whoever changes a message that is there raises ``VERSION``: the two are of different code as a
rule. A field that is new, with a default, is no change.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from mediaserver.processes.messages import Failed, Hello, Ready
from mediaserver.server.handover.passing import PassedOn
from mediaserver.tokens import Claim

__all__ = [
    "VERSION",
    "CallClosed",
    "CallOpened",
    "Drain",
    "End",
    "Failed",
    "FromNewer",
    "FromOlder",
    "Hello",
    "Listening",
    "PassedOn",
    "Ready",
    "State",
    "WebhookReported",
]

VERSION = 1


class Listening(msgspec.Struct, frozen=True, tag=True):
    """To the newer one, with a socket: listen on it."""


class State(msgspec.Struct, frozen=True, tag=True):
    """To the newer one, behind the sockets: what the older one has and knows.

    Attributes:
        host: the setting that the sockets are of.
        port: likewise.
        secret: the setting ``auth_token``, for calls that come back with it.
        calls: ids of its calls.
        claims: tokens in use.
        n_generations: it, and those behind it that have calls.
    """

    host: str
    port: int
    secret: str | None
    calls: list[str]
    claims: Mapping[str, Claim]
    n_generations: int = 1


class CallOpened(msgspec.Struct, frozen=True, tag=True):
    """To the newer one: a connection that the older one still had has become a call."""

    call_id: str


class CallClosed(msgspec.Struct, frozen=True, tag=True):
    """To the newer one: a call of the older one is over."""

    call_id: str


class WebhookReported(msgspec.Struct, frozen=True, tag=True):
    """To the older one: a webhook's event for one of its calls.

    Attributes:
        event_type: as the event says; it decides which class the event has.
        event: its fields as JSON, for MessagePack has no numbers beyond 64 bits.
    """

    event_type: str
    event: bytes


class Drain(msgspec.Struct, frozen=True, tag=True):
    """To the older one: the server is to end, and its calls within ``drain_s``."""


class End(msgspec.Struct, frozen=True, tag=True):
    """To the older one: the server ends now, whatever goes on."""


FromOlder = Listening | State | CallOpened | CallClosed
FromNewer = Hello | Ready | Failed | PassedOn | WebhookReported | Drain | End
