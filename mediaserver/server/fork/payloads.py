"""What the payload types of RTP mean here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from mediaserver.errors import ConfigurationError
from mediaserver.server.calls.audio.formats import Formats, UnsupportedFormatError
from mediaserver.server.calls.audio.parts import make_decoder
from mediaserver.settings import Settings
from telephony_codecs import CodecError, Decoder, codec

# Static payload types (RFC 3551, 6). The clock of G722 is 8000 by an old mistake (4.5.2).
_STATIC = {0: "PCMU/8000", 8: "PCMA/8000", 9: "G722/8000"}
_CLOCKS_HZ = {"G722": 8000, "OPUS": 48000, "AMR-WB": 16000, "PCMU": 8000, "PCMA": 8000}

LISTEN_ONLY = "none"
"""The mode of a call into which nothing can be sent."""


class PayloadAudio(NamedTuple):
    """What one payload type holds.

    Attributes:
        codec: its name.
        rate_hz: of its audio.
        clock_hz: steps of its timestamps in a second.
        make_decoder: a new decoder of it.
    """

    codec: str
    rate_hz: int
    clock_hz: int
    make_decoder: Callable[[], Decoder]

    @property
    def formats(self) -> Formats:
        """Of a call that has such audio and takes none."""
        return Formats(self.codec, self.rate_hz, self.codec, self.rate_hz, LISTEN_ONLY)


def payloads_of(settings: Settings) -> dict[int, PayloadAudio]:
    """What each payload type holds: the static ones, and those of ``fork_payload_types``.

    Raises:
        ConfigurationError: one of them cannot be.
    """
    written = {str(number): meaning for number, meaning in _STATIC.items()}
    return {
        _number(number): _audio(number, meaning, settings)
        for number, meaning in (written | (settings.fork_payload_types or {})).items()
    }


def _number(written: str) -> int:
    if not written.isdecimal() or int(written) > 127:
        raise ConfigurationError(
            f"wrong setting fork_payload_types: {written!r} is no payload type from 0 to 127"
        )
    return int(written)


def _audio(number: str, meaning: str, settings: Settings) -> PayloadAudio:
    """Of ``OPUS/48000`` what it says, as in SDP: for OPUS and G722 the clock, which is fixed."""
    name, _, rate = meaning.upper().partition("/")
    try:
        found = codec(name)
        rate_hz = found.audio_rate_hz(int(rate) if rate and name not in _CLOCKS_HZ else None)
        formats = Formats(found.name, rate_hz, found.name, rate_hz, LISTEN_ONLY)
        # L16 in RTP is big-endian (RFC 3551, 4.5.11), whatever it is over WebSocket.
        order = "auto" if settings.l16_byte_order == "auto" else "big"
        as_rtp = msgspec.structs.replace(settings, l16_byte_order=order)
        make_decoder(formats, as_rtp)
    except (CodecError, UnsupportedFormatError, ValueError) as exc:
        raise ConfigurationError(f"wrong setting fork_payload_types: {number}: {exc}") from exc
    clock_hz = _CLOCKS_HZ.get(found.name, rate_hz)
    return PayloadAudio(found.name, rate_hz, clock_hz, lambda: make_decoder(formats, as_rtp))


Payloads = Mapping[int, PayloadAudio]
