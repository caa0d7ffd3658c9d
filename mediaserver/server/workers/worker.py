"""A worker: carries the calls whose sockets its parent hands over, and listens nowhere."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from time import monotonic
from typing import Any

import msgspec

from mediaserver.afterwards.pending import PENDING
from mediaserver.logs import LimitedLog, shown
from mediaserver.observer import CallSummary
from mediaserver.processes.channel import Channel
from mediaserver.processes.inside import Heartbeats
from mediaserver.server.admission import Upgrade
from mediaserver.server.base import HURRY_S
from mediaserver.server.calls.connection import MediaConnection
from mediaserver.server.calls.hangups import ControlEncoding
from mediaserver.server.calls.registry import CallRegistry
from mediaserver.server.calls.runner import InlineRunners, Runners
from mediaserver.server.calls.session import Session
from mediaserver.server.calls.starting import Answer, StartLimits
from mediaserver.server.calls.watching.answers import answer, answers_of
from mediaserver.server.handover import landing
from mediaserver.server.live.desk import live_answers
from mediaserver.server.workers.commands import CommandRequests
from mediaserver.server.workers.messages import (
    CallClosed,
    CallOpened,
    Claim,
    Claimed,
    Commanded,
    Drain,
    HandedOver,
    HandOver,
    Heartbeat,
    Load,
    Query,
    QueryAnswer,
    Ready,
    Setup,
    Shutdown,
    SocketClosed,
    SocketLost,
    ToWorker,
    WebhookReported,
)
from mediaserver.settings import Settings
from mediaserver.tokens import Admission
from mediaserver.wire.messages import Start

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

# At the end: for peers to take their close frames, and for the parent to take the last report.
FLUSH_WITHIN_S = 1.0


class HandedOverConnection(MediaConnection):
    """A stream that begins with its ``start``; what came before was its parent's."""

    __slots__ = ("hand_over",)

    def __init__(self, worker: Worker, hand_over: HandOver, now: float) -> None:
        super().__init__(
            worker,
            Upgrade(hand_over.path, hand_over.query, None, is_proven=True),
            now,
            # Here the settings do not hold the token.
            limits=StartLimits.of(
                worker.settings, needs_token=hand_over.admission is not Admission.OPEN
            ),
            violations=hand_over.violations,
        )
        self.hand_over: HandOver = hand_over

    def _odd(self, name: str) -> None:
        """Counted by the parent for ``start``, which is the only message without a session."""
        if self.session is not None:
            super()._odd(name)


