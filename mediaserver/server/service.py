"""The media service of one process: it listens, and carries the calls itself."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic

from starlette.routing import BaseRoute
from websockets.server import ServerProtocol

from mediaserver.observer import CallObserver, CallSummary
from mediaserver.processes.memory import resident_bytes
from mediaserver.server.admission import AdmissionControl, Elsewhere, Refused, Upgrade
from mediaserver.server.base import HURRY_S, Answered, ServiceBase
from mediaserver.server.calls.connection import MediaConnection
from mediaserver.server.calls.hangups import Perform
from mediaserver.server.calls.registry import CallRegistry
from mediaserver.server.calls.runner import Runners
from mediaserver.server.calls.session import Session
from mediaserver.server.calls.starting import Answer, HandOff, StartLimits
from mediaserver.server.calls.watching.answers import answer, answers_of
from mediaserver.server.fork.receiver import Forks
from mediaserver.server.handover.arrival import Arrival, ArrivingConnection
from mediaserver.server.handover.landing import land
from mediaserver.server.handover.passing import OlderGenerations, PassedOn
from mediaserver.server.listener import Listener, ListenerHost, Listening
from mediaserver.server.live.desk import live_answers
from mediaserver.server.sockets.media_socket import Connection, Pings, SocketMaker
from mediaserver.settings import Settings
from mediaserver.tokens import TokenGate
from mediaserver.wire.messages import Start

MakeListener = Callable[
    [Settings, ListenerHost, AdmissionControl, SocketMaker, Sequence[BaseRoute]], Listening
]


class SingleProcessService(ServiceBase):
    """Listens, admits calls, owns their sessions, drains; a ``Service``.

    Args:
        settings: see ``Settings``.
        routes: further HTTP routes on the same port.
        perform: commands a phone call by REST; None where there is no control client.
        observer: told of calls that open, lose their socket, and close.
        runners: make what runs a call's processors; inline ones if None.
        elsewhere: calls that older generations have.
        make_listener: makes where connections come in.

    Attributes:
        forks: receives forked media; None without ``fork_ports``.

    Raises:
        ConfigurationError: a processor named in the settings cannot be used.
    """

    is_able = True

    def __init__(
        self,
        settings: Settings,
        *,
        routes: Sequence[BaseRoute] = (),
        perform: Perform | None = None,
        observer: CallObserver | None = None,
        runners: Runners | None = None,
        elsewhere: OlderGenerations | None = None,
        make_listener: MakeListener = Listener,
    ) -> None:
        super().__init__(settings, elsewhere)
        self._landing: set[asyncio.Task[None]] = set()
        self._observer = observer
        self._calls = CallRegistry(settings, self, perform=perform, runners=runners)
        self._answers = {**answers_of(self._calls), **live_answers(self._calls)}
        self.forks: Forks | None = Forks(settings, self._calls) if settings.fork_ports else None
        needs_token = settings.auth_token is not None
        self._start_limits = StartLimits.of(settings, needs_token=needs_token)
        self._admission = AdmissionControl(settings, self, self.elsewhere)
        self.listener: Listening = make_listener(
            settings, self, self._admission, self._make_socket, routes
        )

    @property
    def sessions(self) -> dict[str, Session]:
        """The live calls by their id."""
        return self._calls.sessions

    @property
    def runners(self) -> Runners:
        """Where the calls' processors run."""
        return self._calls.runners

    @property
    def counters(self) -> Counter[str]:
        """See ``Service``."""
        return self._calls.counters

    @property
    def n_calls(self) -> int:
        """See ``Service``."""
        return len(self._calls.sessions)

    @property
    def n_connections(self) -> int:
        """See ``Service``."""
        return len(self.listener.connections)

    @property
    def port(self) -> int:
        """See ``Service``."""
        return self.listener.port

    @property
    def status(self) -> str:
        """See ``Service``."""
        return self.listener.status

    @property
    def pids(self) -> dict[str, int]:
        """See ``Service``."""
        return {"server": os.getpid()}

    @property
    def worker_states(self) -> list[str]:
        """See ``Service``: there are none."""
        return []

    @property
    def is_late(self) -> bool:
        """See ``LoadHost``."""
        most = self._calls.most_calls
        return most is not None and len(self._calls.sessions) >= most

    @property
    def resident_bytes(self) -> int:
        """See ``LoadHost``."""
        return resident_bytes(os.getpid()) + self._calls.runners.resident_bytes

    @property
    def is_polling(self) -> bool:
        """So many frames come that they are read together; see the setting ``poll_ms``."""
        return self._calls.sockets.is_ticking

    async def ask(self, what: str, argument: str = "", worker: int | None = None) -> Answered:
        """See ``Service``."""
        return [(None, answer(self._answers, what, argument))]

    async def bind(self, given: Sequence[socket.socket] = ()) -> None:
        """See ``Service``."""
        await self.listener.bind(given)

    async def start(self) -> None:
        """See ``Service``."""
        if not self.listener.sockets:
            await self.bind()
        try:
            await self._calls.start()
            if self.forks is not None:
                await self.forks.start()
        except BaseException:  # a cancellation as well: the port is given back
            await self.close()
            raise
        self._load.start()
        self.listener.listen()

    async def close(self, *, hurry: bool = False) -> None:
        """End everything now: calls with 1001, connections, the listener."""
        self.draining = True
        self._load.stop()
        if self._landing:
            await asyncio.wait(self._landing)  # to be closed like the others
        self.listener.stop()
        if self.forks is not None:
            self.forks.close()
        await self._calls.close(HURRY_S if hurry else None)
        await self.listener.close()

    def abort(self) -> None:
        """See ``Service``: there are none."""

    # AdmissionHost: what is to be known of the calls.

    @property
    def n_placed(self) -> int:
        """Calls that have a place."""
        return len(self._calls.sessions)

    @property
    def n_unstarted(self) -> int:
        """Proven connections whose ``start`` has not come."""
        return sum(each.is_proven and each.session is None for each in self.listener.connections)

    @property
    def n_quiet(self) -> int:
        """Calls whose socket is gone, or has brought no media for a while."""
        return self._calls.n_quiet

    def has_call(self, call_id: str) -> bool:
        """Whether the call has a place."""
        return call_id in self._calls.sessions

    # ListenerHost and StreamHost: what connections need.

    def connection(self, upgrade: Upgrade, now: float) -> MediaConnection:
        """What an admitted upgrade becomes."""
        # While an older generation has calls, this may be a further socket of one.
        kind = ArrivingConnection if len(self.elsewhere) else MediaConnection
        return kind(self, upgrade, now, limits=self._start_limits)

    def _make_socket(
        self, protocol: ServerProtocol, transport: asyncio.Transport, connection: Connection
    ) -> asyncio.Protocol:
        if isinstance(connection, ArrivingConnection):
            pings, poller = Pings.of(self.settings), self._calls.sockets.poller
            return Arrival(protocol, transport, connection, self._pass_on, pings, poller)
        media_socket = self._calls.sockets.make(protocol, transport, connection)
        media_socket.read_by_poller()
        return media_socket

    def _pass_on(self, arrival: Arrival, hand_off: HandOff) -> None:
        """Give a socket to the older generation that has its call."""
        self.pass_on(arrival, hand_off.call_id)

    def take(self, passed: PassedOn, fd: int) -> None:
        """See ``Service``."""
        if self.elsewhere.has_call(passed.call_id):
            self.elsewhere.pass_on(passed, fd)
            return
        task = asyncio.get_running_loop().create_task(self._take(passed, fd))
        self._landing.add(task)
        task.add_done_callback(self._landing.discard)

    async def _take(self, passed: PassedOn, fd: int) -> None:
        upgrade = Upgrade(passed.path, passed.query, passed.token, is_proven=True)
        connection = MediaConnection(
            self, upgrade, monotonic(), limits=self._start_limits, violations=passed.violations
        )
        self.listener.connections.add(connection)
        make_socket = partial(self._calls.sockets.make, has_ponged=passed.has_ponged)
        await land(fd, connection, make_socket, passed.start, passed.behind, passed.call_id)
        if connection.socket is None:
            self.connection_closed(connection)

    def must_refuse(self, token: str | None) -> bool:
        """Whether a stream that presented ``token`` must be refused."""
        return self._admission.must_refuse(token)

    def open_session(self, connection: MediaConnection, start: Start, now: float) -> Answer:
        """What becomes of the call that starts: it is opened here, or refused."""
        judged = self._admission.judge_start(connection.token, start)
        if isinstance(judged, Refused):
            return judged
        if isinstance(judged, Elsewhere):
            return HandOff(judged.call_id, None)
        answer = self._calls.open(connection, start, judged.call_id, judged.admission, now)
        if isinstance(answer, Refused) and not self.has_call(judged.call_id):
            self._admission.call_over(judged.call_id)
        return answer

    def proven(self, connection: MediaConnection) -> None:
        """It has shown by now that it is no stranger's."""
        self.listener.proven(connection)

    def connection_closed(self, connection: MediaConnection) -> None:
        """The socket is gone."""
        self.listener.forget(connection)
        self._calls.connection_closed(connection)

    def count(self, name: str) -> None:
        """One more of ``name``."""
        self._calls.count(name)
        self.explain(name)

    # CallsFollower: what becomes of the calls.

    def call_opened(self, session: Session) -> None:
        """A call has its socket."""
        if self._observer is not None:
            self._observer.opened(session.call_id, session.facts.request, session.webhook_received)

    def call_lost(self, call_id: str) -> None:
        """A call has lost its socket."""
        if self._observer is not None:
            self._observer.lost(call_id)

    def call_closed(self, summary: CallSummary, *, over: bool) -> None:
        """A session has ended."""
        if not over:
            return  # the observer knows calls, and this one goes on in another session
        if self._observer is not None:
            self._observer.closed(summary)
        self._admission.call_over(summary.call_id)

    # ServiceBase: the drain, and the next generation.

    @property
    def gate(self) -> TokenGate:
        """See ``Service``."""
        return self._admission.gate

    def call_over(self, call_id: str) -> None:
        """See ``Service``."""
        self._admission.call_over(call_id)

    def _tell_draining(self) -> None:
        self._calls.drain()

    async def _emptied(self) -> None:
        await self._calls.emptied()

    async def _hang_up_all(self) -> None:
        await self._calls.hang_up_all()
