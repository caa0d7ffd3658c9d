"""What Telnyx reports, as typed events. Every field but id and type may be missing or null.

Source: protocol.md 4.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from mediaserver.errors import PeerError


class MalformedEventError(PeerError):
    """A signed body is no event: not JSON, or without id or type."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Any event; the class of all whose type has none of its own.

    Attributes:
        id: unique; a repeated delivery has the same.
        event_type: with dots, such as ``streaming.started``, however it was spelt.
        occurred_at: as Telnyx wrote it.
        attempt: which delivery this is.
        call_control_id: of the call.
        call_leg_id: of its leg.
        call_session_id: shared by its legs.
        connection_id: of the Call Control application.
        client_state: decoded from base64, octets.
        payload: everything, as it came.
    """

    id: str
    event_type: str
    occurred_at: str | None = None
    attempt: int | None = None
    call_control_id: str | None = None
    call_leg_id: str | None = None
    call_session_id: str | None = None
    connection_id: str | None = None
    client_state: bytes | None = None
    payload: Mapping[str, Any] = {}

    def __repr__(self) -> str:
        # The payload may hold a stream URL with a token, and what people said.
        return f"{type(self).__name__}({self.event_type} {self.id} call={self.call_control_id})"


class ForkStarted(Event, frozen=True, kw_only=True):
    """A media fork has started."""

    stream_type: str | None = None


class ForkStopped(Event, frozen=True, kw_only=True):
    """A media fork has stopped."""

    stream_type: str | None = None


class StreamingStarted(Event, frozen=True, kw_only=True):
    """Telnyx has begun to stream; races with the socket."""

    stream_url: str | None = None


class StreamingStopped(Event, frozen=True, kw_only=True):
    """Telnyx has stopped streaming."""

    stream_url: str | None = None


class StreamingFailed(Event, frozen=True, kw_only=True):
    """Telnyx could not stream, or can no longer."""

    failure_reason: str | None = None
    stream_id: str | None = None
    stream_type: str | None = None
    stream_url: str | None = None
    stream_track: str | None = None


class Transcription(Event, frozen=True, kw_only=True):
    """Some of what was said."""

    transcript: str | None = None
    confidence: float | None = None
    is_final: bool | None = None
    transcription_track: str | None = None


class CallInitiated(Event, frozen=True, kw_only=True):
    """A call is being set up; ``direction`` is ``incoming`` or ``outgoing``."""

    direction: str | None = None
    from_: str | None = None
    to: str | None = None
    state: str | None = None


class CallAnswered(Event, frozen=True, kw_only=True):
    """A call was answered."""

    from_: str | None = None
    to: str | None = None
    state: str | None = None


class CallHangup(Event, frozen=True, kw_only=True):
    """A call is over."""

    from_: str | None = None
    to: str | None = None
    hangup_cause: str | None = None
    hangup_source: str | None = None


_Fields = dict[str, Any]


def _copied(*names: str) -> Callable[[_Fields], _Fields]:
    """Takes text fields from the payload; a trailing underscore is ours alone."""
    return lambda payload: {name: _text(payload, name.rstrip("_")) for name in names}


def _failure(payload: _Fields) -> _Fields:
    params = _object(payload, "stream_params")
    return {
        **_copied("failure_reason", "stream_id", "stream_type")(payload),
        "stream_url": _text(params, "stream_url"),
        "stream_track": _text(params, "stream_track") or _text(params, "track"),
    }


def _transcription(payload: _Fields) -> _Fields:
    data = _object(payload, "transcription_data")
    confidence, is_final = data.get("confidence"), data.get("is_final")
    is_number = isinstance(confidence, int | float) and not isinstance(confidence, bool)
    return {
        **_copied("transcript", "transcription_track")(data),
        "confidence": confidence if is_number else None,
        "is_final": is_final if isinstance(is_final, bool) else None,
    }


_KINDS: dict[str, tuple[type[Event], Callable[[_Fields], _Fields]]] = {
    "call.fork.started": (ForkStarted, _copied("stream_type")),
    "call.fork.stopped": (ForkStopped, _copied("stream_type")),
    "streaming.started": (StreamingStarted, _copied("stream_url")),
    "streaming.stopped": (StreamingStopped, _copied("stream_url")),
    "streaming.failed": (StreamingFailed, _failure),
    "call.transcription": (Transcription, _transcription),
    "call.initiated": (CallInitiated, _copied("direction", "from_", "to", "state")),
    "call.answered": (CallAnswered, _copied("from_", "to", "state")),
    "call.hangup": (CallHangup, _copied("from_", "to", "hangup_cause", "hangup_source")),
}


def normal_type(event_type: str) -> str:
    """The type with dots; Telnyx is also seen to write ``streaming_started``."""
    dotted = event_type.replace("_", ".")
    # Only a type without any dot is surely the other spelling: real names hold underscores.
    return dotted if dotted in _KINDS or "." not in event_type else event_type


def event_class(event_type: str) -> type[Event]:
    """The class of events of this type, spelt with dots."""
    return _KINDS[event_type][0] if event_type in _KINDS else Event


def parse_event(body: bytes) -> Event:
    """The event in the body of a webhook, whose signature has been checked.

    Raises:
        MalformedEventError: not JSON, not an envelope, or no id or type in it.
    """
    try:
        envelope = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedEventError("the body is not JSON") from error
    data = _object(envelope, "data")
    event_id, event_type = _text(data, "id"), _text(data, "event_type")
    if not event_id or not event_type:
        raise MalformedEventError("the event has no id or no type")
    payload = _object(data, "payload")
    event_type = normal_type(event_type)
    kind, fields_of = _KINDS.get(event_type, (Event, _copied()))
    attempt = _object(envelope, "meta").get("attempt")
    return kind(
        id=event_id,
        event_type=event_type,
        occurred_at=_text(data, "occurred_at"),
        attempt=attempt if type(attempt) is int else None,
        client_state=_decoded(payload.get("client_state")),
        payload=payload,
        **_copied("call_control_id", "call_leg_id", "call_session_id", "connection_id")(payload),
        **fields_of(payload),
    )


def _object(holder: object, name: str) -> _Fields:
    value = holder.get(name) if isinstance(holder, dict) else None
    return value if isinstance(value, dict) else {}


def _text(holder: _Fields, name: str) -> str | None:
    value = holder.get(name)
    return value if isinstance(value, str) else None


def _decoded(state: object) -> bytes | None:
    if not isinstance(state, str):
        return None
    try:
        return base64.b64decode(state, validate=True)
    except (binascii.Error, ValueError):  # ValueError: characters beyond ASCII
        return None
