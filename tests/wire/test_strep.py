"""STREP headers, against the layout in protocol.md 5."""

from __future__ import annotations

import pytest

from mediaserver.wire.rtp import MalformedPacketError
from mediaserver.wire.strep import StrepHeader, is_strep, parse_strep

LEG = "428c31b6-7af4-4bcb-b7f5-5013ef9657c1"
# 11, version 0001, leg B, outbound; 24 octets; six reserved; the id.
HEADER = bytes.fromhex("c7 18 000000000000 428c31b67af44bcbb7f55013ef9657c1")


def test_a_header_is_read() -> None:
    """Leg, direction, id and length; RTP follows."""
    assert parse_strep(HEADER + b"\x80") == StrepHeader("B", "outbound", LEG, 24)
    assert parse_strep(b"\xc4" + HEADER[1:])[:2] == ("A", "inbound")


def test_a_longer_header_is_skipped_whole() -> None:
    """A later version may append fields: the length says where RTP begins."""
    assert parse_strep(HEADER[:1] + b"\x1c" + HEADER[2:] + b"more").n_bytes == 28


def test_the_two_top_bits_tell_it_from_rtp() -> None:
    """11 is STREP, 10 RTP, anything else neither."""
    assert [is_strep(bytes([first])) for first in (0xC4, 0xFF, 0x80, 0xBF, 0x40, 0x00)] == [
        True,
        True,
        *[False] * 4,
    ]
    assert not is_strep(b"")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (HEADER[:23], "strep_length"),
        (HEADER[:1] + b"\x17" + HEADER[2:], "strep_length"),
        (HEADER[:1] + b"\x19" + HEADER[2:], "strep_length"),
        (b"\xc3" + HEADER[1:], "strep_version"),
        (b"\xcb" + HEADER[1:], "strep_version"),
        (b"\x84" + HEADER[1:], "strep_version"),
    ],
)
def test_what_is_no_strep_is_refused(data: bytes, kind: str) -> None:
    """By a kind that has a counter."""
    with pytest.raises(MalformedPacketError) as caught:
        parse_strep(data)
    assert caught.value.kind == kind
