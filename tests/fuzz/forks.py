"""Packets of forks: one by one, and as calls with their sessions, ports left out."""

from __future__ import annotations

import asyncio
from collections import Counter
from time import monotonic
from typing import Any

from mediaserver.counters import VALUES
from mediaserver.server.calls.registry import CallRegistry
from mediaserver.server.fork.forked_call import ForkedCall
from mediaserver.server.fork.payloads import Payloads, payloads_of
from mediaserver.server.fork.source import Address
from mediaserver.settings import Settings
from mediaserver.wire.messages import StartBody
from mediaserver.wire.rtp import MalformedPacketError, RtpPacket, parse_rtp
from mediaserver.wire.strep import is_strep, parse_strep
from tests.fuzz.harness import Target

KINDS = set(VALUES["fork_refused.*"])
ADDRESS: Address = ("192.0.2.1", 4000)


def one_packet(data: bytes) -> bool:
    """A packet is read, or refused under a kind that has a counter."""
    try:
        if is_strep(data):
            header = parse_strep(data)
            assert 24 <= header.n_bytes <= len(data)
            data = data[header.n_bytes :]
        packet = parse_rtp(data)
    except MalformedPacketError as error:
        kind = error.kind
    else:
        look(packet, data)
        return True
    assert kind in KINDS, kind
    return False


def look(packet: RtpPacket, data: bytes) -> None:
    """What the server takes for granted of a packet."""
    assert 0 <= packet.payload_type < 128
    assert len(packet.payload) <= len(data) - 12


RTP_PACKETS = Target(one_packet, calls=60, calls_per_octet=1.0, kib=64)


class Host:
    """Owns one forked call, and its registry."""

    def __init__(self, settings: Settings) -> None:
        self.registry = CallRegistry(settings, self)
        self.payloads: Payloads = payloads_of(settings)
        self.idle_s = 60.0

    def may_begin(self, address: Address) -> bool:
        return True

    def fork_over(self, fork: ForkedCall) -> None:
        pass

    def call_opened(self, session: Any) -> None:
        pass

    def call_lost(self, call_id: str) -> None:
        pass

    def call_closed(self, summary: Any, *, over: bool) -> None:
        pass


def a_fork(data: bytes) -> bool:
    """Packets, each behind an octet that says its length and its track, at 20 ms a packet."""
    return asyncio.run(_fork(data))


async def _fork(data: bytes) -> bool:
    host = Host(Settings())
    fork = ForkedCall(host, StartBody(call_control_id="fuzzed"))
    now, at = monotonic(), 0
    while at < len(data):
        length = data[at] & 0x7F
        track = "outbound" if data[at] & 0x80 else "inbound"
        packet = data[at + 1 : at + 1 + length]
        fork.packet_received(track, packet, ADDRESS, now)  # type: ignore[arg-type]  # one of two
        at, now = at + 1 + length, now + 0.02
    refused: Counter[str] = host.registry.counters
    assert {n.partition(".")[2] for n in refused if n.startswith("fork_refused.")} <= KINDS
    taken = fork.session is not None
    fork.stop()
    await host.registry.close(1.0)
    assert not host.registry.sessions
    return taken


FORKED_PACKETS = Target(
    a_fork, calls=20_000, calls_per_octet=400.0, kib=4096, octets_per_octet=4000.0
)
