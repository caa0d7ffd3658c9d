"""STREP headers, which Telnyx puts before RTP where a fork has one ``target``. Pure.

Layout (protocol of the old form of ``fork_start``), 24 octets:

    0       ``11vvvvLD``: version 0001; leg, 0 is A and 1 is B; direction, 0 inbound, 1 outbound
    1       length of the header
    2–7     reserved
    8–23    ``call_leg_id``, a UUID as 16 octets

The two top bits tell it (11) from RTP (10).
"""

from __future__ import annotations

import uuid
from typing import Literal, NamedTuple

from mediaserver.wire.rtp import MalformedPacketError

HEADER_BYTES = 24
_VERSION = 1


class StrepHeader(NamedTuple):
    """What stands before an RTP packet.

    Attributes:
        leg: of the call.
        track: whose audio follows: what Telnyx receives is ``inbound``.
        call_leg_id: as in webhooks.
        n_bytes: its length; RTP follows.
    """

    leg: Literal["A", "B"]
    track: Literal["inbound", "outbound"]
    call_leg_id: str
    n_bytes: int


def is_strep(data: bytes) -> bool:
    """Whether a packet begins with a STREP header; its rest may still be wrong."""
    return bool(data) and data[0] >> 6 == 3


def parse_strep(data: bytes) -> StrepHeader:
    """The header of a packet that begins with one.

    Raises:
        MalformedPacketError: another version, or a length that cannot be.
    """
    if len(data) < HEADER_BYTES:
        raise MalformedPacketError("strep_length")
    first, n_bytes = data[0], data[1]
    if first >> 2 & 0x0F != _VERSION or first >> 6 != 3:
        raise MalformedPacketError("strep_version")
    if not HEADER_BYTES <= n_bytes <= len(data):
        raise MalformedPacketError("strep_length")
    return StrepHeader(
        "B" if first & 2 else "A",
        "outbound" if first & 1 else "inbound",
        str(uuid.UUID(bytes=data[8:HEADER_BYTES])),
        n_bytes,
    )
