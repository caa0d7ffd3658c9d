"""The media service of one process: it listens, and carries the calls itself."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from starlette.routing import BaseRoute
from websockets.server import ServerProtocol

from mediaserver.observer import CallObserver, CallSummary
from mediaserver.server.admission import AdmissionControl, Refused, Upgrade
from mediaserver.server.base import HURRY_S, ServiceBase
from mediaserver.server.calls.connection import MediaConnection
from mediaserver.server.calls.hangups import Perform
from mediaserver.server.calls.registry import CallRegistry
from mediaserver.server.calls.runner import Runners
from mediaserver.server.calls.session import Session
from mediaserver.server.calls.starting import Answer, StartLimits
from mediaserver.server.listener import Listener
from mediaserver.server.sockets.media_socket import Connection, MediaSocket
from mediaserver.settings import Settings
from mediaserver.wire.messages import Start


class SingleProcessService(ServiceBase):
    """Listens, admits calls, owns their sessions, drains; a ``Service``.

    Args:
        settings: see ``Settings``.
        routes: further HTTP routes on the same port.
        perform: commands a phone call by REST; None where there is no control client.
        observer: told of calls that open, lose their socket, and close.
        runners: make what runs a call's processors; inline ones if None.

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
    ) -> None:
        super().__init__(settings)
        self._observer = observer
        self._calls = CallRegistry(settings, self, perform=perform, runners=runners)
        needs_token = settings.auth_token is not None
        self._start_limits = StartLimits.of(settings, needs_token=needs_token)
        self._admission = AdmissionControl(settings, self)
        self.listener: Listener = Listener(
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
    def is_polling(self) -> bool:
        """So many frames come that they are read together; see the setting ``poll_ms``."""
        return self._calls.is_polling

    async def start(self) -> None:
        """See ``Service``."""
        await self.listener.bind()
        try:
            await self._calls.start()
        except BaseException:  # a cancellation as well: the port is given back
            await self.close()
            raise
        self.listener.listen()

    async def close(self, *, hurry: bool = False) -> None:
        """End everything now: calls with 1001, connections, the listener."""
        self.draining = True
        self.listener.stop()
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
        return MediaConnection(self, upgrade, now, limits=self._start_limits)

    def _make_socket(
        self, protocol: ServerProtocol, transport: asyncio.Transport, connection: Connection
    ) -> MediaSocket:
        socket = self._calls.make_socket(protocol, transport, connection)
        socket.read_by_poller()
        return socket

    def must_refuse(self, token: str | None) -> bool:
        """Whether a stream that presented ``token`` must be refused."""
        return self._admission.must_refuse(token)

    def open_session(self, connection: MediaConnection, start: Start, now: float) -> Answer:
        """What becomes of the call that starts: it is opened here, or refused."""
        judged = self._admission.judge_start(connection.token, start)
        if isinstance(judged, Refused):
            return judged
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

    # ServiceBase: the drain.

    def _tell_draining(self) -> None:
        self._calls.drain()

    async def _emptied(self) -> None:
        await self._calls.emptied()

    async def _hang_up_all(self) -> None:
        await self._calls.hang_up_all()
