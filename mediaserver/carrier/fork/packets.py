"""Packets as Telnyx forks them: RTP, and STREP before it in the old form.

Source: protocol.md 5; RFC 3550, 5.1; RFC 3551, 6.
"""

from __future__ import annotations

import struct
import uuid

PAYLOAD_TYPES = {"PCMU": 0, "PCMA": 8, "G722": 9}
"""The static ones; others are agreed on."""
_CLOCKS_HZ = {"PCMU": 8000, "PCMA": 8000, "G722": 8000, "OPUS": 48000, "AMR-WB": 16000}
_STREP_BYTES = 24


def clock_hz(codec: str, rate_hz: int) -> int:
    """Return how many steps a codec's timestamps make in a second."""
    return _CLOCKS_HZ.get(codec, rate_hz)


def rtp(
    payload: bytes,
    *,
    payload_type: int,
    sequence: int,
    timestamp: int,
    ssrc: int,
    marker: bool = False,
) -> bytes:
    """Return one RTP packet; sequence and timestamp wrap by themselves."""
    second = payload_type | (0x80 if marker else 0)
    numbers = sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc & 0xFFFFFFFF
    return struct.pack("!BBHII", 0x80, second, *numbers) + payload


def strep(call_leg_id: str, track: str, leg: str = "A") -> bytes:
    """Return the header that stands before an RTP packet in the old form."""
    first = 0b11_0001_00 | (2 if leg == "B" else 0) | (1 if track == "outbound" else 0)
    return bytes([first, _STREP_BYTES]) + bytes(6) + uuid.UUID(call_leg_id).bytes
