"""Decoder and encoder of a call's formats, and where its output goes while it has no socket."""

from __future__ import annotations

from mediaserver.server.calls.audio.formats import Formats, UnsupportedFormatError
from mediaserver.settings import Settings
from telephony_codecs import CodecError, Decoder, Encoder, codec


def make_decoder(formats: Formats, settings: Settings) -> Decoder:
    """A new decoder for one track.

    Raises:
        UnsupportedFormatError: the platform cannot decode this codec.
    """
    options: dict[str, str] = {}
    if formats.codec == "L16":
        options = {"byte_order": settings.l16_byte_order}
    elif formats.codec == "AMR-WB":
        options = {"packing": settings.amr_packing}
    try:
        return codec(formats.codec).decoder(formats.rate, **options)
    except CodecError as exc:
        raise UnsupportedFormatError(str(exc)) from exc


def make_encoder(formats: Formats, settings: Settings) -> Encoder:
    """A new encoder for the way back.

    Raises:
        UnsupportedFormatError: the platform cannot encode this codec.
    """
    options = {}
    if formats.send_codec == "L16":
        # What comes in one order goes back in it; `auto` cannot be heard by the far end.
        order = settings.l16_byte_order
        options = {"byte_order": "little" if order == "auto" else order}
    try:
        return codec(formats.send_codec).encoder(formats.send_rate, **options)
    except CodecError as exc:
        raise UnsupportedFormatError(str(exc)) from exc


class DetachedSink:
    """The line of a call that has none: playout holds everything meanwhile."""

    def send_media(self, payload: bytes) -> None:
        """Nothing is sent while blocked."""

    def send_mark(self, name: str) -> None:
        """Nothing is sent while blocked."""

    def send_clear(self) -> None:
        """What was to be cleared went with the socket."""
