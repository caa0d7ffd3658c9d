"""The media service over several processes: this one listens, its workers carry the calls.

What must be one for all is here: the address, HTTP, tokens, the number of calls, and which
worker has which call. A call stays with its worker while it lives there or a socket is on
its way there, so that a second socket of it comes to the same session.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgspec
from starlette.routing import BaseRoute
from websockets.server import ServerProtocol

from mediaserver.errors import ConfigurationError
from mediaserver.observer import CallObserver
from mediaserver.processes.channel import UnsendableError
from mediaserver.server.calls.connection import MediaConnection
from mediaserver.server.calls.selection import load_processors
from mediaserver.server.calls.session import Session
from mediaserver.server.listener import Listener
from mediaserver.server.sockets.media_socket import Connection
from mediaserver.server.workers import messages
from mediaserver.server.workers.handoff import Arrival, ArrivingConnection
from mediaserver.server.workers.hangup import HangUpAnswers
from mediaserver.server.workers.process import WorkerLimits, WorkerProcess, WorkerSupervisor
from mediaserver.settings import Settings
from mediaserver.wire.messages import Start

logger = logging.getLogger(__name__)


@dataclass
class _Call:
    """A call of the directory.

    Attributes:
        worker: who has it.
        n_landing: sockets of it on their way to him.
        is_live: he has reported it opened, and not over.
    """

    worker: WorkerProcess
    n_landing: int = 0
    is_live: bool = False


class MultiProcessService:
    """Listens, admits calls, hands them to workers, drains; used like ``SingleProcessService``.

    Args:
        settings: see ``Settings``; at least two workers.
        routes: further HTTP routes on the same port.
        hangup: ends a phone call by REST; None where there is no control client.
        encode_error: encodes what ``hangup`` raises, for workers; comes with it.
        observer: told of calls that open, lose their socket, and close.
        limits: how patient to be with workers.

    Attributes:
        counters: what happened how often, here and in all workers; theirs come with their
            signs of life.

    Raises:
        ConfigurationError: a setting cannot be used, or there are no workers on this system.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        routes: Sequence[BaseRoute] = (),
        hangup: Callable[[str], Awaitable[object]] | None = None,
        encode_error: Callable[[Exception], bytes] | None = None,
        observer: CallObserver | None = None,
        limits: WorkerLimits | None = None,
    ) -> None:
        if sys.platform == "win32":  # pragma: no cover - no sockets go between processes there
            raise ConfigurationError("workers need a Unix system")
        load_processors(settings)  # wrong settings are found here, not once in each worker
        self.settings = settings
        self.counters: Counter[str] = Counter()
        self.draining = False
        self._observer = observer
        self._calls: dict[str, _Call] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._hangups: HangUpAnswers | None = None
        if hangup is not None:
            if encode_error is None:
                raise TypeError("hangup needs encode_error")
            self._hangups = HangUpAnswers(hangup, encode_error)
        self._supervisor = WorkerSupervisor(
            settings, self, limits or WorkerLimits(), can_hang_up=hangup is not None
        )
        self._listener = Listener(settings, self, self._arrive, routes)

    @property
    def workers(self) -> list[WorkerProcess]:
        """Those that live."""
        return self._supervisor.children

    @property
    def is_able(self) -> bool:
        """A worker can take a new call."""
        return self._supervisor.is_able

    @property
    def n_calls(self) -> int:
        """Live calls."""
        return sum(call.is_live for call in self._calls.values())

    @property
    def n_connections(self) -> int:
        """Media connections, here and in the workers."""
        return len(self._listener.connections) + sum(w.n_sockets for w in self.workers)

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        return self._listener.port

    async def start(self) -> None:
        """Start the workers, then listen.

        Raises:
            ConfigurationError: the address cannot be listened on, or a worker does not start.
        """
        await self._listener.bind()
        try:
            await self._supervisor.start()
        except ConfigurationError:
            self._listener.stop()
            raise
        await self._listener.listen()

    # Connections, until they are handed over.

    def connection(
        self, query: Mapping[str, str], token: str | None, now: float
    ) -> MediaConnection:
        """What an admitted upgrade becomes."""
        start_within_s = self.settings.start_within_s
        return ArrivingConnection(self, query, token, now, start_within_s=start_within_s)

    def must_refuse(self, token: str | None) -> bool:
        """Whether a stream that presented ``token`` must be refused."""
        return self._listener.must_refuse(token)

    def open_session(self, connection: MediaConnection, start: Start, now: float) -> Session | None:
        """No session here; an admitted call is noted for the arrival to hand it over."""
        assert isinstance(connection, ArrivingConnection)
        connection.call = self._listener.judge(connection, start)
        return None

    def connection_closed(self, connection: MediaConnection) -> None:
        """A socket is gone before it was handed over."""
        self._listener.connections.discard(connection)
        assert isinstance(connection, ArrivingConnection)
        if connection.call is not None:
            self._forget(connection.call[0])

    def count(self, name: str) -> None:
        """One more of ``name``."""
        self.counters[name] += 1

    def _arrive(
        self, protocol: ServerProtocol, transport: asyncio.Transport, connection: Connection
    ) -> Arrival:
        # They are all made by ``connection`` above.
        return Arrival(protocol, transport, cast(ArrivingConnection, connection), self._hand_over)

    def _hand_over(self, arrival: Arrival) -> None:
        """Give a call's socket to its worker: the one that has the call, else the least busy."""
        connection = arrival.connection
        assert connection.call is not None
        call_id, admission = connection.call
        call = self._calls.get(call_id)
        worker = self._supervisor.least_loaded() if call is None else call.worker
        if worker is None or not worker.has_room:
            self._refuse(arrival, call_id, "no worker can take the call")
            return
        behind = arrival.behind
        try:
            fd = arrival.release()
        except OSError as exc:
            self._refuse(arrival, call_id, f"its socket cannot be handed over: {exc.strerror}")
            return
        self._listener.connections.discard(connection)
        if call is None:
            call = self._calls[call_id] = _Call(worker)
            self._idle.clear()
        call.n_landing += 1
        worker.handed_over(call_id)
        violations = dict(connection.stream.violations)
        land = messages.HandOver(
            call_id, admission, connection.query, connection.text, violations, behind
        )
        worker.channel.send(land, fd)

    def _refuse(self, arrival: Arrival, call_id: str, why: str) -> None:
        self.count("refused_no_worker")
        logger.warning("call %s refused: %s", call_id, why)
        arrival.refuse(1013, "try again later")
        self._forget(call_id)

    # WorkersOwner: what workers report.

    def message_received(self, worker: WorkerProcess, message: Any) -> None:
        """A worker says something."""
        match message:
            case messages.Heartbeat():
                self.counters.update(message.counts)
            case messages.SocketClosed():
                worker.socket_closed()
            case messages.HangUp():
                # The worker sends none unless it was told that it can.
                if self._hangups is not None:
                    self._hangups.requested(message, worker.channel.send)
            case messages.Ready() | messages.Failed() | messages.Hello():
                pass  # the supervisor's
            case messages.CallClosed(over=False):
                pass  # the observer knows calls, and this one goes on in another session
            case _ if message.call_id not in worker.calls:
                # A broken worker must not end another one's calls.
                raise LookupError(f"{worker.name} reports a call that it does not have")
            case _:
                self._call_reported(worker, message)

    def _call_reported(self, worker: WorkerProcess, message: Any) -> None:
        """A worker says something about one of its calls."""
        match message:
            case messages.HandedOver():
                worker.landed(message.call_id)
                self._calls[message.call_id].n_landing -= 1
                self._forget(message.call_id)
            case messages.CallOpened():
                self._opened(worker, message)
            case messages.SocketLost():
                if self._observer is not None:
                    self._observer.lost(message.call_id)
            case messages.CallClosed():
                self._closed(message)

    def worker_gone(self, worker: WorkerProcess) -> None:
        """A worker has ended: its calls are lost, and over."""
        for call_id in list(worker.calls):
            call = self._calls[call_id]
            if call.is_live:
                self.count("lost_with_worker")
                if self._observer is not None:
                    self._observer.lost(call_id)
                    self._observer.closed(call_id, "lost")
            call.is_live, call.n_landing = False, 0
            self._forget(call_id)

    def _opened(self, worker: WorkerProcess, message: messages.CallOpened) -> None:
        call_id = message.call_id
        self._calls[call_id].is_live = True

        def webhook(event: Any, event_type: str) -> None:
            try:
                if worker.channel.is_full:
                    self.count("webhook_not_told")
                    return
                encoded = msgspec.json.encode(event)
                worker.channel.send(messages.WebhookReported(call_id, event_type, encoded))
            except (UnsendableError, RecursionError, ValueError):  # a payload nested too deep
                self.count("webhook_not_told")

        if self._observer is not None:
            self._observer.opened(call_id, message.request, webhook)

    def _closed(self, message: messages.CallClosed) -> None:
        if self._observer is not None:
            self._observer.closed(message.call_id, message.reason)
        self._calls[message.call_id].is_live = False
        self._forget(message.call_id)

    def _forget(self, call_id: str) -> None:
        """Take a call out of the directory, if nothing is left of it."""
        call = self._calls.get(call_id)
        if call is not None:
            if call.is_live or call.n_landing:
                return
            del self._calls[call_id]
            call.worker.call_over(call_id)
        self._listener.call_over(call_id)
        if not self._calls:
            self._idle.set()

    # The end.

    def drain(self) -> None:
        """Take no new calls; live ones go on."""
        if self.draining:
            return
        self.draining = True
        logger.info("draining: %d calls go on", self.n_calls)
        for worker in self.workers:
            worker.channel.send(messages.Drain())

    async def drained(self) -> None:
        """Wait until no call is left, or ``drain_s`` is over."""
        try:
            await asyncio.wait_for(self._idle.wait(), self.settings.drain_s)
        except TimeoutError:
            logger.warning("drain time is over: %d calls are cut", self.n_calls)

    async def close(self) -> None:
        """End everything now: calls with 1001, workers, connections, the listener."""
        self.draining = True
        self._listener.stop()
        await self._supervisor.close()
        if self._hangups is not None:
            await self._hangups.close()
        await self._listener.close()
