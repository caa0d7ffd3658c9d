"""The media service over several processes: this one listens, its workers carry the calls.

This process has what all workers share: the address, HTTP, tokens, the number of calls, and the
directory of which worker has which call.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections import Counter
from collections.abc import Sequence
from time import monotonic
from typing import Any, cast

from starlette.routing import BaseRoute
from websockets.server import ServerProtocol

from mediaserver.errors import ConfigurationError
from mediaserver.observer import CallObserver, CallSummary
from mediaserver.processes.memory import resident_bytes
from mediaserver.server.admission import AdmissionControl, Elsewhere, Refused, Upgrade
from mediaserver.server.base import HURRY_S, Answered, ServiceBase
from mediaserver.server.calls.connection import MediaConnection
from mediaserver.server.calls.hangups import ControlEncoding, Perform
from mediaserver.server.calls.selection import load_processors
from mediaserver.server.calls.starting import Answer, HandOff, StartLimits
from mediaserver.server.handover.arrival import Arrival, ArrivingConnection
from mediaserver.server.handover.landing import start_of, turn_away
from mediaserver.server.handover.passing import OlderGenerations, PassedOn
from mediaserver.server.listener import Listener
from mediaserver.server.sockets.media_socket import Connection, Pings
from mediaserver.server.workers import messages
from mediaserver.server.workers.commands import CommandAnswers
from mediaserver.server.workers.directory import Directory
from mediaserver.server.workers.placement import Placement
from mediaserver.server.workers.process import WorkerLimits, WorkerProcess, WorkerSupervisor
from mediaserver.server.workers.queries import Queries
from mediaserver.settings import Settings
from mediaserver.tokens import Admission, TokenGate
from mediaserver.wire.messages import Start


class MultiProcessService(ServiceBase):
    """Listens, admits calls, hands them to workers, drains; a ``Service``.

    Args:
        settings: see ``Settings``; at least two workers.
        routes: further HTTP routes on the same port.
        perform: commands a phone call by REST; None where there is no control client.
        encoding: for its arguments, results and errors; required together with ``perform``.
        observer: told of calls that open, lose their socket, and close.
        limits: time limits for workers: heartbeats, silence, start, restart.
        elsewhere: calls that older generations have.

    Attributes:
        counters: counts of this process and of all workers, as of their last heartbeats.

    Raises:
        ConfigurationError: a setting cannot be used, or there are no workers on this system.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        routes: Sequence[BaseRoute] = (),
        perform: Perform | None = None,
        encoding: ControlEncoding | None = None,
        observer: CallObserver | None = None,
        limits: WorkerLimits | None = None,
        elsewhere: OlderGenerations | None = None,
    ) -> None:
        if sys.platform == "win32":  # pragma: no cover - no sockets go between processes there
            raise ConfigurationError("workers need a Unix system")
        load_processors(settings)  # wrong settings are found here, not once in each worker
        super().__init__(settings, elsewhere)
        self.counters: Counter[str] = Counter()
        self._observer = observer
        self._admission = AdmissionControl(settings, self, self.elsewhere)
        needs_token = settings.auth_token is not None
        self._start_limits = StartLimits.of(settings, needs_token=needs_token)
        self._directory = Directory(self.count, self._admission.call_over)
        self._commands: CommandAnswers | None = None
        if perform is not None:
            if encoding is None:
                raise TypeError("perform needs encoding")
            self._commands = CommandAnswers(perform, encoding)
        self._queries = Queries(self.count)
        self._supervisor = WorkerSupervisor(
            settings,
            self,
            limits or WorkerLimits(hung_s=settings.worker_hung_s),
            has_client=perform is not None,
        )
        self._placement = Placement(self._supervisor, self._directory, self.count)
        self.listener: Listener = Listener(settings, self, self._admission, self._arrive, routes)

    @property
    def workers(self) -> list[WorkerProcess]:
        """Those that live."""
        return self._supervisor.children

    @property
    def is_able(self) -> bool:
        """A worker can take a new call."""
        return self._supervisor.is_able

    @property
    def status(self) -> str:
        """See ``Service``."""
        return self.listener.status

    @property
    def pids(self) -> dict[str, int]:
        """See ``Service``."""
        return {"server": os.getpid(), **{each.name: each.pid for each in self.workers}}

    @property
    def worker_states(self) -> list[str]:
        """See ``Service``."""
        return [worker.condition for worker in self.workers]

    @property
    def is_late(self) -> bool:
        """See ``LoadHost``; where no worker is able, the reason is another one."""
        able = [worker for worker in self.workers if worker.is_able]
        return bool(able) and all(worker.is_late for worker in able)

    @property
    def resident_bytes(self) -> int:
        """See ``LoadHost``."""
        hosts = sum(worker.host_bytes for worker in self.workers)
        return hosts + sum(map(resident_bytes, self.pids.values()))

    @property
    def n_calls(self) -> int:
        """Live calls."""
        return self._directory.n_live

    @property
    def n_connections(self) -> int:
        """Media connections, here and in the workers."""
        in_workers = sum(worker.n_sockets for worker in self.workers)
        return len(self.listener.connections) + in_workers + self._placement.n_waiting

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        return self.listener.port

    async def bind(self, given: Sequence[socket.socket] = ()) -> None:
        """See ``Service``."""
        await self.listener.bind(given)

    async def start(self) -> None:
        """Start the workers, then listen.

        Raises:
            ConfigurationError: the address cannot be listened on, or a worker does not start.
        """
        if not self.listener.sockets:
            await self.bind()
        try:
            await self._supervisor.start()
        except ConfigurationError:
            self.listener.stop()
            raise
        self._load.start()
        self.listener.listen()

    async def ask(self, what: str, argument: str = "", worker: int | None = None) -> Answered:
        """See ``Service``."""
        return [*await self._queries.ask(self.workers, what, argument, worker)]

    # AdmissionHost: what is to be known of the calls.

    @property
    def n_placed(self) -> int:
        """Calls that have a place, those on their way to a worker included."""
        return len(self._directory) + sum(
            isinstance(each, ArrivingConnection) and each.hand_off is not None
            for each in self.listener.connections
        )

    @property
    def n_unstarted(self) -> int:
        """Proven connections whose ``start`` has not come: those behind it are the workers'."""
        return sum(each.is_proven for each in self.listener.connections)

    @property
    def n_quiet(self) -> int:
        """Calls whose socket is gone, or has brought no media for a while."""
        return self._directory.n_lost + sum(worker.n_quiet for worker in self.workers)

    def has_call(self, call_id: str) -> bool:
        """Whether the call has a place."""
        return call_id in self._directory

    # ListenerHost and StreamHost: connections, until they are handed over.

    def connection(self, upgrade: Upgrade, now: float) -> MediaConnection:
        """What an admitted upgrade becomes."""
        return ArrivingConnection(self, upgrade, now, limits=self._start_limits)

    def must_refuse(self, token: str | None) -> bool:
        """Whether a stream that presented ``token`` must be refused."""
        return self._admission.must_refuse(token)

    def open_session(self, connection: MediaConnection, start: Start, now: float) -> Answer:
        """What becomes of the call that starts: it goes to a worker, or is refused."""
        judged = self._admission.judge_start(connection.token, start)
        if isinstance(judged, Refused):
            return judged
        if isinstance(judged, Elsewhere):
            return HandOff(judged.call_id, None)
        return HandOff(*judged)

    def proven(self, connection: MediaConnection) -> None:
        """It has shown by now that it is no stranger's."""
        self.listener.proven(connection)

    def connection_closed(self, connection: MediaConnection) -> None:
        """A socket is gone before it was handed over."""
        self.listener.forget(connection)
        assert isinstance(connection, ArrivingConnection)
        if connection.hand_off is not None and connection.hand_off.admission is not None:
            self._directory.forget(connection.hand_off.call_id)

    def count(self, name: str) -> None:
        """One more of ``name``."""
        self.counters[name] += 1
        self.explain(name)

    def _arrive(
        self, protocol: ServerProtocol, transport: asyncio.Transport, connection: Connection
    ) -> Arrival:
        # They are all made by ``connection`` above.
        arriving = cast(ArrivingConnection, connection)
        return Arrival(protocol, transport, arriving, self._hand_over, Pings.of(self.settings))

    # The hand-over, from top to bottom. What came before: ``Arrival`` read the stream as far
    # as its ``start``, which ``open_session`` admitted, and wrote what was to be written. What
    # comes after: the worker answers ``HandedOver``, and ``CallOpened`` before it.

    def _hand_over(self, arrival: Arrival, hand_off: HandOff) -> None:
        """Give a call's socket to its worker: the one that has the call, else the least busy."""
        call_id, admission = hand_off
        if admission is None:
            self.pass_on(arrival, call_id)
            return
        worker = self._directory.worker_of(call_id)
        if worker is None or worker.gone.is_set():
            worker = self._supervisor.least_loaded()
        if worker is None or not worker.has_room:
            self._refuse(arrival, "no worker can take the call")
            return
        passed = arrival.passed_on(call_id)
        try:
            fd = arrival.release()
        except OSError as exc:
            self._refuse(arrival, f"its socket cannot be handed over: {exc.strerror}")
            return
        self.listener.forget(arrival.connection)
        self._give(worker, passed, admission, fd)

    def take(self, passed: PassedOn, fd: int) -> None:
        """See ``Service``."""
        if self.elsewhere.has_call(passed.call_id):
            self.elsewhere.pass_on(passed, fd)
            return
        judged = self._admission.judge_start(passed.token, start_of(passed))
        worker = self._directory.worker_of(passed.call_id)
        if isinstance(judged, Refused):
            turn_away(fd, judged.code, judged.reason)
        elif isinstance(judged, Elsewhere) or worker is None or worker.gone.is_set():
            self.count("refused_no_worker")
            turn_away(fd, 1013, "try again later: the call has ended")
        else:
            self._give(worker, passed, judged.admission, fd)

    def _give(self, worker: WorkerProcess, passed: PassedOn, admission: Admission, fd: int) -> None:
        self._directory.handed_over(passed.call_id, worker)
        self._placement.send(worker, messages.HandOver.of(passed, admission, monotonic()), fd)

    def _refuse(self, arrival: Arrival, why: str) -> None:
        self.count("refused_no_worker")
        arrival.refuse(1013, f"try again later: {why}")

    @property
    def gate(self) -> TokenGate:
        """See ``Service``."""
        return self._admission.gate

    def call_over(self, call_id: str) -> None:
        """See ``Service``."""
        self._admission.call_over(call_id)

    # WorkersOwner: what workers report.

    def message_received(self, worker: WorkerProcess, message: Any) -> None:
        """A worker says something."""
        match message:
            case messages.Heartbeat():
                self.counters.update(message.counts)
                for name in message.counts:
                    self.explain(name)
            case messages.QueryAnswer():
                self._queries.answered(message)
            case messages.Claim():
                self._placement.claimed(worker, message.number)
            case messages.SocketClosed():
                worker.socket_closed()
            case messages.Load():
                worker.loaded(message)
            case messages.Command():
                # The worker sends none unless it was told that it can.
                if self._commands is not None:
                    self._commands.requested(message, worker.channel.send)
            case messages.Abandoned():
                if self._commands is not None:
                    self._commands.abandoned(message.request, worker.channel.send)
            case messages.Ready() | messages.Failed() | messages.Hello():
                pass  # the supervisor's
            case messages.CallClosed(over=False):
                pass  # the call goes on in another session
            case _ if message.call_id not in worker.calls:
                # A broken worker must not end another one's calls.
                raise LookupError(f"{worker.name} reports a call that it does not have")
            case _:
                self._call_reported(worker, message)

    def _call_reported(self, worker: WorkerProcess, message: Any) -> None:
        """A worker says something about one of its calls."""
        observer, call_id = self._observer, message.call_id
        match message:
            case messages.HandedOver():
                worker.landed(call_id)
                self._directory.landed(call_id)
            case messages.CallOpened():
                call = self._directory.opened(call_id)
                if observer is not None:
                    observer.opened(call_id, message.request, call.webhook_received)
            case messages.SocketLost():
                self._directory.lost(call_id)
                if observer is not None:
                    observer.lost(call_id)
            case messages.CallClosed():
                if observer is not None:
                    observer.closed(message.summary)
                self._directory.closed(call_id)

    def worker_gone(self, worker: WorkerProcess) -> None:
        """A worker has ended: its calls are lost, and over."""
        if not self._supervisor.is_closing:
            self.count("lost_workers")
        on_their_way = self._placement.worker_gone(worker)
        for call_id in self._directory.worker_gone(worker, on_their_way):
            self.count("lost_with_worker")
            self.count("ended.worker")
            if self._observer is not None:
                self._observer.lost(call_id)
                self._observer.closed(
                    CallSummary(call_id=call_id, reason="worker", worker=worker.index)
                )
        self._placement.look()

    def workers_looked_at(self) -> None:
        """A beat: sockets on their way to a worker that hangs are given to another one."""
        self._placement.look()

    # The end.

    def _tell_draining(self) -> None:
        for worker in self.workers:
            worker.channel.send(messages.Drain())

    async def _emptied(self) -> None:
        await self._supervisor.settled(self._directory.emptied())

    async def _hang_up_all(self) -> None:
        if self._commands is not None:
            await self._commands.hang_up_all(self._directory.live())

    async def close(self, *, hurry: bool = False) -> None:
        """End everything now: calls with 1001, workers, connections, the listener."""
        self.draining = True
        self._load.stop()
        self.listener.stop()
        await self._supervisor.close(2 * HURRY_S if hurry else None)
        self._placement.close()
        if self._commands is not None:
            await self._commands.close()
        await self.listener.close()

    def abort(self) -> None:
        """See ``Service``."""
        self._supervisor.kill()
