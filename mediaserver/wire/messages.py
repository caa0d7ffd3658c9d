"""Typed messages of one media stream, as Telnyx sends them and as it takes them.

Wire shapes stop here. Numbers that travel as strings become ints, ``null`` and absent become
``None``, unknown keys are dropped. Where Telnyx's documents disagree on a shape, each one is
read.
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

# A number of the wire. The bound keeps numbers of a thousand digits out of arithmetic.
Count = Annotated[int, Meta(ge=0, lt=2**53)]

# An id or another name. Telnyx's have fewer than 100 characters; a longer one is left out, as any
# value of a wrong type is.
Name = Annotated[str, Meta(max_length=512)]

# Messages say ``inbound``, requests ``inbound_track``; either is read in a message.
TrackWord = Literal["inbound", "outbound", "inbound_track", "outbound_track"]

TRACKS: dict[TrackWord | None, Literal["inbound", "outbound"]] = {
    None: "inbound",
    "inbound": "inbound",
    "outbound": "outbound",
    "inbound_track": "inbound",
    "outbound_track": "outbound",
}
"""Which track a word names; a message without one belongs to the inbound track."""

ERROR_MEANINGS = {
    100002: "unknown_error",
    100003: "malformed_frame",
    100004: "invalid_media: the payload was not base64",
    100005: "rate_limit_reached: more than one mp3 message a second",
}

TOKEN_KEY = "x-telnyx-streaming-auth-token"
# The custom parameter that carries it where a stream has no other place for it (TeXML).
TOKEN_PARAMETER = "token"

MAX_PARAMETERS = 100
"""At most so many custom parameters are read; further ones are left out."""

# Names of codecs in Telnyx's older documents; keys are lower case.
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
    """Not a message of a media stream; ``kind`` is the name of its counter."""

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
    """The format that ``start`` announces; what is missing has Telnyx's documented default."""

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
        """Custom parameters by name: of an object, or of an array of name and value.

        At most ``MAX_PARAMETERS`` of them.
        """
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
    # ``timestamp`` is not read: its unit is not documented.


class Media(msgspec.Struct, tag_field="event", tag="media", gc=False):
    """One chunk of one track's audio."""

    # ``sequence_number`` is not read: it counts other events too, so a gap proves nothing.
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
    """The caller pressed a key. Sort by ``occurred_at``: messages may come in another order."""

    dtmf: DtmfBody
    occurred_at: Name | None = None
    sequence_number: Count | None = None
    stream_id: str | None = None

    @property
    def occurred_s(self) -> float | None:
        """``occurred_at`` in unix seconds; None if there is none, or none that can be read."""
        try:
            return datetime.fromisoformat(self.occurred_at or "").timestamp()
        except (ValueError, OverflowError, OSError):
            return None


class ErrorBody(msgspec.Struct):
    """What was wrong with a message of ours."""

    code: Count | None = None
    title: str | None = None
    detail: str | None = None


class Error(msgspec.Struct, tag_field="event", tag="error"):
    """Telnyx refused a message of ours. Both documented shapes are read."""

    payload: ErrorBody | None = None
    error: ErrorBody | None = None
    sequence_number: Count | None = None
    stream_id: str | None = None

    @property
    def body(self) -> ErrorBody:
        """Code, title and detail, from either shape."""
        return self.error or self.payload or ErrorBody()


Message = Connected | Start | Media | Stop | Mark | Dtmf | Error

# Not strict: "7" is read as the int 7, because Telnyx sends numbers both ways.
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
        MalformedMessageError: not JSON, not an object, no event or an unknown one, a field
            that is missing or of a wrong type, or a payload that is not base64.
    """
    try:
        return decode(data)
    except REFUSALS as exc:
        raise MalformedMessageError(kind_of(data)) from exc


# ``parse`` in two parts, for `Stream.receive`, which runs 50 times a second for each call.
decode: Callable[[bytes], Message] = _decoder.decode
# For what is so long that it can be nothing else: any other kind is refused from its tag, before
# its lists and objects are made.
decode_media: Callable[[bytes], Media] = msgspec.json.Decoder(Media, strict=False).decode
REFUSALS = (msgspec.DecodeError, RecursionError, ValueError, OverflowError)


# Fields that a message cannot do without. Any other field of a wrong type is left out, and the
# rest of the message is used.
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
    """A refused message without its values of a wrong type, and the names of their fields.

    A number or a truth value in the place of a text becomes a text; any other wrong value is
    removed. None if the message cannot be read, or if a field is wrong that it needs.
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
    """Replace a value of a wrong type by a text or by None; False if it is not there."""
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
    """Why ``data`` was refused. Slow: it decodes again, but malformed messages only."""
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


# A media message: the head, the payload in base64, the tail.
MEDIA_HEAD = b'{"event":"media","media":{"payload":"'
MEDIA_TAIL = b'"}}'
CLEAR = b'{"event":"clear"}'


def mark_text(name: str) -> bytes:
    """The message that asks Telnyx to send mark ``name`` back when it has played so far."""
    return b'{"event":"mark","mark":{"name":%b}}' % msgspec.json.encode(name)
