"""RTP packets, as Telnyx forks them over UDP. Pure.

Layout (RFC 3550, 5.1): two bits version (2), padding, extension, four bits number of CSRCs;
marker, seven bits payload type; 16 bits sequence number; 32 bits timestamp; 32 bits SSRC; then
the CSRCs, the extension, the payload, the padding. What RTCP sends to the same port is told
apart by the second octet (RFC 5761, 4).
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from mediaserver.errors import PeerError

HEADER_BYTES = 12
SEQUENCES = 1 << 16
TIMESTAMPS = 1 << 32

_HEADER = Struct("!BBHII")
_PLAIN = 0x80  # version 2; neither padding, extension nor CSRC
_PADDING, _EXTENSION, _N_CSRC = 0x20, 0x10, 0x0F
_RTCP = range(192, 224)


class MalformedPacketError(PeerError):
    """A UDP packet that is of no use; ``kind`` is its counter's name."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind

    def __str__(self) -> str:
        return f"malformed packet: {self.kind}"


class RtpPacket(NamedTuple):
    """One packet of a stream.

    Attributes:
        payload_type: 0 to 127, without the marker bit.
        sequence: counts packets, modulo 2**16.
        timestamp: counts samples of the payload's clock, modulo 2**32.
        ssrc: names the stream.
        payload: the octets between header and padding; may be empty.
    """

    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes


def parse_rtp(data: bytes) -> RtpPacket:
    """One RTP packet.

    Args:
        data: what UDP brought.

    Raises:
        MalformedPacketError: another version, RTCP, or a header, extension or padding that is
            longer than the packet.
    """
    if len(data) < HEADER_BYTES:
        raise MalformedPacketError("too_short")
    first, second, sequence, timestamp, ssrc = _HEADER.unpack_from(data)
    if first == _PLAIN and second not in _RTCP:
        return RtpPacket(second & 0x7F, sequence, timestamp, ssrc, data[HEADER_BYTES:])
    if first >> 6 != 2:
        raise MalformedPacketError("version")
    if second in _RTCP:
        raise MalformedPacketError("rtcp")
    start, end = _payload(data, first)
    return RtpPacket(second & 0x7F, sequence, timestamp, ssrc, data[start:end])


def _payload(data: bytes, first: int) -> tuple[int, int]:
    """Where the payload begins and ends."""
    start = HEADER_BYTES + 4 * (first & _N_CSRC)
    if first & _EXTENSION:
        if start + 4 > len(data):
            raise MalformedPacketError("extension")
        start += 4 + 4 * int.from_bytes(data[start + 2 : start + 4], "big")
    if start > len(data):
        raise MalformedPacketError("extension" if first & _EXTENSION else "csrc")
    end = len(data)
    if first & _PADDING:
        n_padding = data[-1]
        if not 0 < n_padding <= end - start:
            raise MalformedPacketError("padding")
        end -= n_padding
    return start, end
