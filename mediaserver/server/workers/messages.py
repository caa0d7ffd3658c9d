"""What a server and its workers say to each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from mediaserver.observer import CallSummary, StreamRequest
from mediaserver.settings import Settings
from mediaserver.tokens import Admission


class Setup(msgspec.Struct, frozen=True):
    """The first message to a worker: who it is, and what it serves with."""

    index: int
    settings: Settings
    beat_s: float


class HandOver(msgspec.Struct, frozen=True):
    """To a worker, with the socket: a stream whose ``start`` was just read.

    Attributes:
        call_id: what the call is known by.
        admission: how it was admitted.
        query: the upgrade request's.
        start: the ``start`` message as it came.
        violations: messages that were refused so far, by kind.
        behind: octets that were read behind ``start``.
    """

    call_id: str
    admission: Admission
    query: Mapping[str, str]
    start: bytes
    violations: Mapping[str, int]
    behind: bytes


class WebhookReported(msgspec.Struct, frozen=True):
    """To a worker: a webhook's event for one of its calls."""

    call_id: str
    event: Any


class Drain(msgspec.Struct, frozen=True):
    """To a worker: tell the calls that the server wants to end."""


class Shutdown(msgspec.Struct, frozen=True):
    """To a worker: end every call now, then yourself."""


class Ready(msgspec.Struct, frozen=True):
    """From a worker: it takes calls."""


class Failed(msgspec.Struct, frozen=True):
    """From a worker: it cannot work, and why."""

    reason: str


class Heartbeat(msgspec.Struct, frozen=True):
    """From a worker, regularly: its loop runs, and what it has counted since the last one.

    Attributes:
        counts: by counter.
        n_quiet: its calls whose socket is gone, or has brought no media for a while.
    """

    counts: Mapping[str, int]
    n_quiet: int


class HandedOver(msgspec.Struct, frozen=True):
    """From a worker: a ``HandOver`` was dealt with; its call is open, or was refused."""

    call_id: str


class CallOpened(msgspec.Struct, frozen=True):
    """From a worker: a call has its socket, for the first time or again."""

    call_id: str
    request: StreamRequest


class SocketLost(msgspec.Struct, frozen=True):
    """From a worker: a call has lost its socket without ``stop``."""

    call_id: str


class CallClosed(msgspec.Struct, frozen=True):
    """From a worker: a session has ended; ``over``: no newer one of the call lives."""

    summary: CallSummary
    over: bool


class SocketClosed(msgspec.Struct, frozen=True):
    """From a worker: one of its sockets is closed."""
