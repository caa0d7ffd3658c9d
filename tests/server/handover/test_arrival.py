"""A stream that must wait before it can be handed over.

What a server writes before ``start`` always fits a real socket's buffer, so the transport
that holds some of it back is made up here.
"""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any, cast

import pytest
from websockets.protocol import State

from mediaserver.server.admission import Upgrade
from mediaserver.server.calls.starting import HandOff, StartLimits
from mediaserver.server.handover.arrival import Arrival, ArrivingConnection
from mediaserver.server.sockets.media_socket import make_protocol
from mediaserver.tokens import Admission
from mediaserver.wire.messages import Start
from tests.server.rawclient import CONNECTED, TEXT, frame, text

START = json.dumps({"event": "start", "stream_id": "s", "start": {"call_control_id": "x"}}).encode()
BEHIND = text({"event": "media", "media": {"payload": "AAAA"}})


class Reluctant:
    """A transport that keeps what is written until told otherwise."""

    def __init__(self) -> None:
        self.held = b""
        self.high = -1
        self.is_reading = True
        self.closed = False
        self.protocol: Any = None

    def write(self, data: bytes) -> None:
        self.held += data

    def get_write_buffer_size(self) -> int:
        return len(self.held)

    def set_write_buffer_limits(self, high: int) -> None:
        self.high = high
        if len(self.held) > high:
            self.protocol.pause_writing()

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_extra_info(self, name: str) -> Any:
        assert name in ("socket", "peername", "ssl_object")
        return {"socket": self, "peername": ("192.0.2.7", 5060)}.get(name)

    def fileno(self) -> int:
        return 0  # any that is open

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    async def drain(self) -> None:
        """The peer reads at last."""
        self.held = b""
        self.protocol.resume_writing()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


class Host:
    """Admits every call, and notes what becomes of it."""

    def __init__(self) -> None:
        self.transport = Reluctant()
        self.handed: list[bytes] = []
        self.closed: list[ArrivingConnection] = []
        self.connection = ArrivingConnection(
            cast(Any, self),
            Upgrade("/media", {}, None, is_proven=False),
            asyncio.get_running_loop().time(),
            limits=StartLimits(10, 30, needs_token=False),
        )
        self.arrival = Arrival(
            make_protocol(State.OPEN),
            cast(asyncio.Transport, self.transport),
            self.connection,
            self.hand_over,
        )

    def must_refuse(self, token: str | None) -> bool:
        return False

    def open_session(self, connection: ArrivingConnection, start: Start, now: float) -> HandOff:
        return HandOff("x", Admission.OPEN)

    def proven(self, connection: ArrivingConnection) -> None:
        """Nobody waits for that here."""

    def connection_closed(self, connection: ArrivingConnection) -> None:
        self.closed.append(connection)

    def count(self, name: str) -> None:
        """Nobody counts here."""

    def hand_over(self, arrival: Arrival, hand_off: HandOff) -> None:
        assert hand_off[:2] == ("x", Admission.OPEN)
        self.handed.append(arrival.behind)


async def waiting() -> Host:
    """A stream whose ``start`` came while the answer to its upgrade has not left yet."""
    host = Host()
    host.transport.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    host.arrival.data_received(CONNECTED + frame(TEXT, START) + BEHIND)
    assert host.handed == []
    assert host.transport.high == 0
    assert not host.transport.is_reading
    return host


async def test_it_leaves_when_all_is_written() -> None:
    """Once, with what came behind ``start``, and with no deadline of this process left."""
    host = await waiting()
    await host.transport.drain()
    assert host.handed == [BEHIND]
    os.close(host.arrival.release())
    assert host.transport.closed
    host.arrival.connection_lost(None)
    assert host.closed == []
    assert host.arrival._socket._timers == {}


async def test_it_waits_no_longer_than_a_socket_may() -> None:
    """The deadline of a peer that reads nothing is at work meanwhile."""
    host = await waiting()
    assert "blocked" in host.arrival._socket._timers
    host.arrival.connection_lost(None)
    assert host.closed == [host.connection]
    assert host.connection.hand_off is not None


async def test_a_shutdown_meanwhile_ends_it_here() -> None:
    """Closed with 1001 from here, it is handed over to nobody."""
    host = await waiting()
    host.connection.close(1001, "server shuts down")
    await host.transport.drain()
    assert host.handed == []
    assert host.transport.is_reading
    host.arrival.connection_lost(None)
    assert host.closed == [host.connection]


async def test_refused_it_is_closed_and_read_to_the_end() -> None:
    """1013; then the peer's close frame is waited for, as ever."""
    host = await waiting()
    await host.transport.drain()
    host.arrival.refuse(1013, "try again later")
    assert host.transport.held[:4] == b"\x88\x11" + (1013).to_bytes(2, "big")
    assert host.transport.is_reading
    assert host.arrival.behind == b""
    host.arrival.connection_lost(None)
    assert host.closed == [host.connection]


async def test_without_a_descriptor_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where none can be had, the connection is still whole, and can be refused."""
    host = await waiting()
    await host.transport.drain()

    def none_left(_: int) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "dup", none_left)
    with pytest.raises(OSError, match="Too many"):
        host.arrival.release()
    assert not host.transport.closed
    host.arrival.refuse(1013, "try again later")
    assert host.transport.held
    host.arrival.connection_lost(None)
