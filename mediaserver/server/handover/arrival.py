"""A stream in the process that listens: from the handshake to its ``start``.

What comes is taken one WebSocket frame at a time, by the very parts that serve a whole
call elsewhere, so that nothing behind ``start`` is touched here: it goes with the socket to
the worker, or to the older generation of the server that has the call.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from websockets.server import ServerProtocol

from mediaserver.server.admission import Upgrade
from mediaserver.server.calls.connection import MediaConnection, StreamHost
from mediaserver.server.calls.starting import Answer, HandOff, StartLimits
from mediaserver.server.handover.passing import PassedOn
from mediaserver.server.sockets.frames.framing import frame_end
from mediaserver.server.sockets.media_socket import MediaSocket, Pings
from mediaserver.server.sockets.poller import SocketPoller
from mediaserver.server.sockets.relay import is_encrypted, relayed


class ArrivingConnection(MediaConnection):
    """A stream until it is handed over.

    Attributes:
        text: the message that is being handled, as it came.
        hand_off: the answer to ``start``, if the call goes to a worker.
    """

    __slots__ = ("hand_off", "text")

    def __init__(
        self,
        host: StreamHost,
        upgrade: Upgrade,
        now: float,
        *,
        limits: StartLimits,
    ) -> None:
        super().__init__(host, upgrade, now, limits=limits)
        self.text: bytes = b""
        self.hand_off: HandOff | None = None

    def text_received(self, data: bytes, now: float) -> None:
        """From the socket: one message."""
        self.text = data
        super().text_received(data, now)

    def answered(self, answer: Answer) -> None:
        """The call that starts goes to a worker, or is refused."""
        super().answered(answer)
        self.hand_off = answer if isinstance(answer, HandOff) else None


class Arrival(asyncio.Protocol):
    """Feeds a media socket up to ``start``, then lets go of the connection.

    It goes through these states:

        reading   takes one frame after the other; what ``start`` was answered with decides
        staying   the call goes on here: the media socket has the connection
        leaving   the call goes to a worker: reads nothing, until all that was written has left
        released  another process has the connection
        refused   no worker takes the call: reads on, to the end of the closing handshake

    Args:
        protocol: handshake done, state OPEN.
        transport: the connection.
        connection: who hears the messages.
        hand_over: called when nothing is left to be written: to call ``release`` or ``refuse``.
        pings: how a peer that has vanished is noticed.
        poller: reads for a call that stays, if there is one.
    """

    def __init__(
        self,
        protocol: ServerProtocol,
        transport: asyncio.Transport,
        connection: ArrivingConnection,
        hand_over: Callable[[Arrival, HandOff], None],
        pings: Pings = Pings(),  # noqa: B008  # a value that nobody can change
        poller: SocketPoller | None = None,
    ) -> None:
        self.connection = connection
        self._transport = transport
        self._hand_over = hand_over
        self._socket = MediaSocket(protocol, transport, connection, poller, pings)
        self._held = (
            bytearray()
        )  # what is not handled yet: an incomplete frame, or all behind start
        self._need = 0
        self._leaving: HandOff | None = None
        self._done = False  # released or refused
        transport.set_protocol(self)
        connection.opened(self._socket)

    @property
    def behind(self) -> bytes:
        """What came behind ``start``."""
        return bytes(self._held)

    @property
    def has_ponged(self) -> bool:
        """The peer answers pings."""
        return self._socket.has_ponged

    def data_received(self, data: bytes) -> None:
        """From the transport."""
        self._held += data
        self._go_on()

    def eof_received(self) -> bool:
        """From the transport: the peer sends no more."""
        return self._socket.eof_received()

    def pause_writing(self) -> None:
        """From the transport: too much is buffered; the socket limits for how long."""
        self._socket.pause_writing()

    def resume_writing(self) -> None:
        """From the transport: the buffer has drained."""
        self._socket.resume_writing()
        if self._leaving is not None:
            # Not here: the transport is in the middle of writing, and is not to be closed.
            asyncio.get_running_loop().call_soon(self._leave)

    def connection_lost(self, exc: Exception | None) -> None:
        """From the transport: the connection is gone, or no longer of this process."""
        self._socket.connection_lost(exc)

    def passed_on(self, call_id: str) -> PassedOn:
        """What an older generation must know of it, to go on where this one stops."""
        connection = self.connection
        return PassedOn(
            call_id,
            connection.path,
            connection.query,
            connection.token,
            connection.text,
            dict(connection.stream.violations),
            self.behind,
            self.has_ponged,
        )

    def release(self) -> int:
        """Let go of the connection without ending it; a descriptor of it, to be closed.

        Of one with TLS it is one end of a relay: the keys are this process' own.

        Raises:
            OSError: there are no descriptors left; nothing has changed.
        """
        if is_encrypted(self._transport):
            fd = relayed(self._transport)
            self._done = True
            self._socket.release()
            return fd
        fd = os.dup(self._transport.get_extra_info("socket").fileno())
        self._done = True
        self._socket.release()
        # Closes this process' descriptor; the TCP connection lives by the other one.
        self._transport.abort()
        return fd

    def refuse(self, code: int, reason: str) -> None:
        """Close the connection, as nobody can take it."""
        self._done = True
        self.connection.refused(code, reason)
        self._read_on()

    def _go_on(self) -> None:
        """Take the complete frames at the front, up to ``start``."""
        held, at = self._held, 0
        if len(held) < self._need:
            return
        self._need = 0
        while at < len(held) and self._leaving is None:
            end = frame_end(held, at, len(held), self._socket.max_message_bytes)
            if end > len(held):
                self._need = end - at
                break
            self._socket.data_received(bytes(held[at:end]))
            at = end
            if self.connection.session is not None:
                self._stay(bytes(held[at:]))
                return
            if not self._done:
                self._leaving = self.connection.hand_off
        del held[:at]
        if self._leaving is not None:
            # What comes from now on stays in the kernel, for the worker to read.
            self._transport.pause_reading()
            self._leave()

    def _stay(self, behind: bytes) -> None:
        self._held.clear()
        self._transport.set_protocol(self._socket)
        if behind:
            self._socket.data_received(behind)
        self._socket.read_by_poller()

    def _leave(self) -> None:
        """Hand over, once everything that was written here has left."""
        if self._done or self._leaving is None or self._transport.is_closing():
            return
        if not self._socket.is_open:  # closed from this side in the meantime
            self._done = True
            self._read_on()
        elif self._transport.get_write_buffer_size():
            self._transport.set_write_buffer_limits(high=0)  # resume_writing() when it is empty
        else:
            self._hand_over(self, self._leaving)

    def _read_on(self) -> None:
        """The closing handshake is read to its end; what comes before that is of no use."""
        self._leaving = None
        self._transport.resume_reading()
        self._go_on()
