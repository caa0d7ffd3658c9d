"""Encodes commands, results, events and errors as octets, for another process of the program.

Decoding gives values equal to those that were encoded. This module is light to import, because a
worker, which has no control client, imports it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mediaserver.control.errors import (
    ApiError,
    AuthenticationError,
    BadRequestError,
    CommandTimeoutError,
    ControlError,
    InvalidFieldError,
    NetworkError,
    NotFoundError,
    PermissionDeniedError,
    Problem,
    RateLimitError,
    ServerError,
    UnprocessableError,
    UnreadableReplyError,
)
from mediaserver.control.events import Event, event_class
from mediaserver.control.results import ActionResult

_API = {
    kind.__name__: kind
    for kind in (
        ApiError,
        BadRequestError,
        AuthenticationError,
        PermissionDeniedError,
        NotFoundError,
        UnprocessableError,
        RateLimitError,
        ServerError,
    )
}
_NETWORK = {kind.__name__: kind for kind in (NetworkError, CommandTimeoutError)}
_PLAIN = {kind.__name__: kind for kind in (ControlError, UnreadableReplyError)}


class _Api(msgspec.Struct, frozen=True, tag=True):
    kind: str
    status: int
    problems: tuple[Problem, ...]
    request_id: str | None
    command_id: str | None
    retry_after_s: float | None


class _Network(msgspec.Struct, frozen=True, tag=True):
    kind: str
    reason: str
    sent: bool
    command_id: str | None


class _Field(msgspec.Struct, frozen=True, tag=True):
    field: str
    allowed: str


class _Plain(msgspec.Struct, frozen=True, tag=True):
    kind: str
    text: str


# MessagePack, for octets stay octets.
_ARGUMENTS = msgspec.msgpack.Encoder()
_ALLOWED = "text, octets, a number of 64 bits, true, false, or a list or an object of these"

_Record = _Api | _Network | _Field | _Plain


def decode_event(event_type: str, encoded: bytes) -> Event:
    """The event that ``msgspec.json.encode`` was given.

    Raises:
        msgspec.MsgspecError: it was not.
    """
    return msgspec.json.decode(encoded, type=event_class(event_type))


def encode_arguments(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
    """What a command is given.

    Raises:
        InvalidFieldError: what no command takes, and no other process could be given.
    """
    named = {name: _sendable(name, value) for name, value in kwargs.items()}
    return _ARGUMENTS.encode(([_sendable("an argument", value) for value in args], named))


def decode_arguments(encoded: bytes) -> tuple[list[Any], dict[str, Any]]:
    """The arguments, and the named ones, that were encoded.

    Raises:
        msgspec.MsgspecError: they were not.
    """
    return msgspec.msgpack.decode(encoded, type=tuple[list[Any], dict[str, Any]])


def encode_result(result: ActionResult) -> bytes:
    """What a command has come to."""
    return msgspec.json.encode(result)


def decode_result(encoded: bytes) -> ActionResult:
    """The result that was encoded.

    Raises:
        msgspec.MsgspecError: it was not.
    """
    return msgspec.json.decode(encoded, type=ActionResult)


def encode_error(error: Exception) -> bytes:
    """Why a command failed; of what is no ``ControlError``, only the class name goes along."""
    return msgspec.json.encode(_record(error))


def decode_error(encoded: bytes) -> ControlError:
    """The error that was encoded.

    Raises:
        msgspec.MsgspecError: it was not.
    """
    record: _Record = msgspec.json.decode(encoded, type=_Record)
    match record:
        case _Api(kind, status, problems) as api:
            return _API[kind](
                status,
                problems,
                request_id=api.request_id,
                command_id=api.command_id,
                retry_after_s=api.retry_after_s,
            )
        case _Network(kind, reason, sent, command_id):
            return _NETWORK[kind](reason, sent=sent, command_id=command_id)
        case _Field(field, allowed):
            return InvalidFieldError(field, allowed)
        case _Plain(kind, text):
            return _PLAIN[kind](text)


def no_answer(reason: str) -> NetworkError:
    """The error where the process with the client gave no answer."""
    return NetworkError(reason, sent=True)


def _sendable(field: str, value: object) -> object:
    """A value as it can be sent; whether the field may hold it is the client's to say."""
    try:
        plain = _plain(value)
        _ARGUMENTS.encode(plain)
    except (TypeError, ValueError, OverflowError, RecursionError) as exc:
        raise InvalidFieldError(field, _ALLOWED) from exc
    return plain


def _plain(value: object) -> object:
    """A copy of what commands hold, of the plainest types; so that nothing else looks like it."""
    match value:
        case None | bool() | int() | float() | str() | bytes():
            return value
        case Mapping() if all(isinstance(name, str) for name in value):
            return {name: _plain(item) for name, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
    raise TypeError(f"a {type(value).__name__}")


def _record(error: Exception) -> _Record:
    match error:
        case ApiError():
            kind = _nearest(error, _API)
            ids = (error.request_id, error.command_id, error.retry_after_s)
            return _Api(kind, error.status, error.problems, *ids)
        case NetworkError():
            kind = _nearest(error, _NETWORK)
            return _Network(kind, error.reason, error.sent, error.command_id)
        case InvalidFieldError():
            return _Field(error.field, error.allowed)
        case ControlError():
            return _Plain(_nearest(error, _PLAIN), str(error))
        case _:  # its text was not written to be shown
            return _Plain(ControlError.__name__, f"the command failed: {type(error).__name__}")


def _nearest(error: Exception, known: Mapping[str, type]) -> str:
    """The class of an error, or the nearest base that can be made again."""
    return next(kind.__name__ for kind in type(error).__mro__ if kind.__name__ in known)
