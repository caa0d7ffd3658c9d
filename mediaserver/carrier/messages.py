"""The wire as Telnyx speaks it: the text it sends, and what it understands of ours.

Written from protocol.md 1.1 and 1.2 alone and deliberately apart from the server's own
``wire`` package: a mistake made in both places would go unseen.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

ErrorShape = Literal["payload", "error"]

ERROR_TITLES = {
    100002: "unknown_error",
    100003: "malformed_frame",
    100004: "invalid_media",
    100005: "rate_limit_reached",
}
TOKEN_HEADER = "x-telnyx-streaming-auth-token"


class MediaFormat(msgspec.Struct, frozen=True):
    """``start.media_format``: what the inbound payloads hold."""

    encoding: str
    sample_rate: int
    channels: int = 1


class StartBody(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """The ``start`` object of a ``start`` message."""

    user_id: str
    call_control_id: str
    call_session_id: str
    from_: str | None
    to: str | None
    tags: list[str] | None
    client_state: str | None
    custom_parameters: dict[str, str] | None
    media_format: MediaFormat


def _text(message: dict[str, Any]) -> str:
    return json.dumps(message, separators=(",", ":"))


def connected(token: str | None = None) -> str:
    """Return the first message; a token is nested in it as well as sent in the handshake."""
    message: dict[str, Any] = {"event": "connected", "version": "1.0.0"}
    if token is not None:
        message["connected"] = {TOKEN_HEADER: token}
    return _text(message)


def start(sequence: int, body: StartBody, stream_id: str) -> str:
    """Return the message that announces the call and its media format."""
    return _text(
        {
            "event": "start",
            "sequence_number": str(sequence),
            "start": msgspec.to_builtins(body),
            "stream_id": stream_id,
        }
    )


def media(
    sequence: int, track: str, chunk: int, timestamp_ms: int, payload_base64: str, stream_id: str
) -> str:
    """Return one message of audio.

    Put together by hand, because a load run sends thousands of them a second: nothing in
    it may need escaping, ``stream_id`` included.
    """
    return (
        f'{{"event":"media","sequence_number":"{sequence}","media":{{"track":"{track}",'
        f'"chunk":"{chunk}","timestamp":"{timestamp_ms}","payload":"{payload_base64}"}},'
        f'"stream_id":"{stream_id}"}}'
    )


def dtmf(sequence: int, digit: str, occurred_at: datetime, stream_id: str) -> str:
    """Return the message of one key press."""
    at = occurred_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return _text(
        {
            "event": "dtmf",
            "stream_id": stream_id,
            "occurred_at": at,
            "sequence_number": str(sequence),
            "dtmf": {"digit": digit},
        }
    )


def mark(sequence: int, name: str, stream_id: str) -> str:
    """Return the message that returns a mark."""
    return _text(
        {
            "event": "mark",
            "stream_id": stream_id,
            "sequence_number": str(sequence),
            "mark": {"name": name},
        }
    )


def stop(sequence: int, user_id: str, call_control_id: str, stream_id: str) -> str:
    """Return the message that ends the stream."""
    return _text(
        {
            "event": "stop",
            "sequence_number": str(sequence),
            "stop": {"user_id": user_id, "call_control_id": call_control_id},
            "stream_id": stream_id,
        }
    )


def error(sequence: int, code: int, detail: str, stream_id: str, shape: ErrorShape) -> str:
    """Return an ``error`` message, in either of the two shapes of Telnyx's documentation."""
    title = ERROR_TITLES[code]
    if shape == "payload":
        body = {"code": code, "title": title, "detail": detail}
        return _text({"event": "error", "payload": body, "stream_id": stream_id})
    return _text(
        {
            "event": "error",
            "error": {"code": str(code), "title": title, "detail": detail},
            "sequence_number": str(sequence),
            "stream_id": stream_id,
        }
    )


class MediaBody(msgspec.Struct, frozen=True):
    """The ``media`` object of a message to Telnyx; the payload is still base64."""

    payload: str


class MarkBody(msgspec.Struct, frozen=True):
    """The ``mark`` object of a message to Telnyx."""

    name: str


class MediaIn(msgspec.Struct, frozen=True, tag_field="event", tag="media", gc=False):
    """Audio for the caller."""

    media: MediaBody


class MarkIn(msgspec.Struct, frozen=True, tag_field="event", tag="mark"):
    """A mark to be given back when the audio before it has been heard."""

    mark: MarkBody


class ClearIn(msgspec.Struct, frozen=True, tag_field="event", tag="clear"):
    """Asks Telnyx to stop playing and to drop what is queued."""


Command = MediaIn | MarkIn | ClearIn
_decoder: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command)


class MalformedFrameError(Exception):
    """The text is none of the three messages that Telnyx takes."""


def parse(text: str) -> Command:
    """Return what the server asked for.

    Raises:
        MalformedFrameError: not JSON, not an object, an unknown event, a missing or
            mistyped field.
    """
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as error:
        raise MalformedFrameError(str(error)) from error
