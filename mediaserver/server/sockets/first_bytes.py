"""One port: the first bytes of a connection decide what it is.

A WebSocket upgrade for a media path becomes a media socket; any other request goes,
with every byte that came, to the HTTP protocol. Until the head is complete the
connection has 5 s and 16 KiB.
"""

from __future__ import annotations

import asyncio
import http
import logging
from time import monotonic
from typing import NamedTuple, Protocol, cast

from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from mediaserver.logs import LimitedLog, address, shown
from mediaserver.server.sockets.deadline import Deadline
from mediaserver.server.sockets.heads import (
    MAX_HEAD_BYTES,
    TELLING_BYTES,
    TOO_LONG,
    TOO_SLOW,
    UNREADABLE,
    BadHead,
    asks_only,
    fields_of,
    problem_at_once,
    problem_of,
    wants_websocket,
)
from mediaserver.server.sockets.http import BoundedProtocol
from mediaserver.server.sockets.media_socket import Connection, make_protocol

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

HEAD_WITHIN_S = 5.0


class Peer(NamedTuple):
    """Who is at the other end of a connection.

    Attributes:
        address: its IP address, or a proxy's; None where there is none.
        is_late: it came when hardly any descriptor was left: there is room for a question
            about the server's health, and for no call.
    """

    address: str | None
    is_late: bool = False


class Waiting(Protocol):
    """A connection whose head is awaited."""

    @property
    def peer(self) -> Peer:
        """Who is at the other end."""

    def abort(self) -> None:
        """End it now."""


class Gatekeeper(Protocol):
    """Who decides about new connections."""

    def waits(self, connection: Waiting) -> None:
        """Its head is awaited."""

    def waits_no_more(self, connection: Waiting) -> None:
        """Its head is complete, or will never be."""

    def refused(self, peer: Peer, problem: BadHead) -> None:
        """A connection brought what is no sound request."""

    def count(self, name: str) -> None:
        """One more of ``name``."""

    def http_protocol(self, peer: Peer, forwarded: list[str]) -> BoundedProtocol:
        """What goes on with a request that is no upgrade."""

    def admit(
        self, request: Request, peer: Peer, now: float
    ) -> Connection | tuple[http.HTTPStatus, str]:
        """A connection for this upgrade request, or status and text of a refusal."""

    def make_socket(
        self, protocol: ServerProtocol, transport: asyncio.Transport, connection: Connection
    ) -> asyncio.Protocol:
        """What an admitted upgrade goes on with."""


class FirstBytes(asyncio.Protocol):
    """A new connection until its head is complete.

    Args:
        gatekeeper: who is asked about it.
        is_late: see ``Peer``.
        unwanted: whatever comes is refused with this; None: it is looked at.

    Attributes:
        peer: who is at the other end.
    """

    def __init__(
        self,
        gatekeeper: Gatekeeper,
        *,
        is_late: bool = False,
        unwanted: BadHead | None = None,
    ) -> None:
        self._unwanted = unwanted
        self.peer: Peer = Peer(None, is_late)
        self._gatekeeper = gatekeeper
        self._head = bytearray()
        self._transport: asyncio.Transport | None = None
        self._deadline: Deadline | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """From the transport."""
        # uvloop's transports have the interface without the base class.
        self._transport = cast(asyncio.Transport, transport)
        name = transport.get_extra_info("peername")
        if isinstance(name, tuple):
            self.peer = self.peer._replace(address=name[0])
        self._deadline = Deadline(HEAD_WITHIN_S, self._too_slow)
        self._gatekeeper.waits(self)

    def data_received(self, data: bytes) -> None:
        """From the transport."""
        n_before = len(self._head)
        self._head += data
        end = self._head.find(b"\r\n\r\n", max(0, n_before - 3)) + 4
        is_whole = end >= 4
        problem = self._unwanted
        if problem is None and n_before < TELLING_BYTES:
            problem = problem_at_once(self._head)
        if problem is None and (end if is_whole else len(self._head)) > MAX_HEAD_BYTES:
            problem = TOO_LONG
        if problem is None and is_whole:
            problem = problem_of(bytes(self._head[:end]))
        if problem is not None:
            self._refuse(problem)
        elif is_whole:
            self._leave()
            head = bytes(self._head[:end])
            if self.peer.is_late and not asks_only(head):
                self._gatekeeper.count("refused_no_descriptor")
                self._answer(http.HTTPStatus.SERVICE_UNAVAILABLE, "No descriptors are left.")
            elif wants_websocket(head):
                self._become_websocket(head, bytes(self._head[end:]))
            else:
                self._become_http(head)

    def connection_lost(self, exc: Exception | None) -> None:
        """From the transport: gone before its head was complete."""
        self._leave()

    def abort(self) -> None:
        """End the connection now."""
        if self._transport is not None:
            self._transport.abort()

    def _leave(self) -> None:
        self._gatekeeper.waits_no_more(self)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        if self._head:
            self._refuse(TOO_SLOW)
        else:
            self.abort()

    def _refuse(self, problem: BadHead) -> None:
        """Answer and close; what still comes is read by nobody."""
        self._leave()
        self._gatekeeper.refused(self.peer, problem)
        if problem.status is not None and not problem.advice:
            self._say(f"refused with {problem.status:d}", problem.reason)
        self._answer(problem.status, problem.reason)

    def _answer(self, status: http.HTTPStatus | None, reason: str) -> None:
        """The last word."""
        assert self._transport is not None
        self._head.clear()
        self._transport.pause_reading()
        if status is not None:
            self._transport.write(answer_of(status, reason))
        self._transport.close()

    def _become_http(self, head: bytes) -> None:
        assert self._transport is not None
        forwarded = fields_of(head, b"x-forwarded-for")
        protocol = self._gatekeeper.http_protocol(self.peer, forwarded)
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        protocol.data_received(bytes(self._head))
        if self.peer.is_late:
            protocol.retire()

    def _become_websocket(self, head: bytes, behind: bytes) -> None:
        """Shake hands; the bytes behind the request are the first frames."""
        transport = self._transport
        assert transport is not None
        protocol = make_protocol()
        protocol.receive_data(head)
        events = protocol.events_received()
        if not events:  # what the library cannot read, although it looks sound
            self._refuse(UNREADABLE)
            return
        request = events[0]
        assert isinstance(request, Request)
        connection = self._handshake(protocol, request)
        for octets in protocol.data_to_send():
            if octets:
                transport.write(octets)
        if connection is None:
            transport.close()
            return
        # A new one: the one that shook hands keeps the request for as long as it lives.
        opened = make_protocol(State.OPEN)
        socket = self._gatekeeper.make_socket(opened, transport, connection)
        if behind:
            socket.data_received(behind)

    def _handshake(self, protocol: ServerProtocol, request: Request) -> Connection | None:
        """Have the request accepted or refused; None when it was refused."""
        response = protocol.accept(request)
        if response.status_code != http.HTTPStatus.SWITCHING_PROTOCOLS:
            self._say(f"refused with {response.status_code}", str(protocol.handshake_exc))
            protocol.send_response(response)
            return None
        admitted = self._gatekeeper.admit(request, self.peer, monotonic())
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


def answer_of(status: http.HTTPStatus, reason: str) -> bytes:
    """A whole response that closes the connection."""
    text = f"{reason}\n".encode()
    return (
        b"HTTP/1.1 %d %b\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (status, status.phrase.encode(), len(text), text)
    )
