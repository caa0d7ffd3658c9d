"""Typed messages of one media stream, as Telnyx sends them and as it takes them.

Wire shapes stop here: numbers that travel as strings are ints on this side,
``null`` and absent are ``None``, unknown keys are gone, and where sources
disagree on a shape every one of them is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
import pybase64
from msgspec import Meta

from mediaserver.errors import PeerError

# A counter of the wire; the bound keeps hostile digits out of arithmetic.
Count = Annotated[int, Meta(ge=0, lt=2**53)]

# What names something: Telnyx' own are below 100 characters. A longer one is left out, as any odd
# value is.
Name = Annotated[str, Meta(max_length=512)]

# Messages say inbound and outbound; requests say it longer, and who mixes them is understood.
TrackWord = Literal["inbound", "outbound", "inbound_track", "outbound_track"]

TRACKS: dict[TrackWord | None, Literal["inbound", "outbound"]] = {
    None: "inbound",
    "inbound": "inbound",
    "outbound": "outbound",
    "inbound_track": "inbound",
    "outbound_track": "outbound",
}
"""The track that each word for one means; a message without one is of the caller's."""

ERROR_MEANINGS = {
    100002: "unknown_error",
    100003: "malformed_frame",
    100004: "invalid_media: the payload was not base64",
    100005: "rate_limit_reached: more than one mp3 message a second",
}

TOKEN_KEY = "x-telnyx-streaming-auth-token"
# The custom parameter that stands for it where a stream can be given nothing else (TeXML).
TOKEN_PARAMETER = "token"

MAX_PARAMETERS = 100
"""Custom parameters that are read; of a stream that has more, the rest is left out."""

# What older text calls the codecs; keys are lower case.
_ENCODING_ALIASES = {
    "audio/x-mulaw": "PCMU",
    "audio/x-alaw": "PCMA",
    "audio/pcmu": "PCMU",
    "audio/pcma": "PCMA",
    "audio/g722": "G722",
    "audio/opus": "OPUS",
    "audio/amr-wb": "AMR-WB",
    "audio/l16": "L16",
}


class MalformedMessageError(PeerError):
    """A message that is not one of the stream's; ``kind`` is its counter's name."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind

    def __str__(self) -> str:
        return f"malformed message: {self.kind}"


class Connected(msgspec.Struct, tag_field="event", tag="connected"):
    """The first message of a connection."""

    version: Any = None
    connected: Any = None
    token: Any = msgspec.field(default=None, name=TOKEN_KEY)

    @property
    def auth_token(self) -> str | None:
        """The stream's auth token, nested or at top level, or None."""
        nested = self.connected.get(TOKEN_KEY) if isinstance(self.connected, dict) else None
        token = nested if nested is not None else self.token
        return token if isinstance(token, str) else None


class MediaFormat(msgspec.Struct):
    """What ``start`` announces; Telnyx's documented defaults where it is silent."""

    encoding: str | None = None
    sample_rate: Annotated[int, Meta(ge=1, le=192_000)] | None = None
    channels: Annotated[int, Meta(ge=1, le=8)] | None = None

    @property
    def codec(self) -> str:
        """The codec's name as the registry knows it: ``PCMU``, ``AMR-WB``, …"""
        if self.encoding is None:
            return "PCMU"
        lower = self.encoding.strip().lower()
        return _ENCODING_ALIASES.get(lower, lower.upper())


class StartBody(msgspec.Struct, rename={"from_": "from"}):
    """Who calls whom, and in which format the audio comes."""

    user_id: Name | None = None
    call_control_id: Name | None = None
    call_session_id: Name | None = None
    from_: Name | None = None
    to: Name | None = None
    tags: list[Any] | None = None
    client_state: str | None = None
    custom_parameters: Any = None
    media_format: MediaFormat | None = None

    @property
    def parameters(self) -> dict[str, str]:
        """Custom parameters by name, from the object or the array shape; the first
        ``MAX_PARAMETERS`` of them."""
        given = self.custom_parameters
        if isinstance(given, list):
            pairs = [(p.get("name"), p.get("value")) for p in given if isinstance(p, dict)]
        elif isinstance(given, dict):
            pairs = list(given.items())
        else:
            pairs = []
        return {
            str(name): value if isinstance(value, str) else msgspec.json.encode(value).decode()
            for name, value in pairs[:MAX_PARAMETERS]
            if name is not None and value is not None
        }


class Start(msgspec.Struct, tag_field="event", tag="start"):
    """The stream begins: its identity and its media format."""

    start: StartBody
    sequence_number: Count | None = None
    stream_id: Name | None = None

    @property
    def media_format(self) -> MediaFormat:
        """The announced format, or the default one."""
        return self.start.media_format or MediaFormat()


class MediaBody(msgspec.Struct, gc=False):
    """One RTP payload, already decoded from base64."""

    payload: bytes
    track: TrackWord | None = None
    chunk: Count | None = None
    # No timestamp: its unit is undocumented, so nothing may rest on it.


class Media(msgspec.Struct, tag_field="event", tag="media", gc=False):
    """One chunk of one track's audio."""

    # No sequence_number: other events use up numbers too, so a gap says nothing.
    media: MediaBody
    stream_id: str | None = None


class Stop(msgspec.Struct, tag_field="event", tag="stop"):
    """The stream's orderly end."""

    sequence_number: Count | None = None
    stream_id: str | None = None


class MarkBody(msgspec.Struct):
    """The name given when the mark was sent."""

    name: str


