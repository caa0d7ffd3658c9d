"""The messages between the page and its server.

Audio is binary, both ways: int16 little-endian, mono, at the page's own rate, of any length.
All else is JSON. A request of the page has ``do``, a message of the server has ``event``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Share = Annotated[float, Meta(ge=0, le=1)]
Jitter = Annotated[float, Meta(ge=0, le=1000)]
SourceName = Literal["microphone", "clip"]
Key = Annotated[str, Meta(pattern="^[0-9*#A-D]$")]

MAX_SHOWN = 100
"""Characters of a text that came from the server called."""


class PlaceCall(
    msgspec.Struct, frozen=True, tag_field="do", tag="call", forbid_unknown_fields=True
):
    """A new call; one that is up is ended before.

    Attributes:
        codec: both ways.
        rate_hz: its rate; None: the codec's own default.
        page_rate_hz: rate of the page's audio, both ways.
        number: chosen by the page; it is in every message about the call.
        source: what the caller says.
        loss: share of the chunks that is lost.
        jitter_ms: the most by which a chunk is late.
    """

    page_rate_hz: int
    number: int = 0
    codec: str = "PCMU"
    rate_hz: int | None = None
    source: SourceName = "microphone"
    loss: Share = 0.0
    jitter_ms: Jitter = 0.0


class Change(msgspec.Struct, frozen=True, tag_field="do", tag="change"):
    """Something else from now on, in the call that is up; what is not there stays."""

    source: SourceName | None = None
    loss: Share | None = None
    jitter_ms: Jitter | None = None


class Press(msgspec.Struct, frozen=True, tag_field="do", tag="press"):
    """A key, pressed now."""

    key: Key


class HangUp(msgspec.Struct, frozen=True, tag_field="do", tag="hang_up"):
    """The call ends."""


Wish = PlaceCall | Change | Press | HangUp
_decoder: msgspec.json.Decoder[Wish] = msgspec.json.Decoder(Wish)


class MalformedWishError(Exception):
    """The page said what cannot be done; its text is one line."""


def parse(text: str) -> Wish:
    """Return what the page wants.

    Raises:
        MalformedWishError: not JSON, an unknown wish, a value that is out of range.
    """
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as error:
        raise MalformedWishError(str(error)[:MAX_SHOWN]) from error


def event(name: str, **fields: Any) -> str:
    """Return one message to the page."""
    return msgspec.json.encode({"event": name, **fields}).decode()
