"""A stream in the process that goes on with it: from its ``start``."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable
from time import monotonic
from typing import Any, cast

from websockets.frames import Close, Frame, Opcode
from websockets.protocol import State

from mediaserver.logs import LimitedLog, shown
from mediaserver.server.calls.connection import MediaConnection
from mediaserver.server.handover.passing import PassedOn
from mediaserver.server.sockets.media_socket import MediaSocket, make_protocol
from mediaserver.wire.messages import Start
from mediaserver.wire.stream import Stream

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

SocketMaker = Callable[[Any, asyncio.Transport, MediaConnection], asyncio.Protocol]


class Landing(asyncio.Protocol):
    """Makes a handed-over connection a media socket, before anything is read from it.

    Args:
        connection: who hears the messages.
        make_socket: makes its media socket.
        start: the ``start`` message as it came.
        behind: octets that were read behind it.
        call_id: of its call, for the log.
    """

    def __init__(
        self,
        connection: MediaConnection,
        make_socket: SocketMaker,
        start: bytes,
        behind: bytes,
        call_id: str,
    ) -> None:
        self._call_id = call_id
        self._connection = connection
        self._make_socket = make_socket
        self._start = start
        self._behind = behind

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """From the transport."""
        # uvloop's transports have the interface without the base class.
        transport = cast(asyncio.Transport, transport)
        protocol = make_protocol(State.OPEN)
        media_socket = self._make_socket(protocol, transport, self._connection)
        try:
            self._connection.text_received(self._start, monotonic())
            if self._behind:
                media_socket.data_received(self._behind)
        except Exception as exc:  # what a transport does where data_received() raises
            text, call_id = "call %s failed at its start", self._call_id
            limited.error("calls that failed", text, shown(call_id), exc_info=exc, call=call_id)
            transport.abort()


async def land(
    fd: int,
    connection: MediaConnection,
    make_socket: SocketMaker,
    start: bytes,
    behind: bytes,
    call_id: str,
) -> None:
    """Go on with a connection where another process stopped; ``fd`` is this function's own.

    Where its socket cannot be used any more, ``connection.socket`` is None afterwards.
    """
    end: socket.socket | None = None
    try:
        end = socket.socket(fileno=fd)
        end.setblocking(False)
        landing = Landing(connection, make_socket, start, behind, call_id)
        await asyncio.get_running_loop().connect_accepted_socket(lambda: landing, end)
        if isinstance(connection.socket, MediaSocket):
            connection.socket.read_by_poller()
    except (OSError, RuntimeError) as exc:  # gone in the meantime; uvloop's is no OSError
        text = "call %s: its socket cannot be used: %s"
        limited.info("sockets of no use", text, shown(call_id), exc, call=call_id)
        with contextlib.suppress(OSError):
            if end is None:  # not even its kind could be asked for, as where it was reset
                os.close(fd)
            else:
                end.close()


def start_of(passed: PassedOn) -> Start:
    """The ``start`` that was read already."""
    stream = Stream.resumed(
        monotonic(), {}, start_within_s=0.0, refused=lambda _: None, odd=lambda _: None
    )
    start = stream.receive(passed.start)
    assert isinstance(start, Start), "it was one where it was read"
    return start


def turn_away(fd: int, code: int, reason: str) -> None:
    """Close a connection that nobody goes on with; ``fd`` is this function's own."""
    frame = Frame(Opcode.CLOSE, Close(code, reason).serialize()).serialize(mask=False)
    with contextlib.suppress(OSError), socket.socket(fileno=fd) as end:
        end.setblocking(False)
        end.send(frame)
