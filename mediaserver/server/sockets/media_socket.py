"""One media WebSocket on a real transport: deadlines, pings, the write limit."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Callable
from time import monotonic
from typing import NamedTuple, Protocol

from websockets.protocol import State
from websockets.server import ServerProtocol

from mediaserver.logs import address
from mediaserver.server.sockets.deadline import Deadline
from mediaserver.server.sockets.frames.websocket import MAX_MESSAGE_BYTES, WebSocketFrames
from mediaserver.server.sockets.poller import SocketPoller
from mediaserver.server.sockets.relay import is_encrypted
from mediaserver.settings import Settings

CLOSE_WITHIN_S = 5.0
# Buffered for a peer that reads too slowly: about two seconds of L16 at 16 kHz.
WRITE_HIGH_BYTES = 256 * 1024
BLOCKED_FOR_S = 10.0

# After so many pings without a pong the peer counts as one that answers none.
PINGS_TO_KNOW = 3

# Of Linux's `struct tcp_info`: octets acknowledged and octets received, and where they end.
_OCTETS = struct.Struct("=QQ")
_OCTETS_END = 136

# At debug level the library writes whole request heads, and with them auth tokens.
_quiet = logging.getLogger(f"{__name__}.websockets")
_quiet.setLevel(logging.WARNING)


class Pings(NamedTuple):
    """How a peer that has vanished is noticed.

    Attributes:
        every_s: time between two pings.
        timeout_s: time for the pong, or for anything else that the peer sends.
        answered: this peer is known to answer pings.
    """

    every_s: float = 10.0
    timeout_s: float = 10.0
    answered: bool = False

    @classmethod
    def of(cls, settings: Settings, *, answered: bool = False) -> Pings:
        """What the settings say."""
        return cls(settings.ping_every_s, settings.ping_timeout_s, answered)


class Socket(Protocol):
    """What a connection speaks through: ``MediaSocket``, or a socket that somebody else has."""

    @property
    def peer(self) -> str:
        """See ``MediaSocket``; so are all that follow."""

    @property
    def send_text(self) -> Callable[[bytes], object]:
        """Sends a text message."""

    def write(self, data: bytes) -> None:
        """Send whole frames."""

    @property
    def octets(self) -> tuple[int, int]:
        """Octets that came and went, where that is known."""

    def limit_messages(self, n_bytes: int) -> None:
        """A longer message closes the socket."""

    def read_by_poller(self) -> None:
        """Let the poller read."""

    def close(self, code: int, reason: str = "") -> None:
        """Begin the closing handshake."""

    def abort(self) -> None:
        """End the connection now."""

    def fail(self, code: int, reason: str) -> None:
        """Close for the peer's fault."""


class Connection(Protocol):
    """The user of a media socket: what one WebSocket connection means to a call."""

    @property
    def may_be_silent_s(self) -> float | None:
        """How long a peer that answers no pings may send nothing; None: there is another limit."""

    def pings_unanswered(self) -> None:
        """The peer answers no pings; called at most once."""

    def opened(self, socket: Socket) -> None:
        """The handshake is done: ``socket`` is what to speak through."""

    def text_received(self, data: bytes, now: float) -> None:
        """One complete text message."""

    def long_text_received(self, data: bytes, now: float) -> None:
        """One complete text message of more than ``LONG_TEXT_BYTES``."""

    def flooded_behind_close(self) -> None:
        """As in ``websocket.Receiver``."""

    def binary_received(self, now: float) -> None:
        """One complete binary message."""

    def closing(self) -> None:
        """No message can be sent any more; called once."""

    def writing_blocked(self, blocked: bool) -> None:
        """The peer does not keep up (True), or does again (False)."""

    def socket_closed(self, code: int, reason: str) -> None:
        """The socket is gone; called exactly once, last."""