class Mark(msgspec.Struct, tag_field="event", tag="mark"):
    """A mark of ours came back."""

    mark: MarkBody
    sequence_number: Count | None = None
    stream_id: str | None = None


class DtmfBody(msgspec.Struct):
    """One key."""

    digit: Annotated[str, Meta(min_length=1, max_length=8)]


class Dtmf(msgspec.Struct, tag_field="event", tag="dtmf"):
    """The caller pressed a key; order by ``occurred_at``, not by arrival."""

    dtmf: DtmfBody
    occurred_at: Name | None = None
    sequence_number: Count | None = None
    stream_id: str | None = None

    @property
    def occurred_s(self) -> float | None:
        """``occurred_at`` as unix seconds; None where there is none to read."""
        try:
            return datetime.fromisoformat(self.occurred_at or "").timestamp()
        except (ValueError, OverflowError, OSError):
            return None


class ErrorBody(msgspec.Struct):
    """What Telnyx did not like."""

    code: Count | None = None
    title: str | None = None
    detail: str | None = None


class Error(msgspec.Struct, tag_field="event", tag="error"):
    """Telnyx refuses something we sent; both documented shapes."""

    payload: ErrorBody | None = None
    error: ErrorBody | None = None
    sequence_number: Count | None = None
    stream_id: str | None = None

    @property
    def body(self) -> ErrorBody:
        """Code, title and detail, from wherever they stood."""
        return self.error or self.payload or ErrorBody()


Message = Connected | Start | Media | Stop | Mark | Dtmf | Error

# Lax: "7" and 7 are both ints, as protocol.md asks.
_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message, strict=False)
_TEXTS = frozenset(
    {
        "user_id",
        "call_control_id",
        "call_session_id",
        "from",
        "to",
        "client_state",
        "stream_id",
        "occurred_at",
        "title",
        "detail",
    }
)
_EVENTS = frozenset({"connected", "start", "media", "stop", "mark", "dtmf", "error"})


def parse(data: bytes) -> Message:
    """One text message of Telnyx, typed.

    Args:
        data: the message's UTF-8 octets.

    Raises:
        MalformedMessageError: not JSON, not an object, no or unknown event,
            a field missing or of the wrong type, base64 that is none.
    """
    try:
        return decode(data)
    except REFUSALS as exc:
        raise MalformedMessageError(kind_of(data)) from exc


# ``parse`` in its parts, for the one caller that runs 50 times a second and call.
decode: Callable[[bytes], Message] = _decoder.decode
REFUSALS = (msgspec.DecodeError, RecursionError, ValueError, OverflowError)


# What a message is worth nothing without; of all else an odd value costs that value alone.
_NEEDED = frozenset(
    {
        "$",
        "$.event",
        "$.start",
        "$.start.media_format",
        "$.start.media_format.encoding",
        "$.media",
        "$.media.payload",
        "$.media.track",
        "$.mark",
        "$.mark.name",
        "$.dtmf",
        "$.dtmf.digit",
    }
)
_AT = re.compile(r" - at `(\$[^`]*)`$")
_MAX_ODD = 16


def mend(data: bytes) -> tuple[Message, tuple[str, ...]] | None:
    """A refused message without what is odd in it, and the names of these fields.

    A number or a truth value where a text is wanted becomes a text; anything else odd goes.
    None where it cannot be read at all, or where what is odd is what the message is for.
    """
    try:
        value = msgspec.json.decode(data)
    except REFUSALS:
        return None
    odd: list[str] = []
    while len(odd) < _MAX_ODD:
        try:
            return msgspec.convert(value, Message, strict=False), tuple(odd)
        except REFUSALS as exc:
            found = _AT.search(str(exc))
            path = found[1] if found else "$"
            if path in _NEEDED or not _replace(value, path.split(".")[1:]):
                return None
            odd.append(path.removeprefix("$."))
    return None


def _replace(value: Any, keys: list[str]) -> bool:
    """Put a text, or nothing, in the place of an odd value; whether that was possible."""
    *folders, key = keys
    for folder in folders:
        value = value.get(folder) if isinstance(value, dict) else None
    if not isinstance(value, dict) or key not in value:
        return False
    old = value[key]
    is_plain = isinstance(old, int | float) and key in _TEXTS
    value[key] = msgspec.json.encode(old).decode() if is_plain else None
    return True


def kind_of(data: bytes) -> str:
    """Why ``data`` was refused; slow, but only malformed messages pay."""
    try:
        value = msgspec.json.decode(data)
    except RecursionError:
        return "too_deep"
    except (msgspec.DecodeError, ValueError, OverflowError):
        return "not_json"
    if not isinstance(value, dict):
        return "not_object"
    event = value.get("event")
    if not isinstance(event, str):
        return "no_event"
    if event not in _EVENTS:
        return "unknown_event"
    return "bad_base64" if _is_bad_base64(value) else "bad_field"


def _is_bad_base64(value: dict[str, Any]) -> bool:
    body = value.get("media")
    payload = body.get("payload") if isinstance(body, dict) else None
    if not isinstance(payload, str):
        return False
    try:
        pybase64.b64decode(payload, validate=True)
    except ValueError:
        return True
    return False


# A media message is these two around the payload's base64.
MEDIA_HEAD = b'{"event":"media","media":{"payload":"'
MEDIA_TAIL = b'"}}'
CLEAR = b'{"event":"clear"}'


def mark_text(name: str) -> bytes:
    """The message that asks for mark ``name`` back."""
    return b'{"event":"mark","mark":{"name":%b}}' % msgspec.json.encode(name)
