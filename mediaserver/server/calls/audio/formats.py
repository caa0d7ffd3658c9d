"""Which codec at which rate is used in each direction; the two are independent."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from mediaserver.errors import ConfigurationError, PeerError
from mediaserver.settings import Settings
from mediaserver.wire.messages import Start
from telephony_codecs import CodecError, codec


class UnsupportedFormatError(PeerError):
    """The call's format cannot be served; the socket is closed with 1003 and this text."""


class Formats(msgspec.Struct, frozen=True):
    """What comes and what goes, by codec name and audio rate in Hz.

    Attributes:
        codec: of the caller's audio, from ``start``.
        rate: its audio rate.
        send_codec: of what goes back.
        send_rate: its audio rate.
        send_mode: ``rtp`` or ``mp3``; ``none`` where nothing can go back.
    """

    codec: str
    rate: int
    send_codec: str
    send_rate: int
    send_mode: str

    @property
    def is_listen_only(self) -> bool:
        """Nothing can be sent into the call."""
        return self.send_mode == "none"


def formats_of(start: Start, query: Mapping[str, str], settings: Settings) -> Formats:
    """The call's formats: in from ``start``, out from parameters, query, settings.

    Raises:
        UnsupportedFormatError: a codec or a rate there is not.
    """
    announced = start.media_format
    # An Opus decoder gives mono, also of two channels (RFC 6716, 2.1.2; RFC 7587, 3.4).
    if announced.channels not in (None, 1) and announced.codec != "OPUS":
        raise UnsupportedFormatError(
            f"{announced.codec} with {announced.channels} channels; only OPUS may have two"
        )
    custom = start.start.parameters
    name = custom.get("send_codec") or query.get("send_codec") or settings.send_codec
    asked = custom.get("send_rate") or query.get("send_rate")
    # The rate of the settings belongs to the codec of the settings, and to no other codec.
    rate = asked or (settings.send_rate if name.upper() == settings.send_codec.upper() else None)
    mode = custom.get("send_mode") or query.get("send_mode") or settings.send_mode
    if name.upper() == "MP3":
        mode, rate = "mp3", None
    if mode not in ("rtp", "mp3"):
        raise UnsupportedFormatError(f"send_mode {mode!r} is neither rtp nor mp3")
    try:
        came = codec(announced.codec)
        goes = codec(name.upper() if mode == "rtp" else "MP3")
        return Formats(
            came.name,
            came.audio_rate_hz(announced.sample_rate),
            goes.name,
            goes.audio_rate_hz(None if rate is None or mode == "mp3" else int(rate)),
            mode,
        )
    except (CodecError, ValueError) as exc:
        raise UnsupportedFormatError(str(exc)) from exc


def check_settings(settings: Settings) -> None:
    """Refuse settings with which no call could be served.

    Raises:
        ConfigurationError: an unknown codec, a rate it does not have, or no encoder here.
    """
    try:
        codec(settings.send_codec.upper()).encoder(settings.send_rate)
    except CodecError as exc:
        raise ConfigurationError(f"wrong setting send_codec: {exc}") from exc
