"""Messages between a server and its workers, in addition to those of all child processes.

If you change an existing message, raise ``VERSION``: the code may be replaced while a server runs,
and the next worker it starts then runs the new code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from mediaserver.observer import CallSummary, StreamRequest
from mediaserver.processes.messages import Failed, Heartbeat, Hello, Ready, Shutdown
from mediaserver.server.handed_settings import HandedSettings
from mediaserver.server.handover.passing import PassedOn
from mediaserver.settings import Settings
from mediaserver.tokens import Admission

__all__ = [
    "VERSION",
    "Abandoned",
    "CallClosed",
    "CallOpened",
    "Claim",
    "Claimed",
    "Command",
    "Commanded",
    "Drain",
    "Failed",
    "FromWorker",
    "HandOver",
    "HandedOver",
    "Heartbeat",
    "Hello",
    "Load",
    "Query",
    "QueryAnswer",
    "Ready",
    "Setup",
    "Shutdown",
    "SocketClosed",
    "SocketLost",
    "ToWorker",
    "WebhookReported",
]

VERSION = 8


class Setup(msgspec.Struct, frozen=True, tag=True):
    """The first message to a worker: who it is, and what it serves with.

    Attributes:
        index: its slot.
        beat_s: between two of its heartbeats.
        has_client: the parent has a control client, and takes ``Command``.
        handed: the settings, without the secrets that only the parent needs.
    """

    index: int
    beat_s: float
    has_client: bool
    handed: HandedSettings

    @classmethod
    def of(
        cls, index: int, settings: Settings, beat_s: float, *, has_client: bool = False
    ) -> Setup:
        """The message for a worker of a server with these settings.

        Raises:
            ConfigurationError: another process cannot be given them.
        """
        handed = HandedSettings.of(settings, "workers", numbers_key=settings.numbers_key)
        return cls(index, beat_s, has_client, handed)

    @property
    def settings(self) -> Settings:
        """The settings as far as they need no user's code to be read."""
        return self.handed.settings

    def whole_settings(self) -> Settings:
        """See ``HandedSettings.whole``."""
        return self.handed.whole()

    def log_config(self) -> dict[str, Any] | None:
        """See ``HandedSettings.log_config``."""
        return self.handed.log_config()


class HandOver(msgspec.Struct, frozen=True, tag=True):
    """To a worker, with the socket: a stream whose ``start`` was just read.

    The socket is not the worker's yet: if the worker was silent, another one may have got it. So
    the worker sends ``Claim``, and uses the socket only after a ``Claimed`` has granted it.

    Attributes:
        number: of this message.
        call_id: what the call is known by.
        admission: how it was admitted.
        path: the upgrade request's, without the token.
        query: the upgrade request's, without the token.
        start: the ``start`` message as it came.
        violations: messages that were refused so far, by kind.
        behind: octets that were read behind ``start``.
        has_ponged: the peer has answered a ping.
        started_at: when its ``start`` was read, on the clock that all processes share.
    """

    number: int
    call_id: str
    admission: Admission
    path: str
    query: Mapping[str, str]
    start: bytes
    violations: Mapping[str, int]
    behind: bytes
    has_ponged: bool = False
    started_at: float = 0.0

    @classmethod
    def of(cls, passed: PassedOn, admission: Admission, started_at: float) -> HandOver:
        """The message for a stream that was read so far, still without a number."""
        return cls(
            0,
            passed.call_id,
            admission,
            passed.path,
            passed.query,
            passed.start,
            passed.violations,
            passed.behind,
            passed.has_ponged,
            started_at,
        )


class Claimed(msgspec.Struct, frozen=True, tag=True):
    """To a worker: whether the socket of a ``HandOver`` is its own."""

    number: int
    granted: bool


class WebhookReported(msgspec.Struct, frozen=True, tag=True):
    """To a worker: a webhook's event for one of its calls.

    Attributes:
        call_id: of the call.
        event_type: as the event says; it decides which class the event has.
        event: its fields as JSON, for MessagePack has no numbers beyond 64 bits.
    """

    call_id: str
    event_type: str
    event: bytes


class Drain(msgspec.Struct, frozen=True, tag=True):
    """To a worker: tell the calls that the server wants to end."""


class Commanded(msgspec.Struct, frozen=True, tag=True):
    """To a worker: how its ``Command`` ended.

    Attributes:
        request: its number.
        result: its result, encoded by ``control.encoding``.
        error: why it failed, encoded in the same way; None: it succeeded.
    """

    request: int
    result: bytes
    error: bytes | None = None


class Query(msgspec.Struct, frozen=True, tag=True):
    """To a worker: a question; the answer is a ``QueryAnswer`` with the same number.

    Attributes:
        number: of the question.
        what: the word that says what is asked for; see ``answers_of``.
        argument: for a word that takes one.
    """

    number: int
    what: str
    argument: str = ""


class QueryAnswer(msgspec.Struct, frozen=True, tag=True):
    """From a worker: what it knows; empty where it does not know the word."""

    number: int
    body: bytes


class Claim(msgspec.Struct, frozen=True, tag=True):
    """From a worker: it has a ``HandOver``, and asks whether it may have the socket."""

    number: int


class HandedOver(msgspec.Struct, frozen=True, tag=True):
    """From a worker: a ``HandOver`` was dealt with; its call is open, or was refused."""

    call_id: str


class CallOpened(msgspec.Struct, frozen=True, tag=True):
    """From a worker: a call has its socket, for the first time or again."""

    call_id: str
    request: StreamRequest


class SocketLost(msgspec.Struct, frozen=True, tag=True):
    """From a worker: a call has lost its socket without ``stop``."""

    call_id: str


class CallClosed(msgspec.Struct, frozen=True, tag=True):
    """From a worker: a session has ended; ``over``: the call has no newer live session."""

    summary: CallSummary
    over: bool

    @property
    def call_id(self) -> str:
        """Of the call."""
        return self.summary.call_id


class SocketClosed(msgspec.Struct, frozen=True, tag=True):
    """From a worker: one of its sockets is closed."""


class Command(msgspec.Struct, frozen=True, tag=True):
    """From a worker: send a REST command for a call; ``Commanded`` answers with the same number.

    Attributes:
        request: its number.
        call_id: of the call.
        method: the control client's name for it.
        arguments: encoded by the control client's room.
    """

    request: int
    call_id: str
    method: str
    arguments: bytes


class Abandoned(msgspec.Struct, frozen=True, tag=True):
    """From a worker: nobody waits for the ``Command`` of this number any more."""

    request: int


class Load(msgspec.Struct, frozen=True, tag=True):
    """From a worker, whenever it changes: its load.

    Attributes:
        n_quiet: how many of its calls have brought no media for a while.
        most_calls: a new call may come while it has fewer; None: any number.
        host_bytes: memory of its processor hosts; only where there is a limit.
        n_left: things left to do behind calls that have ended.
    """

    n_quiet: int = 0
    most_calls: int | None = None
    host_bytes: int = 0
    n_left: int = 0


ToWorker = HandOver | Claimed | WebhookReported | Drain | Commanded | Query | Shutdown
Reported = HandedOver | CallOpened | SocketLost | CallClosed | SocketClosed | Load
FromWorker = Claim | Reported | Command | Abandoned | QueryAnswer
