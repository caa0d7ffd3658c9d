"""The media service of one process: its front, and its calls."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence

from starlette.routing import BaseRoute
from websockets.server import ServerProtocol

from mediaserver.observer import CallObserver
from mediaserver.server.calls.connection import MediaConnection
from mediaserver.server.calls.registry import CallRegistry
from mediaserver.server.calls.session import Session
from mediaserver.server.listener import Listener
from mediaserver.server.sockets.media_socket import Connection, MediaSocket
from mediaserver.settings import Settings
from mediaserver.wire.messages import Start

logger = logging.getLogger(__name__)


class SingleProcessService:
    """Listens, admits calls, owns their sessions, drains.

    Args:
        settings: see ``Settings``.
        routes: further HTTP routes on the same port.
        hangup: ends a phone call by REST; None where there is no control client.
        observer: told of calls that open, lose their socket, and close.

    Raises:
        ConfigurationError: a processor named in the settings cannot be used.
    """

    is_able = True

    def __init__(
        self,
        settings: Settings,
        *,
        routes: Sequence[BaseRoute] = (),
        hangup: Callable[[str], Awaitable[object]] | None = None,
        observer: CallObserver | None = None,
    ) -> None:
        self.settings = settings
        self.draining = False
        self._observer = observer
        self._calls = CallRegistry(settings, self, hangup=hangup)
        self._listener = Listener(settings, self, self._make_socket, routes)
        # Gatekeeper's, for who brings connections of his own.
        self.admit = self._listener.admit

    @property
    def sessions(self) -> dict[str, Session]:
        """The live calls by their id."""
        return self._calls.sessions

    @property
    def counters(self) -> Counter[str]:
        """What happened how often."""
        return self._calls.counters

    @property
    def n_calls(self) -> int:
        """Live calls."""
        return len(self._calls.sessions)

    @property
    def is_polling(self) -> bool:
        """So many frames come that they are read together; see the setting ``poll_ms``."""
        return self._calls.is_polling

    @property
    def n_connections(self) -> int:
        """Media connections."""
        return len(self._listener.connections)

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        return self._listener.port

    async def start(self) -> None:
        """Listen.

        Raises:
            ConfigurationError: the address cannot be listened on.
        """
        await self._listener.bind()
        await self._calls.start()
        await self._listener.listen()

    def connection(
        self, query: Mapping[str, str], token: str | None, now: float
    ) -> MediaConnection:
        """What an admitted upgrade becomes."""
        start_within_s = self.settings.start_within_s
        return MediaConnection(self, query, token, now, start_within_s=start_within_s)

    def _make_socket(
        self, protocol: ServerProtocol, transport: asyncio.Transport, connection: Connection
    ) -> MediaSocket:
        socket = self._calls.make_socket(protocol, transport, connection)
        socket.read_by_poller()
        return socket

    # StreamHost: what connections need.

    def must_refuse(self, token: str | None) -> bool:
        """Whether a stream that presented ``token`` must be refused."""
        return self._listener.must_refuse(token)

    def open_session(self, connection: MediaConnection, start: Start, now: float) -> Session | None:
        """The session of the call that starts; None when it is refused and closed."""
        judged = self._listener.judge(connection, start)
        return None if judged is None else self._calls.open(connection, start, *judged, now)

    def connection_closed(self, connection: MediaConnection) -> None:
        """The socket is gone."""
        self._listener.connections.discard(connection)
        self._calls.connection_closed(connection)

    def count(self, name: str) -> None:
        """One more of ``name``."""
        self._calls.count(name)

    # CallsFollower: what becomes of the calls.

    def call_opened(self, session: Session) -> None:
        """A call has its socket."""
        if self._observer is not None:
            self._observer.opened(session.call_id, session.request, session.webhook_received)

    def call_lost(self, call_id: str) -> None:
        """A call has lost its socket."""
        if self._observer is not None:
            self._observer.lost(call_id)

    def call_closed(self, call_id: str, reason: str, *, over: bool) -> None:
        """A session has ended."""
        if not over:
            return  # the observer knows calls, and this one goes on in another session
        if self._observer is not None:
            self._observer.closed(call_id, reason)
        self._listener.call_over(call_id)

    # The end.

    def drain(self) -> None:
        """Take no new calls; live ones go on."""
        if self.draining:
            return
        self.draining = True
        logger.info("draining: %d calls go on", self.n_calls)
        self._calls.drain()

    async def drained(self) -> None:
        """Wait until no call is left, or ``drain_s`` is over."""
        try:
            await asyncio.wait_for(self._calls.emptied(), self.settings.drain_s)
        except TimeoutError:
            logger.warning("drain time is over: %d calls are cut", self.n_calls)

    async def close(self) -> None:
        """End everything now: calls with 1001, connections, the listener."""
        self.draining = True
        self._listener.stop()
        await self._calls.close()
        await self._listener.close()
