"""From the body of a webhook to its typed event, whichever shape it has. Pure.

Source: protocol.md 4.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

from mediaserver.control.events.types import (
    CallAnswered,
    CallBridged,
    CallHangup,
    CallInitiated,
    CallQuality,
    DtmfReceived,
    Event,
    ForkStarted,
    ForkStopped,
    PlaybackEnded,
    PlaybackStarted,
    RecordingSaved,
    SpeakEnded,
    SpeakStarted,
    StreamingFailed,
    StreamingStarted,
    StreamingStopped,
    Transcription,
)
from mediaserver.errors import PeerError


class MalformedEventError(PeerError):
    """A signed body is no event: not JSON, or without id or type."""


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


_SET_UP = ("from_", "to", "state", "start_time")


def _set_up(*names: str) -> Callable[[_Fields], _Fields]:
    """Takes what is told when a call is set up, and further text fields."""
    return lambda payload: {
        **_copied(*_SET_UP, *names)(payload),
        "custom_headers": _headers(payload.get("custom_headers")),
        "sip_headers": _headers(payload.get("sip_headers")),
        "tags": _texts(payload.get("tags")),
    }


def _initiated(payload: _Fields) -> _Fields:
    offered = payload.get("offered_codecs")
    listed = offered.split(",") if isinstance(offered, str) else offered
    fields = _set_up("direction", "caller_id_name")(payload)
    return fields | {"offered_codecs": tuple(name.strip() for name in _texts(listed))}


def _hangup(payload: _Fields) -> _Fields:
    names = ("from_", "to", "hangup_cause", "hangup_source", "sip_hangup_cause")
    stats = payload.get("call_quality_stats")
    quality = None
    if isinstance(stats, dict):
        quality = CallQuality(_numbers(stats.get("inbound")), _numbers(stats.get("outbound")))
    return {
        **_copied(*names, "start_time", "end_time")(payload),
        "call_quality_stats": quality,
        "tags": _texts(payload.get("tags")),
    }


def _playback(*names: str) -> Callable[[_Fields], _Fields]:
    """Takes what is told of a file that is played, and further text fields."""

    def fields_of(payload: _Fields) -> _Fields:
        overlay = payload.get("overlay")
        is_flag = isinstance(overlay, bool)
        texts = _copied("media_url", "media_name", *names)(payload)
        return texts | {"overlay": overlay if is_flag else None}

    return fields_of


def _saved(payload: _Fields) -> _Fields:
    return {
        **_copied("channels", "recording_started_at", "recording_ended_at")(payload),
        "recording_urls": _text_values(_object(payload, "recording_urls")),
        "public_recording_urls": _text_values(_object(payload, "public_recording_urls")),
    }


_KINDS: dict[str, tuple[type[Event], Callable[[_Fields], _Fields]]] = {
    "call.fork.started": (ForkStarted, _copied("stream_type")),
    "call.fork.stopped": (ForkStopped, _copied("stream_type")),
    "streaming.started": (StreamingStarted, _copied("stream_url")),
    "streaming.stopped": (StreamingStopped, _copied("stream_url")),
    "streaming.failed": (StreamingFailed, _failure),
    "call.transcription": (Transcription, _transcription),
    "call.initiated": (CallInitiated, _initiated),
    "call.answered": (CallAnswered, _set_up()),
    "call.hangup": (CallHangup, _hangup),
    "call.speak.started": (SpeakStarted, _copied()),
    "call.speak.ended": (SpeakEnded, _copied("status")),
    "call.playback.started": (PlaybackStarted, _playback()),
    "call.playback.ended": (PlaybackEnded, _playback("status", "status_detail")),
    "call.recording.saved": (RecordingSaved, _saved),
    "call.bridged": (CallBridged, _copied("from_", "to")),
    "call.dtmf.received": (DtmfReceived, _copied("digit", "from_", "to")),
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

    Three shapes are read: version 2, with the event under ``data``; version 1 and Telnyx's
    quickstart, with the event at the top level.

    Raises:
        MalformedEventError: not JSON, not an envelope, or no id or type in it.
    """
    try:
        envelope = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedEventError("the body is not JSON") from error
    if not isinstance(envelope, dict):
        raise MalformedEventError("the body is no object")
    data = _object(envelope, "data") if "data" in envelope else envelope
    event_id, event_type = _text(data, "id") or _text(data, "webhook_id"), _text(data, "event_type")
    if not event_id or not event_type:
        raise MalformedEventError("the event has no id or no type")
    return _event(event_id, normal_type(event_type), data, _object(envelope, "meta"))


def _event(event_id: str, event_type: str, data: _Fields, meta: _Fields) -> Event:
    payload = _object(data, "payload")
    kind, fields_of = _KINDS.get(event_type, (Event, _copied()))
    attempt = meta.get("attempt")
    times = (
        _text(data, "occurred_at"),
        _text(payload, "occurred_at"),
        _text(data, "created_at"),
    )
    return kind(
        id=event_id,
        event_type=event_type,
        occurred_at=next((time for time in times if time is not None), None),
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


def _texts(value: object) -> tuple[str, ...]:
    return tuple(each for each in _list(value) if isinstance(each, str))


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _headers(value: object) -> tuple[tuple[str, str], ...]:
    entries = (each for each in _list(value) if isinstance(each, dict))
    pairs = ((each.get("name"), each.get("value")) for each in entries)
    return tuple((n, v) for n, v in pairs if isinstance(n, str) and isinstance(v, str))


def _text_values(holder: _Fields) -> dict[str, str]:
    return {name: value for name, value in holder.items() if isinstance(value, str)}


def _numbers(value: object) -> dict[str, float]:
    """Statistics, which Telnyx writes as text, as finite numbers; the rest is left out."""
    found = {}
    for name, text in (value if isinstance(value, dict) else {}).items():
        if isinstance(text, str | int | float) and not isinstance(text, bool):
            with suppress(ValueError, OverflowError):
                number = float(text)
                if math.isfinite(number):
                    found[name] = number
    return found


def _decoded(state: object) -> bytes | None:
    if not isinstance(state, str):
        return None
    try:
        return base64.b64decode(state, validate=True)
    except (binascii.Error, ValueError):  # ValueError: characters beyond ASCII
        return None
