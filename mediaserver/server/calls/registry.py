"""The calls of one process: their sessions, from ``start`` to the end."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic
from typing import Protocol

from websockets.server import ServerProtocol

from mediaserver.errors import ConfigurationError
from mediaserver.observer import StreamRequest
from mediaserver.processors.api import Draining
from mediaserver.processors.parameters import from_call
from mediaserver.server.calls.audio.formats import (
    UnsupportedFormatError,
    formats_of,
)
from mediaserver.server.calls.connection import MediaConnection
from mediaserver.server.calls.selection import Chosen, load_processors
from mediaserver.server.calls.session import Session
from mediaserver.server.sockets import poller
from mediaserver.server.sockets.media_socket import Connection, MediaSocket, make_media_socket
from mediaserver.server.sockets.poller import SocketPoller
from mediaserver.settings import Settings
from mediaserver.tokens import Admission
from mediaserver.wire.messages import Start
from telephony_codecs import status

logger = logging.getLogger(__name__)

# With a shared token only, a second socket takes a call over when the first is this quiet.
TAKEOVER_QUIET_S = 2.0


class CallsFollower(Protocol):
    """Who follows the calls of a process."""

    def call_opened(self, session: Session) -> None:
        """A call has its socket, for the first time or again."""

    def call_lost(self, call_id: str) -> None:
        """A call has lost its socket without ``stop``."""

    def call_closed(self, call_id: str, reason: str, *, over: bool) -> None:
        """A session has ended; ``over``: and no newer one of the same call lives."""


class CallRegistry:
    """Owns the sessions.

    Args:
        settings: see ``Settings``.
        follower: told what becomes of the calls.
        hangup: ends a phone call by REST; None where there is no control client.

    Attributes:
        sessions: the live calls by their id.
        counters: what happened how often.

    Raises:
        ConfigurationError: a setting or a processor cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        follower: CallsFollower,
        *,
        hangup: Callable[[str], Awaitable[object]] | None = None,
    ) -> None:
        self.settings = settings
        self.counters: Counter[str] = Counter()
        self.sessions: dict[str, Session] = {}
        self._follower = follower
        self._hangup = hangup
        self._specs = load_processors(settings)
        self._poller: SocketPoller | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    async def start(self) -> None:
        """Be ready for calls."""
        # Loads every codec's library now: the first call of a codec must not wait for it.
        await asyncio.to_thread(status)
        if self.settings.poll_ms and poller.AVAILABLE:
            self._poller = SocketPoller(self.settings.poll_ms / 1000)
        self._look()

    def _look(self) -> None:
        """Once a second: let every call say what looks wrong about it."""
        now = monotonic()
        for session in list(self.sessions.values()):
            session.look(now)
        self._watch = asyncio.get_running_loop().call_later(1.0, self._look)

    # Connections.

    @property
    def is_polling(self) -> bool:
        """So many frames come that they are read together; see the setting ``poll_ms``."""
        return self._poller is not None and self._poller.is_ticking

    def make_socket(
        self, protocol: ServerProtocol, transport: asyncio.Transport, connection: Connection
    ) -> MediaSocket:
        """The media socket of a connection whose handshake is done."""
        return make_media_socket(protocol, transport, connection, self._poller)

    def open(
        self,
        connection: MediaConnection,
        start: Start,
        call_id: str,
        admission: Admission,
        now: float,
    ) -> Session | None:
        """The session of an admitted call that starts; None when it is refused and closed."""
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
        self._follower.call_opened(session)
        session.begin()
        return session

    def connection_closed(self, connection: MediaConnection) -> None:
        """A socket is gone."""
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
        self._follower.call_lost(session.call_id)

    def session_ended(self, session: Session) -> None:
        """The session is over."""
        over = self.sessions.get(session.call_id) is session
        if over:
            del self.sessions[session.call_id]
        self._follower.call_closed(session.call_id, session.end_reason, over=over)
        if not self.sessions:
            self._idle.set()

    # The end.

    def drain(self) -> None:
        """Tell live calls that the server wants to end."""
        for session in self.sessions.values():
            session.events.publish(Draining(self.settings.drain_s))

    async def emptied(self) -> None:
        """Wait until no call is left."""
        await self._idle.wait()

    async def close(self) -> None:
        """End every call now."""
        if self._watch is not None:
            self._watch.cancel()
        for session in list(self.sessions.values()):
            session.end("shutdown")
        await self._idle.wait()
        if self._poller is not None:
            self._poller.close()

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
        self._follower.call_opened(session)
        return session

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
