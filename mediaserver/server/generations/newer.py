"""The newer generation of this server, which listens in its place, as this one sees it."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Sequence
from typing import Any, Protocol

from mediaserver.logs import LimitedLog
from mediaserver.processes.channel import Channel
from mediaserver.server.generations.messages import (
    VERSION,
    CallClosed,
    CallOpened,
    Drain,
    End,
    Failed,
    FromNewer,
    Hello,
    Listening,
    PassedOn,
    Ready,
    State,
    WebhookReported,
)

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))


class NewerHost(Protocol):
    """What a newer generation needs of this one."""

    def listening(self) -> Sequence[socket.socket]:
        """What is listened on."""

    def state(self) -> State:
        """What is known of calls and tokens."""

    def replaced_by_newer(self) -> None:
        """The newer one listens."""

    def take(self, passed: PassedOn, fd: int) -> None:
        """A further socket of a call."""

    def webhook_reported(self, event_type: str, event: bytes) -> None:
        """Telnyx reports about a call."""

    def end_asked(self, *, now: bool) -> None:
        """The server is to end."""

    def newer_gone(self) -> None:
        """It has ended."""


class NewerGeneration:
    """It asks by ``Hello``, and is told what this one has, and then what becomes of it.

    Args:
        end: a connected Unix socket; it is this object's own from now on.
        host: whose calls these are.

    Attributes:
        settled: it is ready, or has failed, or is gone.
        failure: why it cannot serve, if it said so.
        is_ready: it listens.
    """

    def __init__(self, end: socket.socket, host: NewerHost) -> None:
        self.settled: asyncio.Event = asyncio.Event()
        self.failure: str = ""
        self.is_ready: bool = False
        self._host = host
        self._is_met = False
        self._channel = Channel(end, FromNewer, self._received, self._over, "the newer server")

    def opened(self, call_id: str) -> None:
        """A call has begun here, or in a generation before this one."""
        if self._is_met:
            self._channel.send(CallOpened(call_id))

    def closed(self, call_id: str) -> None:
        """A call is over."""
        if self._is_met:
            self._channel.send(CallClosed(call_id))

    async def close(self) -> None:
        """Say no more, once it has heard what was said."""
        try:
            await asyncio.wait_for(self._channel.flushed(), 1.0)
        except TimeoutError:
            limited.warning(
                "generation deaf", "the newer server does not listen to what becomes of calls"
            )
        self._channel.close()

    def _received(self, message: Any, fd: int | None) -> None:
        if fd is not None and not isinstance(message, PassedOn):
            os.close(fd)
        match message:
            case Hello():
                self._meet(message.version)
            case Ready():
                self.is_ready = True
                self.settled.set()
                self._host.replaced_by_newer()
            case Failed():
                self.failure = message.reason
                self.settled.set()
            case PassedOn() if fd is not None:
                self._host.take(message, fd)
            case WebhookReported():
                self._host.webhook_reported(message.event_type, message.event)
            case Drain() | End():
                self._host.end_asked(now=isinstance(message, End))

    def _meet(self, version: int) -> None:
        if version != VERSION:
            self.failure = (
                f"its code hands calls over by version {version}, and not {VERSION}:"
                " the server must be restarted"
            )
            self._channel.close()
            self.settled.set()
            return
        self._is_met = True
        for listening in self._host.listening():
            self._channel.send(Listening(), os.dup(listening.fileno()))
        self._channel.send(self._host.state())

    def _over(self) -> None:
        self._is_met = False
        self.settled.set()
        self._host.newer_gone()