class Worker:
    """The calls of a worker, and what their parent is told of them.

    Args:
        setup: the parent's first message.
        end: this side of the channel.
        control: encodes requests to the parent's control client, and decodes its answers.
        runners_for: gives what makes the runners of its calls; called with the settings.

    Raises:
        ConfigurationError: a setting or a processor cannot be used here.
    """

    def __init__(
        self,
        setup: Setup,
        end: socket.socket,
        control: ControlEncoding,
        runners_for: Callable[[Settings], Runners] = lambda _: InlineRunners(),
    ) -> None:
        settings = setup.whole_settings()
        self.settings: Settings = settings
        self._control = control
        self._commands = CommandRequests(self._report, control)
        perform = self._commands.perform if setup.has_client else None
        self._calls = CallRegistry(
            settings, self, perform=perform, runners=runners_for(settings), worker=setup.index
        )
        self._answers = {**answers_of(self._calls), **live_answers(self._calls)}
        self._connections: set[MediaConnection] = set()
        self._unclaimed: dict[int, tuple[HandOver, int | None]] = {}
        self._answered = asyncio.Event()  # no claim of those is without its answer
        self._answered.set()
        self._landing: set[asyncio.Task[None]] = set()
        self._finishing: asyncio.Task[None] | None = None
        self._load = Load()
        self._over = asyncio.Event()
        self._hurry = False
        self._empty = asyncio.Event()
        self._channel = Channel(end, ToWorker, self._received, self._parent_gone, "the server")
        self._heartbeats = Heartbeats(self._channel, setup.beat_s, self._at_beat)

    async def run(self) -> None:
        """Carry calls until the parent says that it is over; what if it is gone, a setting says."""
        await self._calls.start()
        self._channel.send(Ready())
        self._heartbeats.start()
        await self._over.wait()
        await _at_most(self._answered.wait(), FLUSH_WITHIN_S)
        if self._landing:
            await asyncio.wait(self._landing)  # to be closed like the others
        for connection in list(self._connections):
            connection.close(1001, "server shuts down")
        await self._calls.close(HURRY_S if self._hurry else None)
        self._commands.close("the worker ends")
        if self._connections:
            await _at_most(self._empty.wait(), FLUSH_WITHIN_S)
        self._report_counts()
        await _at_most(self._channel.flushed(), FLUSH_WITHIN_S)
        self._heartbeats.stop()
        self._channel.close()

    # StreamHost: what connections need.

    def must_refuse(self, token: str | None) -> bool:
        """Never: the parent has judged."""
        return False

    def open_session(self, connection: MediaConnection, start: Start, now: float) -> Answer:
        """What becomes of the call that starts."""
        assert isinstance(connection, HandedOverConnection)
        given = connection.hand_over
        return self._calls.open(
            connection, start, given.call_id, given.admission, now, started_at=given.started_at
        )

    def proven(self, connection: MediaConnection) -> None:
        """It was, when it came."""

    def connection_closed(self, connection: MediaConnection) -> None:
        """The socket is gone."""
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()
        self._calls.connection_closed(connection)
        self._report(SocketClosed())

    def count(self, name: str) -> None:
        """One more of ``name``."""
        self._calls.count(name)

    # CallsFollower: the parent follows.

    def call_opened(self, session: Session) -> None:
        """A call has its socket."""
        self._report(CallOpened(session.call_id, session.facts.request))

    def call_lost(self, call_id: str) -> None:
        """A call has lost its socket."""
        self._report(SocketLost(call_id))

    def call_closed(self, summary: CallSummary, *, over: bool) -> None:
        """A session has ended."""
        self._report_load()  # before the last call's end: a drain waits for what is left
        self._report(CallClosed(summary, over))

    # The parent.

    def _received(self, message: Any, fd: int | None) -> None:
        match message:
            case HandOver():
                self._arrived(message, fd)
            case Claimed():
                self._land(message)
            case WebhookReported():
                session = self._calls.sessions.get(message.call_id)
                if session is not None:
                    session.webhook_received(
                        self._control.decode_event(message.event_type, message.event)
                    )
            case Commanded():
                self._commands.answered(message)
            case Query():
                body = answer(self._answers, message.what, message.argument)
                self._channel.send(QueryAnswer(message.number, body))
            case Drain():
                self._calls.drain()
            case Shutdown():
                self._hurry = message.hurry
                self._over.set()

    def _parent_gone(self) -> None:
        self._commands.close("the server's main process is gone")
        for _, fd in self._unclaimed.values():
            _close(fd)
        self._unclaimed.clear()
        self._answered.set()
        if self.settings.on_parent_loss == "end":
            self._over.set()
        else:
            self._finishing = asyncio.get_running_loop().create_task(self._finish_alone())

    async def _finish_alone(self) -> None:
        """Carry the calls to their end, as in a drain; a signal ends them."""
        text = "the server's main process is gone: live calls go on to their end"
        limited.each(logging.WARNING, "main process gone", text)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._over.set)
        self._calls.drain()
        await _at_most(self._calls.emptied(), self.settings.drain_s)
        self._over.set()

    def _report(self, message: msgspec.Struct) -> None:
        """Tell the parent, and first what was counted on the way there."""
        self._report_counts()
        self._channel.send(message)

    def _report_counts(self) -> None:
        if self._calls.counters:
            self._channel.send(Heartbeat(self._take_counts()))

    def _at_beat(self) -> dict[str, int]:
        """What goes with a heartbeat; its load goes before it, if that changed."""
        self._report_load()
        return self._take_counts()

    def _report_load(self) -> None:
        calls = self._calls
        load = Load(calls.n_quiet, calls.most_calls, calls.host_bytes, PENDING.n)
        if load != self._load:
            self._load = load
            self._channel.send(load)

    def _take_counts(self) -> dict[str, int]:
        """What was counted since it was last called."""
        counts = dict(self._calls.counters)
        self._calls.counters.clear()
        return counts

    # Sockets.

    def _arrived(self, land: HandOver, fd: int | None) -> None:
        self._unclaimed[land.number] = land, fd
        self._answered.clear()
        self._channel.send(Claim(land.number))

    def _land(self, answer: Claimed) -> None:
        land, fd = self._unclaimed.pop(answer.number)
        if not self._unclaimed:
            self._answered.set()
        if not answer.granted:  # this process was silent for too long
            _close(fd)
            return
        if fd is None:
            text = "call %s: its socket was lost on the way here: too many open files"
            limited.error("sockets lost", text, shown(land.call_id), call=land.call_id)
            self.count("refused_no_descriptor")
            self._report(HandedOver(land.call_id))
            self._report(SocketClosed())
            return
        task = asyncio.get_running_loop().create_task(self._take(land, fd))
        self._landing.add(task)
        task.add_done_callback(self._landing.discard)

    async def _take(self, land: HandOver, fd: int) -> None:
        """Go on with a connection where the parent stopped."""
        connection = HandedOverConnection(self, land, monotonic())
        self._connections.add(connection)
        self._empty.clear()
        make_socket = partial(self._calls.sockets.make, has_ponged=land.has_ponged)
        try:
            await landing.land(fd, connection, make_socket, land.start, land.behind, land.call_id)
        finally:
            if connection.socket is None:
                self.connection_closed(connection)
            self._report(HandedOver(land.call_id))


def _close(fd: int | None) -> None:
    if fd is not None:
        os.close(fd)


async def _at_most(wait: Awaitable[object], timeout_s: float | None) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(wait, timeout_s)
