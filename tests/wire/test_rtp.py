"""RTP packets, against the layout of RFC 3550, 5.1."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediaserver.wire.rtp import MalformedPacketError, RtpPacket, parse_rtp

# Version 2, payload type 0, sequence 1, timestamp 160, SSRC 0x01020304; written by hand.
PLAIN = bytes.fromhex("80 00 0001 000000a0 01020304") + b"audio"


def test_a_plain_packet() -> None:
    """Header fields are read in network order; what follows is the payload."""
    assert parse_rtp(PLAIN) == RtpPacket(0, 1, 160, 0x01020304, b"audio")


def test_the_marker_is_no_part_of_the_payload_type() -> None:
    """Payload type 96 with the marker bit."""
    assert parse_rtp(bytes([0x80, 0xE0]) + PLAIN[2:]).payload_type == 96


def test_csrcs_extension_and_padding_are_no_payload() -> None:
    """All three at once: two CSRCs, an extension of one word, four octets of padding."""
    head = bytes([0x80 | 0x20 | 0x10 | 2, 8]) + PLAIN[2:12]
    data = head + b"CSR1CSR2" + b"\xbe\xde\x00\x01" + b"WORD" + b"audio" + b"\0\0\0\x04"
    assert parse_rtp(data).payload == b"audio"


def test_all_may_be_padding() -> None:
    """A keep-alive: the payload is empty, and that is sound."""
    data = bytes([0xA0, 0]) + PLAIN[2:12] + b"\0\x02"
    assert parse_rtp(data).payload == b""


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "too_short"),
        (PLAIN[:11], "too_short"),
        (b"\x40" + PLAIN[1:], "version"),
        (b"\x00" + PLAIN[1:], "version"),
        (b"\x80\xc8" + PLAIN[2:], "rtcp"),
        (b"\x81\xcb" + PLAIN[2:], "rtcp"),
        (b"\x8f" + PLAIN[1:], "csrc"),
        (b"\x90" + PLAIN[1:12] + b"\xbe\xde\x00", "extension"),
        (b"\x90" + PLAIN[1:12] + b"\xbe\xde\x00\x02WORD", "extension"),
        (b"\xa0" + PLAIN[1:12] + b"\x00", "padding"),
        (b"\xa0" + PLAIN[1:12] + b"\x02", "padding"),
        (b"\xa0" + PLAIN[1:12], "padding"),
    ],
)
def test_what_is_no_rtp_is_refused(data: bytes, kind: str) -> None:
    """By a kind that has a counter, and whose text names it."""
    with pytest.raises(MalformedPacketError, match=kind) as caught:
        parse_rtp(data)
    assert caught.value.kind == kind


@given(
    payload_type=st.integers(0, 63),
    sequence=st.integers(0, 0xFFFF),
    timestamp=st.integers(0, 0xFFFFFFFF),
    ssrc=st.integers(0, 0xFFFFFFFF),
    csrcs=st.lists(st.binary(min_size=4, max_size=4), max_size=15),
    extension=st.none() | st.lists(st.binary(min_size=4, max_size=4), max_size=3),
    payload=st.binary(max_size=40),
    n_padding=st.integers(0, 20),
)
def test_what_was_built_is_read(
    payload_type: int,
    sequence: int,
    timestamp: int,
    ssrc: int,
    csrcs: list[bytes],
    extension: list[bytes] | None,
    payload: bytes,
    n_padding: int,
) -> None:
    """Whatever stands around the payload."""
    first = 0x80 | len(csrcs) | (0x10 if extension is not None else 0) | (0x20 if n_padding else 0)
    data = struct.pack("!BBHII", first, payload_type, sequence, timestamp, ssrc) + b"".join(csrcs)
    if extension is not None:
        data += struct.pack("!HH", 0, len(extension)) + b"".join(extension)
    data += payload + (bytes(n_padding - 1) + bytes([n_padding]) if n_padding else b"")
    assert parse_rtp(data) == RtpPacket(payload_type, sequence, timestamp, ssrc, payload)
