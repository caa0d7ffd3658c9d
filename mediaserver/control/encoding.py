"""Events and errors as octets, for another process of the same program.

What comes out is equal to what went in. Light to import: a worker does, and has no client.
"""

from __future__ import annotations

from collections.abc import Mapping

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


_Record = _Api | _Network | _Field | _Plain


def decode_event(event_type: str, encoded: bytes) -> Event:
    """The event that ``msgspec.json.encode`` was given.

    Raises:
        msgspec.MsgspecError: it was not.
    """
    return msgspec.json.decode(encoded, type=event_class(event_type))


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
