"""The parts of a call's audio. They are made first, so that a refusal changes nothing of a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from mediaserver.media.playout import DetachedSink, Mp3Playout, Playout, PlayoutSink
from mediaserver.media.reorder import Reorder
from mediaserver.server.calls.audio.formats import Formats, UnsupportedFormatError
from mediaserver.settings import Settings
from mediaserver.wire.messages import MediaBody
from telephony_codecs import CodecError, Decoder, Encoder, codec


class Parts(NamedTuple):
    """What `Inbound` and `Outbound` are built from.

    Attributes:
        make_decoder: returns a new decoder for a track.
        reorder: puts the chunks in order.
        playout: queues, encodes and paces, and knows what was heard.
    """

    make_decoder: Callable[[], Decoder]
    reorder: Reorder[MediaBody]
    playout: Playout


def parts_of(formats: Formats, settings: Settings, sink: PlayoutSink) -> Parts:
    """New parts for a call whose output goes to ``sink``.

    Raises:
        UnsupportedFormatError: the platform cannot decode or encode one of the formats.
        ConfigurationError: there is no MP3 encoder.
    """

    def decoder() -> Decoder:
        return make_decoder(formats, settings)

    decoder()  # raises now, and not at the first frame
    reorder: Reorder[MediaBody] = Reorder(
        settings.reorder_wait_ms / 1000, settings.chunk_numbering, follows=True
    )
    return Parts(decoder, reorder, make_playout(formats, settings, sink))


def listening_parts(formats: Formats, settings: Settings) -> Parts:
    """New parts for a call that can only be heard: no playout of it is ever given anything."""
    reorder: Reorder[MediaBody] = Reorder(
        settings.reorder_wait_ms / 1000, "per_track", follows=True
    )
    playout = Playout(codec("PCMU").encoder(), DetachedSink(), keepalive=False)
    return Parts(lambda: make_decoder(formats, settings), reorder, playout)


def make_playout(formats: Formats, settings: Settings, sink: PlayoutSink) -> Playout:
    """A new playout into ``sink``; errors as of ``parts_of``."""
    if formats.send_mode == "mp3":
        return Mp3Playout(sink)
    return Playout(
        make_encoder(formats, settings),
        sink,
        lead_s=None if settings.lead_ms is None else settings.lead_ms / 1000,
        backlog_s=settings.backlog_ms / 1000,
        keepalive=settings.keepalive,
        catch_up=settings.catch_up,
    )


def make_decoder(formats: Formats, settings: Settings) -> Decoder:
    """A new decoder for one track.

    Raises:
        UnsupportedFormatError: the platform cannot decode this codec.
    """
    options: dict[str, str | float] = {"max_payload_s": settings.max_payload_s}
    if formats.codec == "L16":
        options["byte_order"] = settings.l16_byte_order
    elif formats.codec == "AMR-WB":
        options["packing"] = settings.amr_packing
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
        # Send in the byte order that was set. With `auto` the order is known only when audio has
        # come, so send little-endian.
        order = settings.l16_byte_order
        options = {"byte_order": "little" if order == "auto" else order}
    try:
        return codec(formats.send_codec).encoder(formats.send_rate, **options)
    except CodecError as exc:
        raise UnsupportedFormatError(str(exc)) from exc


def make_sent_decoder(formats: Formats, settings: Settings) -> Decoder:
    """A new decoder for what is sent.

    Raises:
        CodecError: the platform can only encode it.
    """
    options = {}
    if formats.send_codec == "L16":
        options = {"byte_order": "big" if settings.l16_byte_order == "big" else "little"}
    return codec(formats.send_codec).decoder(formats.send_rate, **options)