class MediaSocket(asyncio.Protocol):
    """Carries octets between a transport and ``WebSocketFrames``.

    **Make it the transport's protocol; `close` or `abort` ends it; `connection.socket_closed` is
    the last call that it makes.**

    Args:
        protocol: its handshake is done, its state is OPEN.
        transport: the connection.
        connection: receives the messages and the end.
        poller: reads in the transport's place, after ``read_by_poller``; None: the transport reads.
        pings: how a peer that has vanished is noticed.
    """

    __slots__ = (
        "_closed",
        "_connection",
        "_frames",
        "_heard_at",
        "_n_pings",
        "_ping_at",
        "_pings",
        "_polled",
        "_poller",
        "_receive",
        "_timers",
        "_transport",
        "send_text",
    )

    def __init__(
        self,
        protocol: ServerProtocol,
        transport: asyncio.Transport,
        connection: Connection,
        poller: SocketPoller | None = None,
        pings: Pings = Pings(),  # noqa: B008  # a value that nobody can change
    ) -> None:
        self._transport = transport
        self._connection = connection
        self._poller = poller
        self._pings = pings
        self._frames = WebSocketFrames(
            protocol,
            connection,
            self.write,
            self._end,
            connection.closing,
            has_ponged=pings.answered,
        )
        self._heard_at = monotonic()
        self._closed = False
        self._timers: dict[str, Deadline] = {}
        self._receive = self._frames.receive
        # One attribute look-up less for each message of a call.
        self.send_text: Callable[[bytes], bool] = self._frames.send_text
        transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        self._polled: int | None = None
        self._n_pings = 0
        self._ping_at = self._heard_at + pings.every_s
        self._later("look", pings.every_s, self._look)

    @property
    def is_open(self) -> bool:
        """Messages can be sent."""
        return self._frames.is_open

    @property
    def peer(self) -> str:
        """The peer's address, for logs."""
        return address(self._transport.get_extra_info("peername"))

    @property
    def octets(self) -> tuple[int, int]:
        """Octets that came, and that the peer has acknowledged, by the kernel's count.

        0 where the system does not tell, or the socket is gone.
        """
        end = self._transport.get_extra_info("socket")
        try:
            info = end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _OCTETS_END)
            n_out, n_in = _OCTETS.unpack_from(info, _OCTETS_END - _OCTETS.size)
        except (OSError, AttributeError, struct.error):
            return 0, 0
        return n_in, n_out

    @property
    def has_ponged(self) -> bool:
        """The peer answers pings."""
        return self._frames.has_ponged

    @property
    def max_message_bytes(self) -> int:
        """The longest message that is taken, and so the most that is buffered."""
        return self._frames.max_message_bytes

    def limit_messages(self, n_bytes: int) -> None:
        """From now on a longer message closes the socket with 1009."""
        self._frames.limit_messages(n_bytes)

    def read_by_poller(self) -> None:
        """Let the poller read, if there is one; not before the transport reads itself."""
        if self._poller is None or is_encrypted(self._transport):
            return
        if not self._transport.is_closing():
            self._polled = self._poller.add(self._transport, self)

    def close(self, code: int, reason: str = "") -> None:
        """Begin the closing handshake; the socket is gone within 5 s."""
        self._frames.close(code, reason)
        self._abort_later()

    def abort(self) -> None:
        """End the connection now, without a close frame."""
        self._transport.abort()

    def fail(self, code: int, reason: str) -> None:
        """Close because of the peer; what it still sends is ignored."""
        self._frames.fail(code, reason)

    def release(self) -> None:
        """Another process takes the connection: stop all timers, and do not report its end."""
        self._closed = True
        for name in list(self._timers):
            self._cancel(name)

    def data_received(self, data: bytes) -> None:
        """From the transport, or the poller."""
        now = self._heard_at = monotonic()
        receive = self._receive  # hot path: bound once, see docs/architecture.md
        receive(data, now)

    def write(self, data: bytes) -> None:
        """Send whole frames. Do not call it after ``connection.closing``."""
        poller = self._poller
        if poller is not None and poller.handling:
            poller.unwritten.append((self._transport, data))
        else:
            self._transport.write(data)

    def eof_received(self) -> bool:
        """From the transport: the peer sends no more."""
        self._frames.receive_eof()
        return False

    def pause_writing(self) -> None:
        """From the transport: too much is buffered."""
        self._connection.writing_blocked(True)
        self._later("blocked", BLOCKED_FOR_S, self._transport.abort)

    def resume_writing(self) -> None:
        """From the transport: the buffer has drained."""
        self._cancel("blocked")
        self._connection.writing_blocked(False)

    def connection_lost(self, exc: Exception | None) -> None:
        """From the transport: the socket is gone."""
        if self._closed:
            return
        self._closed = True
        if self._poller is not None and self._polled is not None:
            self._poller.remove(self._polled)
        for name in list(self._timers):
            self._cancel(name)
        self._frames.connection_lost()
        self._connection.socket_closed(self._frames.close_code, self._frames.close_reason)
        del self._connection  # so that neither keeps the other: see Session._let_go

    def _end(self) -> None:
        """End our side of the stream, and go on reading.

        If a socket is closed with unread octets, TCP resets the connection, and the peer may not
        get our close frame (RFC 6455, 7.1.1).
        """
        if self._poller is not None:
            self._poller.flush()
        if self._transport.can_write_eof():
            with contextlib.suppress(OSError):  # the peer has reset it
                self._transport.write_eof()
        else:
            self._transport.close()
        self._abort_later()

    def _look(self) -> None:
        """Send a ping when it is due; end the socket if its peer has vanished.

        A peer that never answered a ping is judged by its messages only, because it is not known
        whether Telnyx answers pings. `Deadline` lets the loop read what has come before it calls
        this.
        """
        now = monotonic()
        every_s, timeout_s, _ = self._pings
        answers = self._frames.has_ponged
        limit_s = every_s + timeout_s if answers else self._connection.may_be_silent_s
        gone_at = None if limit_s is None else self._heard_at + limit_s
        if gone_at is not None and now >= gone_at:
            self._transport.abort()
            return
        if now >= self._ping_at:
            if self._n_pings == PINGS_TO_KNOW and not answers:
                self._connection.pings_unanswered()
            self._n_pings += 1
            self._ping_at = now + every_s
            self._frames.ping()
        next_at = self._ping_at if gone_at is None else min(self._ping_at, gone_at)
        self._later("look", next_at - now, self._look)

    def _abort_later(self) -> None:
        if not self._closed and "close" not in self._timers:
            self._later("close", CLOSE_WITHIN_S, self._transport.abort)

    def _later(self, name: str, delay_s: float, action: Callable[[], None]) -> None:
        self._cancel(name)
        self._timers[name] = Deadline(delay_s, action)

    def _cancel(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()


# Makes the protocol of an admitted connection's transport.
SocketMaker = Callable[[ServerProtocol, asyncio.Transport, Connection], asyncio.Protocol]


def make_protocol(state: State = State.CONNECTING) -> ServerProtocol:
    """The rules of a media WebSocket, before its handshake or, once that is done, OPEN."""
    return ServerProtocol(state=state, max_size=MAX_MESSAGE_BYTES, logger=_quiet)


def make_media_socket(
    protocol: ServerProtocol,
    transport: asyncio.Transport,
    connection: Connection,
    poller: SocketPoller | None = None,
    pings: Pings = Pings(),  # noqa: B008  # a value that nobody can change
) -> MediaSocket:
    """The media socket of a connection whose handshake is done."""
    socket = MediaSocket(protocol, transport, connection, poller, pings)
    transport.set_protocol(socket)
    connection.opened(socket)
    return socket
