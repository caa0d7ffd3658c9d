"""Whom one port listens to. Pure.

Rules (RFC 3550, A.1 in small):

1. A stream is known by the address that it comes from and its SSRC. It is listened to once a
   second packet of it comes whose sequence number is near the first one's: one alone may be
   anybody's, or of a call before this one.
2. From then on other addresses and other SSRCs are refused.
3. When nothing has come of it for `QUIET_S`, another stream may take its place by rule 1: behind
   a hold or a transfer the sender may be another one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from mediaserver.wire.rtp import SEQUENCES, RtpPacket

QUIET_S = 2.0
NEAR = 100

Address = tuple[Any, ...]


class Judged(NamedTuple):
    """What becomes of a packet.

    Attributes:
        packets: to be taken now, in the order in which they came.
        refused: why one of them is not taken; empty: none was refused.
        is_new: they are the first ones of their stream.
    """

    packets: tuple[RtpPacket, ...] = ()
    refused: str = ""
    is_new: bool = False


_WAITS = Judged()


class SourceLock:
    """The stream of one port. **Look at `address` and `ssrc` first; if they fit, set `heard_at`;
    else ask `judge`.**

    Attributes:
        address: of the stream that is listened to; None: of none yet.
        ssrc: its SSRC.
        heard_at: when its last packet came.
    """

    __slots__ = ("_first", "address", "heard_at", "ssrc")

    def __init__(self) -> None:
        self.address: Address | None = None
        self.ssrc: int = -1
        self.heard_at: float = float("-inf")
        self._first: tuple[Address, RtpPacket] | None = None

    def judge(self, address: Address, packet: RtpPacket, now: float) -> Judged:
        """What becomes of a packet that is not of the stream that is listened to."""
        if self.address is not None and now - self.heard_at < QUIET_S:
            return Judged(refused="source" if address != self.address else "ssrc")
        first, self._first = self._first, (address, packet)
        if first is None:
            return _WAITS
        if first[0] != address or first[1].ssrc != packet.ssrc:
            return Judged(refused="unproven")
        step = (packet.sequence - first[1].sequence) % SEQUENCES
        if step == 0 or NEAR < step < SEQUENCES - NEAR:
            return Judged(refused="unproven")
        self._first = None
        self.address, self.ssrc, self.heard_at = address, packet.ssrc, now
        return Judged((first[1], packet), is_new=True)
