"""One port: the first bytes of a connection decide what it is.

A WebSocket upgrade for a media path becomes a media socket; any other request goes,
with every byte that came, to the HTTP protocol. Until the head is complete the
connection has 5 s and 64 KiB.
"""

from __future__ import annotations

import asyncio
import http
import logging
from collections.abc import Callable
from time import monotonic
from typing import Protocol, cast

from websockets.http11 import Request
from websockets.server import ServerProtocol

from mediaserver.logs import LimitedLog, address, shown
from mediaserver.server.sockets.deadline import Deadline
from mediaserver.server.sockets.media_socket import (
    Connection,
    SocketMaker,
    make_media_socket,
    make_protocol,
)

limited = LimitedLog(logging.getLogger(__name__))

HEAD_WITHIN_S = 5.0
MAX_HEAD_BYTES = 64 * 1024
# Connections whose head is not complete; more are closed at once.
MAX_WAITING = 2048


class Gatekeeper(Protocol):
    """Who decides about new connections."""

    def admit(self, request: Request, now: float) -> Connection | tuple[http.HTTPStatus, str]:
        """A connection for this upgrade request, or status and text of a refusal."""


class FirstBytes(asyncio.Protocol):
    """A new connection until its head is complete.

    Args:
        gatekeeper: asked about each WebSocket upgrade.
        http_protocol: makes the protocol for any other request.
        waiting: the connections in this state; this one adds and removes itself.
        make_socket: makes what an admitted upgrade goes on with.
    """

    def __init__(
        self,
        gatekeeper: Gatekeeper,
        http_protocol: Callable[[], asyncio.Protocol],
        waiting: set[FirstBytes],
        make_socket: SocketMaker = make_media_socket,
    ) -> None:
        self._gatekeeper = gatekeeper
        self._http_protocol = http_protocol
        self._waiting = waiting
        self._make_socket = make_socket
        self._head = bytearray()
        self._transport: asyncio.Transport | None = None
        self._deadline: Deadline | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """From the transport."""
        # uvloop's transports have the interface without the base class.
        self._transport = transport = cast(asyncio.Transport, transport)
        if len(self._waiting) >= MAX_WAITING:
            self._say("closed at once", "too many connections have not sent their request")
            transport.abort()
            return
        self._waiting.add(self)
        self._deadline = Deadline(HEAD_WITHIN_S, transport.abort)

    def data_received(self, data: bytes) -> None:
        """From the transport."""
        assert self._transport is not None
        searched = max(0, len(self._head) - 3)
        self._head += data
        end = self._head.find(b"\r\n\r\n", searched) + 4
        if end < 4:
            if len(self._head) > MAX_HEAD_BYTES:
                self._refuse(http.HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif end > MAX_HEAD_BYTES:
            self._refuse(http.HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        else:
            self._leave()
            if wants_websocket(bytes(self._head[:end])):
                self._become_websocket(bytes(self._head[:end]), bytes(self._head[end:]))
            else:
                self._become_http(bytes(self._head))

    def connection_lost(self, exc: Exception | None) -> None:
        """From the transport: gone before its head was complete."""
        self._leave()

    def abort(self) -> None:
        """End the connection now."""
        if self._transport is not None:
            self._transport.abort()

    def _leave(self) -> None:
        self._waiting.discard(self)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, status: http.HTTPStatus) -> None:
        """Answer and close; what still comes is read by nobody."""
        assert self._transport is not None
        self._say(f"refused with {status:d}", f"its head is longer than {MAX_HEAD_BYTES} bytes")
        self._head.clear()
        self._transport.pause_reading()
        self._transport.write(
            b"HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            % (status, status.phrase.encode())
        )
        self._transport.close()

    def _become_http(self, received: bytes) -> None:
        assert self._transport is not None
        protocol = self._http_protocol()
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        protocol.data_received(received)

    def _become_websocket(self, head: bytes, behind: bytes) -> None:
        """Shake hands; the bytes behind the request are the first frames."""
        transport = self._transport
        assert transport is not None
        protocol = make_protocol()
        protocol.receive_data(head)
        connection = self._handshake(protocol)
        for octets in protocol.data_to_send():
            if octets:
                transport.write(octets)
        if connection is None:
            transport.close()
            return
        socket = self._make_socket(protocol, transport, connection)
        if behind:
            socket.data_received(behind)

    def _handshake(self, protocol: ServerProtocol) -> Connection | None:
        """Have the request accepted or refused; None when it was refused."""
        events = protocol.events_received()
        if not events:  # no HTTP at all: ServerProtocol has closed already
            return None
        request = events[0]
        assert isinstance(request, Request)
        response = protocol.accept(request)
        if response.status_code != http.HTTPStatus.SWITCHING_PROTOCOLS:
            self._say(f"refused with {response.status_code}", str(protocol.handshake_exc))
            protocol.send_response(response)
            return None
        admitted = self._gatekeeper.admit(request, monotonic())
        if isinstance(admitted, tuple):
            status, why = admitted
            self._say(f"refused with {status:d}", why)
            protocol.send_response(protocol.reject(status, why))
            return None
        protocol.send_response(response)
        return admitted

    def _say(self, how: str, why: str) -> None:
        """Log a connection that was turned away."""
        assert self._transport is not None
        peer = address(self._transport.get_extra_info("peername"))
        text = "a connection from %s was %s: %s"
        limited.warning(f"connections {how}", text, peer, how, shown(why.strip(), 300))


def wants_websocket(head: bytes) -> bool:
    """Whether a request's head asks for an upgrade to WebSocket."""
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"upgrade" and b"websocket" in value.lower():
            return True
    return False
