"""The media service: who may come in, which call is whose, and how it all ends."""

from __future__ import annotations

import asyncio
import http
import logging
import socket
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import monotonic
from urllib.parse import parse_qsl, unquote, urlsplit

from starlette.routing import BaseRoute
from websockets.http11 import Request

from mediaserver.errors import ConfigurationError
from mediaserver.processors.core import CallObserver, Draining, Spec, StreamRequest
from mediaserver.processors.discovery import find
from mediaserver.processors.parameters import bind, from_call
from mediaserver.server import poller
from mediaserver.server.connection import MediaConnection
from mediaserver.server.formats import UnsupportedFormatError, check_settings, formats_of
from mediaserver.server.http import HttpHost, make_app
from mediaserver.server.listener import FirstBytes
from mediaserver.server.poller import SocketPoller
from mediaserver.server.session import Chosen, Session
from mediaserver.settings import ProcessorSetting, Settings
from mediaserver.tokens import Admission, TokenGate
from mediaserver.wire.messages import TOKEN_KEY, Start
from telephony_codecs import status

logger = logging.getLogger(__name__)

# With a shared token only, a second socket takes a call over when the first is this quiet.
TAKEOVER_QUIET_S = 2.0


class MediaService:
    """Listens, admits calls, owns their sessions, drains.

    Args:
        settings: see ``Settings``.
        routes: further HTTP routes on the same port.
        hangup: ends a phone call by REST; None where there is no control client.
        observer: told of calls that open, lose their socket, and close.

    Raises:
        ConfigurationError: a processor named in the settings cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        routes: Sequence[BaseRoute] = (),
        hangup: Callable[[str], Awaitable[object]] | None = None,
        observer: CallObserver | None = None,
    ) -> None:
        self.settings = settings
        self.counters: Counter[str] = Counter()
        self.sessions: dict[str, Session] = {}
        self.draining = False
        check_settings(settings)
        self._hangup = hangup
        self._observer = observer
        self._gate = TokenGate(settings.auth_token, grace_s=settings.reconnect_grace_s)
        self._specs = _load((*settings.processors, *settings.offer))
        self._connections: set[MediaConnection] = set()
        self._waiting: set[FirstBytes] = set()
        self._http = HttpHost(make_app(self, routes))
        self._server: asyncio.Server | None = None
        self._poller: SocketPoller | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def n_calls(self) -> int:
        """Live calls."""
        return len(self.sessions)

    @property
    def is_polling(self) -> bool:
        """So many frames come that they are read together; see the setting ``poll_ms``."""
        return self._poller is not None and self._poller.is_ticking

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self) -> None:
        """Listen.

        Raises:
            ConfigurationError: the address cannot be listened on.
        """
        loop = asyncio.get_running_loop()
        settings = self.settings
        # Loads every codec's library now: the first call of a codec must not wait for it.
        await asyncio.to_thread(status)
        try:
            self._server = await loop.create_server(
                lambda: FirstBytes(self, self._http.protocol, self._waiting, self._poller),
                settings.host,
                settings.port,
                backlog=2048,
            )
        except (OSError, socket.gaierror) as exc:
            raise ConfigurationError(
                f"cannot listen on {settings.host}:{settings.port}: {exc.strerror or exc}"
            ) from exc
        if settings.poll_ms and poller.AVAILABLE:
            self._poller = SocketPoller(settings.poll_ms / 1000)
        self._look()

    def _look(self) -> None:
        """Once a second: let every call say what looks wrong about it."""
        now = monotonic()
        for session in list(self.sessions.values()):
            session.look(now)
        self._watch = asyncio.get_running_loop().call_later(1.0, self._look)

    # Gatekeeper: new connections.

    def admit(self, request: Request, now: float) -> MediaConnection | tuple[http.HTTPStatus, str]:
        """A connection for this upgrade request, or why not."""
        url = urlsplit(request.path)
        path, _, last = url.path.partition("/media")
        if path or (last and not last.startswith("/")):
            return http.HTTPStatus.NOT_FOUND, "Media streams connect to /media.\n"
        if self.draining:
            return http.HTTPStatus.SERVICE_UNAVAILABLE, "This server takes no new calls.\n"
        if len(self._connections) >= self.settings.max_calls:
            self.count("refused_full")
            return http.HTTPStatus.SERVICE_UNAVAILABLE, "This server is full.\n"
        query = dict(parse_qsl(url.query))
        token = (
            request.headers.get(TOKEN_KEY) or unquote(last.strip("/")) or query.get("token") or None
        )
        if token is not None and self.token_wanted(token):
            self.count("refused_token")
            return http.HTTPStatus.UNAUTHORIZED, "Wrong auth token.\n"
        connection = MediaConnection(
            self, query, token, now, start_within_s=self.settings.start_within_s
        )
        self._connections.add(connection)
        return connection

    # StreamHost: what connections need.

    def token_wanted(self, token: str | None) -> bool:
        """Whether a stream that presented ``token`` must be refused."""
        return not self._gate.looks_valid(token, time.time())

    def open_session(self, connection: MediaConnection, start: Start, now: float) -> Session | None:
        """The session of the call that starts; None when it is refused and closed."""
        call_id = start.start.call_control_id or start.stream_id or str(uuid.uuid4())
        admission = self._gate.admit(connection.token, call_id, time.time())
        if not admission.admitted:
            self.count("refused_token")
            logger.warning("call %s refused: %s", call_id, admission.value)
            connection.close(1008, admission.value)
            return None
        existing = self.sessions.get(call_id)
        try:
            if existing is not None and not existing.ended:
                return self._take_over(existing, connection, start, admission, now)
            session = self._new_session(connection, call_id, start, now)
        except (UnsupportedFormatError, ConfigurationError) as exc:
            unsupported = isinstance(exc, UnsupportedFormatError)
            self.count("refused_format" if unsupported else "refused_processor")
            logger.warning("call %s refused: %s", call_id, exc)
            connection.close(1003 if unsupported else 1008, str(exc))
            return None
        self.sessions[call_id] = session
        self._idle.clear()
        self.count("calls")
        logger.info(
            "call %s: %s in, %s out", call_id, session.formats.codec, session.formats.send_codec
        )
        self._opened(session)
        session.begin()
        return session

    def connection_closed(self, connection: MediaConnection) -> None:
        """The socket is gone."""
        self._connections.discard(connection)
        session = connection.session
        if session is not None and session.line is connection:
            session.line_lost()

    # SessionHost: what sessions need.

    def count(self, name: str) -> None:
        """One more of ``name``."""
        self.counters[name] += 1

    async def hangup_call(self, call_id: str) -> bool:
        """End the phone call; False where no control client is set up."""
        if self._hangup is None:
            return False
        await self._hangup(call_id)
        return True

    def session_lost(self, session: Session) -> None:
        """The session has no socket and waits for one."""
        if self._observer is not None:
            self._observer.lost(session.call_id)

    def session_ended(self, session: Session) -> None:
        """The session is over."""
        if self._observer is not None:
            self._observer.closed(session.call_id, session.end_reason)
        if self.sessions.get(session.call_id) is session:
            del self.sessions[session.call_id]
            self._gate.call_ended(session.call_id, time.time())
        if not self.sessions:
            self._idle.set()

    # The end.

    def drain(self) -> None:
        """Take no new calls; live ones go on."""
        if self.draining:
            return
        self.draining = True
        logger.info("draining: %d calls go on", self.n_calls)
        for session in self.sessions.values():
            session.events.publish(Draining(self.settings.drain_s))

    async def drained(self) -> None:
        """Wait until no call is left, or ``drain_s`` is over."""
        try:
            await asyncio.wait_for(self._idle.wait(), self.settings.drain_s)
        except TimeoutError:
            logger.warning("drain time is over: %d calls are cut", self.n_calls)

    async def close(self) -> None:
        """End everything now: calls with 1001, connections, the listener."""
        self.draining = True
        if self._server is not None:
            self._server.close()
        if self._watch is not None:
            self._watch.cancel()
        for waiting in list(self._waiting):
            waiting.abort()
        for connection in list(self._connections):
            connection.close(1001, "server shuts down")
        for session in list(self.sessions.values()):
            session.end("shutdown")
        await self._idle.wait()
        if self._poller is not None:
            self._poller.close()
        await self._http.close()

    # Sessions.

    def _take_over(
        self,
        session: Session,
        connection: MediaConnection,
        start: Start,
        admission: Admission,
        now: float,
    ) -> Session | None:
        """A second socket of a live call: newest wins, where it may.

        Whoever knows the call's own token may. With less, only when the first socket is
        gone, or has brought no media for a while: else anybody who knows the shared token
        and an id could take a live call.
        """
        is_quiet = session.line is None or now - session.inbound.heard_at > TAKEOVER_QUIET_S
        if not is_quiet and admission is not Admission.PER_CALL:
            self.count("refused_takeover")
            connection.close(1008, "the call is live on another socket")
            return None
        session.take_over(
            connection, start, formats_of(start, connection.query, self.settings), now
        )
        self.count("takeovers")
        self._opened(session)
        return session

    def _opened(self, session: Session) -> None:
        if self._observer is not None:
            self._observer.opened(session.call_id, session.request, session.webhook_received)

    def _new_session(
        self, connection: MediaConnection, call_id: str, start: Start, now: float
    ) -> Session:
        formats = formats_of(start, connection.query, self.settings)
        chosen = self._choose(start, connection.query)
        session = Session(self, call_id, start, formats, chosen, connection, now)
        outside = {**connection.query, **start.start.parameters}
        session.request = StreamRequest(
            formats.send_codec,
            formats.send_rate,
            formats.send_mode,
            outside.get("processor"),
            {n.removeprefix("param_"): v for n, v in outside.items() if n.startswith("param_")},
        )
        return session

    def _choose(self, start: Start, query: Mapping[str, str]) -> list[Chosen]:
        """The call's chain: the one from the settings, or the processor it asks for."""
        custom = start.start.parameters
        asked = custom.get("processor") or query.get("processor")
        wanted = self.settings.processors
        if asked:
            known = {s.alias or s.name: s for s in (*wanted, *self.settings.offer)}
            if asked not in known:
                raise ConfigurationError(f"processor {asked!r} is not offered")
            wanted = (known[asked],)
        outside = {**query, **custom}
        return [
            Chosen(
                self._specs[s.name], from_call(self._specs[s.name], s.parameters, outside, s.allow)
            )
            for s in wanted
        ]


def _load(settings: Sequence[ProcessorSetting]) -> dict[str, Spec]:
    """Find every processor now, and check its parameters, so that no call fails on them."""
    specs: dict[str, Spec] = {}
    for setting in settings:
        spec = specs[setting.name] = find(setting.name)
        bind(spec, setting.parameters)
    return specs
