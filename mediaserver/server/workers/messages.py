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
    "Abandoned",
    "CallClosed",
    "CallOpened",
    "Command",
    "Commanded",
    "Drain",
    "Failed",
    "FromWorker",
    "HandOver",
    "HandedOver",
    "Heartbeat",
    "Hello",
    "QuietCalls",
    "Ready",
    "Setup",
    "Shutdown",
    "SocketClosed",
    "SocketLost",
    "ToWorker",
    "WebhookReported",
]

VERSION = 4


class Setup(msgspec.Struct, frozen=True, tag=True):
    """The first message to a worker: who it is, and what it serves with.

    Attributes:
        index: its slot.
        beat_s: between two of its heartbeats.
        has_client: the parent has a control client, and takes ``Command``.
        settings: without the secrets that only the parent needs, and without the
            processors' parameters; a processor that was given itself has its name here.
        pickled_processors: ``name`` and ``parameters`` of every processor, in the order of
            ``Settings.named``: pairs. Pickled, because a program that embeds the server may set any
            Python value, and give a function or class itself.
        pickled_log_config: ``log_config``, pickled because it may hold classes as well.
    """

    index: int
    beat_s: float
    has_client: bool
    settings: Settings
    pickled_processors: bytes
    pickled_log_config: bytes

    @classmethod
    def of(
        cls, index: int, settings: Settings, beat_s: float, *, has_client: bool = False
    ) -> Setup:
        """The message for a worker of a server with these settings.

        Raises:
            ConfigurationError: another process cannot be given them.
        """
        named = [each for _, each in settings.named()]
        try:
            pickled = pickle.dumps([(each.name, each.parameters) for each in named])
            pickled_log_config = pickle.dumps(settings.log_config)
        except (pickle.PickleError, TypeError, AttributeError, RecursionError) as exc:
            raise ConfigurationError(f"workers cannot be given these settings: {exc}") from exc
        sent = msgspec.structs.replace(
            _replaced(settings, map(_bare, named)),
            api_key=None,
            auth_token=None,
            public_keys=None,
            log_config=None,
        )
        setup = cls(index, beat_s, has_client, sent, pickled, pickled_log_config)
        try:
            # A program that embeds the server may have set what no other source can.
            msgspec.convert(msgspec.to_builtins(sent), Settings)
            msgspec.convert(settings.log_config, dict[str, Any] | None)
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
        except Exception as exc:  # the border to users' code: their modules load themselves
            raise ConfigurationError(
                f"a processor or its parameters cannot be loaded: {exc}"
            ) from exc
        return msgspec.structs.replace(
            _replaced(self.settings, pairs), log_config=self.log_config()
        )

    def log_config(self) -> dict[str, Any] | None:
        """The setting, alone: the log is to be there before a processor is loaded.

        Raises:
            ConfigurationError: what it holds cannot be loaded in this process.
        """
        try:
            config: dict[str, Any] | None = pickle.loads(self.pickled_log_config)
        except Exception as exc:  # the border to users' code, as above
            raise ConfigurationError(f"log_config cannot be loaded: {exc}") from exc
        return config


Pair = tuple[str | Callable[..., Any], dict[str, Any]]


def _bare(setting: ProcessorSetting) -> Pair:
    """Name and parameters without what only pickle can carry."""
    return name_of(setting.name), {}


def _replaced(settings: Settings, pairs: Iterable[Pair]) -> Settings:
    """The settings with these pairs for their processors, in the order of ``named``."""
    following = iter(pairs)

    def replaced(named: tuple[ProcessorSetting, ...]) -> tuple[ProcessorSetting, ...]:
        return tuple(
            msgspec.structs.replace(each, name=name, parameters=parameters)
            for each, (name, parameters) in zip(named, following, strict=False)
        )

    return msgspec.structs.replace(
        settings,
        processors=replaced(settings.processors),
        offer=replaced(settings.offer),
        routes=tuple(
            msgspec.structs.replace(route, processors=replaced(route.processors))
            for route in settings.routes
        ),
    )


class HandOver(msgspec.Struct, frozen=True, tag=True):
    """To a worker, with the socket: a stream whose ``start`` was just read.

    Attributes:
        call_id: what the call is known by.
        admission: how it was admitted.
        path: the upgrade request's, without the token.
        query: the upgrade request's, without the token.
        start: the ``start`` message as it came.
        violations: messages that were refused so far, by kind.
        behind: octets that were read behind ``start``.
    """

    call_id: str
    admission: Admission
    path: str
    query: Mapping[str, str]
    start: bytes
    violations: Mapping[str, int]
    behind: bytes


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
        result: what it has come to, encoded by the control client's room.
        error: why it failed, encoded there; None: it did not.
    """

    request: int
    result: bytes
    error: bytes | None = None


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


class Command(msgspec.Struct, frozen=True, tag=True):
    """From a worker: command a call by REST; a ``Commanded`` of the same number answers.

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


class QuietCalls(msgspec.Struct, frozen=True, tag=True):
    """From a worker: so many of its calls have brought no media for a while."""

    n: int


ToWorker = HandOver | WebhookReported | Drain | Commanded | Shutdown
Reported = HandedOver | CallOpened | SocketLost | CallClosed | SocketClosed | QuietCalls
FromWorker = Reported | Command | Abandoned
