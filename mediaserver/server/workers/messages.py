"""What a server and its workers say to each other, beside what all children say.

Whoever changes a message that is there raises ``VERSION``: the code may be replaced under a
server that runs, and its next worker is then of the new code.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from mediaserver.errors import ConfigurationError
from mediaserver.observer import CallSummary, StreamRequest
from mediaserver.processes.channel import UnsendableError, encode
from mediaserver.processes.messages import Failed, Heartbeat, Hello, Ready, Shutdown
from mediaserver.settings import ProcessorSetting, Settings, name_of
from mediaserver.tokens import Admission

__all__ = [
    "VERSION",
    "CallClosed",
    "CallOpened",
    "Claim",
    "Claimed",
    "Drain",
    "Failed",
    "FromWorker",
    "HandOver",
    "HandedOver",
    "HangUp",
    "Heartbeat",
    "Hello",
    "HungUp",
    "QuietCalls",
    "Ready",
    "Setup",
    "Shutdown",
    "SocketClosed",
    "SocketLost",
    "ToWorker",
    "WebhookReported",
]

VERSION = 3


class Setup(msgspec.Struct, frozen=True, tag=True):
    """The first message to a worker: who it is, and what it serves with.

    Attributes:
        index: its slot.
        beat_s: between two of its heartbeats.
        can_hang_up: the parent has a control client, and takes ``HangUp``.
        settings: without the secrets that only the parent needs, and without the
            processors' parameters; a processor that was given itself has its name here.
        pickled_processors: ``name`` and ``parameters`` of ``processors`` and of ``offer``, in
            this order: pairs. Pickled, because a program that embeds the server may set any
            Python value, and give a function or class itself.
    """

    index: int
    beat_s: float
    can_hang_up: bool
    settings: Settings
    pickled_processors: bytes

    @classmethod
    def of(
        cls, index: int, settings: Settings, beat_s: float, *, can_hang_up: bool = False
    ) -> Setup:
        """The message for a worker of a server with these settings.

        Raises:
            ConfigurationError: another process cannot be given them.
        """
        named = (*settings.processors, *settings.offer)
        try:
            pickled = pickle.dumps([(each.name, each.parameters) for each in named])
        except (pickle.PickleError, TypeError, AttributeError, RecursionError) as exc:
            raise ConfigurationError(f"workers cannot be given these settings: {exc}") from exc
        sent = msgspec.structs.replace(
            settings,
            processors=_replaced(settings.processors, map(_bare, settings.processors)),
            offer=_replaced(settings.offer, map(_bare, settings.offer)),
            api_key=None,
            auth_token=None,
            public_keys=None,
        )
        setup = cls(index, beat_s, can_hang_up, sent, pickled)
        try:
            # A program that embeds the server may have set what no other source can.
            msgspec.convert(msgspec.to_builtins(sent), Settings)
            encode(setup)
        except (msgspec.MsgspecError, TypeError, UnsendableError) as exc:
            raise ConfigurationError(f"workers cannot be given these settings: {exc}") from exc
        return setup

    def whole_settings(self) -> Settings:
        """The settings, each processor with its function and its parameters again.

        Raises:
            ConfigurationError: a function or a parameter cannot be loaded in this process.
        """
        try:
            # From this program's own parent, over the socket pair that it made.
            pairs = pickle.loads(self.pickled_processors)
        except (
            Exception,
            SystemExit,
        ) as exc:  # the border to users' code
            raise ConfigurationError(
                f"a processor or its parameters cannot be loaded: {exc}"
            ) from exc
        n = len(self.settings.processors)
        return msgspec.structs.replace(
            self.settings,
            processors=_replaced(self.settings.processors, pairs[:n]),
            offer=_replaced(self.settings.offer, pairs[n:]),
        )


Pair = tuple[str | Callable[..., Any], dict[str, Any]]


def _bare(setting: ProcessorSetting) -> Pair:
    """Name and parameters without what only pickle can carry."""
    return name_of(setting.name), {}


def _replaced(
    named: tuple[ProcessorSetting, ...], pairs: Iterable[Pair]
) -> tuple[ProcessorSetting, ...]:
    return tuple(
        msgspec.structs.replace(setting, name=name, parameters=parameters)
        for setting, (name, parameters) in zip(named, pairs, strict=True)
    )


class HandOver(msgspec.Struct, frozen=True, tag=True):
    """To a worker, with the socket: a stream whose ``start`` was just read.

    It is not the worker's yet: while it was silent, another one may have got it. So it asks
    by ``Claim``, and touches the socket once ``Claimed`` says that it is its own.

    Attributes:
        number: of this message.
        call_id: what the call is known by.
        admission: how it was admitted.
        path: the upgrade request's, without the token.
        query: the upgrade request's, without the token.
        start: the ``start`` message as it came.
        violations: messages that were refused so far, by kind.
        behind: octets that were read behind ``start``.
    """

    number: int
    call_id: str
    admission: Admission
    path: str
    query: Mapping[str, str]
    start: bytes
    violations: Mapping[str, int]
    behind: bytes


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


class HungUp(msgspec.Struct, frozen=True, tag=True):
    """To a worker: how its ``HangUp`` ended.

    Attributes:
        request: its number.
        error: why it failed, encoded by the control client's room; None: it did not.
    """

    request: int
    error: bytes | None = None


class Claim(msgspec.Struct, frozen=True, tag=True):
    """From a worker: it has a ``HandOver`` and its socket, and could go on with it."""

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
    """From a worker: a session has ended; ``over``: no newer one of the call lives."""

    summary: CallSummary
    over: bool

    @property
    def call_id(self) -> str:
        """Of the call."""
        return self.summary.call_id


class SocketClosed(msgspec.Struct, frozen=True, tag=True):
    """From a worker: one of its sockets is closed."""


class HangUp(msgspec.Struct, frozen=True, tag=True):
    """From a worker: end this phone call by REST; a ``HungUp`` of the same number answers."""

    request: int
    call_id: str


class QuietCalls(msgspec.Struct, frozen=True, tag=True):
    """From a worker: so many of its calls have brought no media for a while."""

    n: int


ToWorker = HandOver | Claimed | WebhookReported | Drain | HungUp | Shutdown
FromWorker = (
    Claim | HandedOver | CallOpened | SocketLost | CallClosed | SocketClosed | QuietCalls | HangUp
)
