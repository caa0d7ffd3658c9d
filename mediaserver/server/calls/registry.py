"""The calls of one process: their sessions, from ``start`` to the end."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any, Protocol

from websockets.server import ServerProtocol

from mediaserver.errors import ConfigurationError
from mediaserver.logs import LimitedLog, shown
from mediaserver.observer import CallSummary
from mediaserver.processors.api import Draining
from mediaserver.server.admission import Refused
from mediaserver.server.calls.audio.formats import UnsupportedFormatError, formats_of
from mediaserver.server.calls.audio.parts import parts_of
from mediaserver.server.calls.connection import MediaConnection
from mediaserver.server.calls.facts import CallFacts
from mediaserver.server.calls.hangups import HangUps, Perform
from mediaserver.server.calls.runner import InlineRunners, Runners
from mediaserver.server.calls.selection import Selection, load_processors, request_of, select
from mediaserver.server.calls.session import STOOD_STILL_S, Session
from mediaserver.server.calls.starting import Opened
from mediaserver.server.calls.watching.blame import LoopWatch
from mediaserver.server.calls.watching.summary import summary_of
from mediaserver.server.sockets import poller
from mediaserver.server.sockets.media_socket import (
    Connection,
    MediaSocket,
    Pings,
    make_media_socket,
)
from mediaserver.server.sockets.poller import SocketPoller
from mediaserver.settings import Settings
from mediaserver.tokens import Admission
from mediaserver.wire.messages import Start
from telephony_codecs import status

logger = logging.getLogger(__name__)
limited = LimitedLog(logger)

# With a shared token only, a second socket takes a call over when the first is this quiet.
TAKEOVER_QUIET_S = 2.0


class CallsFollower(Protocol):
    """Who follows the calls of a process."""

    def call_opened(self, session: Session) -> None:
        """A call has its socket, for the first time or again."""

    def call_lost(self, call_id: str) -> None:
        """A call has lost its socket without ``stop``."""

    def call_closed(self, summary: CallSummary, *, over: bool) -> None:
        """A session has ended; ``over``: and no newer one of the same call lives."""


class CallRegistry:
    """Owns the sessions.

    Args:
        settings: see ``Settings``.
        follower: told what becomes of the calls.
        perform: commands a phone call by REST; None where there is no control client.
        runners: make what runs a call's processors; they are started and closed here.
        worker: the number of this process among its siblings; None where it is alone.

    Attributes:
        sessions: the live calls by their id.
        counters: what happened how often.
        hang_ups: ends phone calls.
        runners: make what runs a call's processors.

    Raises:
        ConfigurationError: a setting or a processor cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        follower: CallsFollower,
        *,
        perform: Perform | None = None,
        runners: Runners | None = None,
        worker: int | None = None,
    ) -> None:
        self.settings = settings
        self.counters: Counter[str] = Counter()
        self.sessions: dict[str, Session] = {}
        # With those that have ended, and whose handlers run, when a newer one has their place.
        self._unfinished: set[Session] = set()
        self._follower = follower
        self._perform = perform
        self.hang_ups: HangUps = HangUps(None if perform is None else self._hang_up)
        self.runners: Runners | InlineRunners = runners or InlineRunners()
        self._worker = worker
        self._draining = False
        self._specs = load_processors(settings)
        self._poller: SocketPoller | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._look_due = monotonic()
        self._awake_since = float("-inf")
        self._loop_watch = LoopWatch(self._blamed)
        self._idle = asyncio.Event()
        self._idle.set()

    async def start(self) -> None:
        """Be ready for calls."""
        # Loads every codec's library now: the first call of a codec must not wait for it.
        await asyncio.to_thread(status)
        await self.runners.start()
        self._loop_watch.start()
        if self.settings.poll_ms and poller.AVAILABLE:
            self._poller = SocketPoller(self.settings.poll_ms / 1000)
        self._look()

    def _look(self) -> None:
        """Once a second: let every call say what looks wrong about it."""
        now = monotonic()
        if now - self._look_due > STOOD_STILL_S:
            self._awake_since = now
        self._look_due = now + 1.0
        for session in list(self.sessions.values()):
            session.look(now)
        self._watch = asyncio.get_running_loop().call_later(1.0, self._look)

    # Connections.

    @property
    def is_polling(self) -> bool:
        """So many frames come that they are read together; see the setting ``poll_ms``."""
        return self._poller is not None and self._poller.is_ticking

    @property
    def n_quiet(self) -> int:
        """Calls that anybody with the shared token could take over: their socket is gone, or
        has brought no media for a while."""
        now = monotonic()
        return sum(self._is_quiet(session, now) for session in self.sessions.values())

    def make_socket(
        self,
        protocol: ServerProtocol,
        transport: asyncio.Transport,
        connection: Connection,
        *,
        has_ponged: bool = False,
    ) -> MediaSocket:
        """The media socket of a connection whose handshake is done; its peer may have ponged."""
        pings = Pings.of(self.settings, answered=has_ponged)
        return make_media_socket(protocol, transport, connection, self._poller, pings)

    def open(
        self,
        connection: MediaConnection,
        start: Start,
        call_id: str,
        admission: Admission,
        now: float,
    ) -> Opened | Refused:
        """The session of an admitted call that starts, new or taken over."""
        existing = self.sessions.get(call_id)
        try:
            if existing is not None and not existing.ended:
                return self._take_over(existing, connection, start, admission, now)
            if self._draining:  # it has a place while its handlers end, but it is over
                return Refused(1001, "the server takes no new calls")
            return self._open_new(connection, start, call_id, admission, now)
        except (UnsupportedFormatError, ConfigurationError) as exc:
            unsupported = isinstance(exc, UnsupportedFormatError)
            self.count("refused_format" if unsupported else "refused_processor")
            return Refused(1003 if unsupported else 1008, str(exc))

    def connection_closed(self, connection: MediaConnection) -> None:
        """A socket is gone."""
        session = connection.session
        if session is not None and session.line is connection:
            session.line_lost()

    # SessionHost: what sessions need.

    async def perform(
        self, call_id: str, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        """Command a phone call; see ``Perform``.

        Raises:
            ConfigurationError: there is no control client.
        """
        if self._perform is None:
            raise ConfigurationError(
                "call.control needs a Telnyx API key: set api_key (TELNYX_API_KEY)"
            )
        return await self._perform(call_id, method, args, kwargs)

    async def _hang_up(self, call_id: str) -> None:
        await self.perform(call_id, "hangup", (), {})

    def count(self, name: str) -> None:
        """One more of ``name``."""
        self.counters[name] += 1

    def _blamed(self, name: str, *, call_id: str = "") -> None:
        """Something held up the loop."""
        self.count(name)

    def summary_of(self, session: Session) -> CallSummary:
        """The session's facts and figures as they are now."""
        return summary_of(session, self._worker)

    def session_lost(self, session: Session) -> None:
        """The session has no socket and waits for one."""
        self._follower.call_lost(session.call_id)

    def session_ended(self, session: Session) -> None:
        """The session is over."""
        over = self.sessions.get(session.call_id) is session
        if over:
            del self.sessions[session.call_id]
        summary = self.summary_of(session)
        logger.info("call %s ended: %s", shown(session.call_id), summary.line())
        self._follower.call_closed(summary, over=over)
        self._unfinished.discard(session)
        if not self._unfinished:
            self._idle.set()

    # The end.

    def drain(self) -> None:
        """Take no new calls, and tell live ones that the server wants to end."""
        self._draining = True
        for session in self.sessions.values():
            session.runner.publish(Draining(self.settings.drain_s))

    async def emptied(self) -> None:
        """Wait until no call is left."""
        await self._idle.wait()

    async def hang_up_all(self) -> None:
        """End every call now, and its phone call."""
        for session in list(self.sessions.values()):
            self.hang_ups.start(session, after_playout=False, reason="shutdown")
        await self.hang_ups.closed()

    async def close(self, within_s: float | None = None) -> None:
        """End every call now; handlers have so long, or the grace of the settings."""
        if self._watch is not None:
            self._watch.cancel()
        for session in list(self.sessions.values()):
            session.end("shutdown")
        try:
            await asyncio.wait_for(self._idle.wait(), within_s)
        except TimeoutError:
            for session in self._unfinished:
                session.leave()
        await self.hang_ups.closed()
        await self.runners.close()
        self._loop_watch.stop()
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
    ) -> Opened | Refused:
        """A second socket of a live call: newest wins, where it may.

        Whoever knows the call's own token may. With less, only when the first socket is
        gone, or has brought no media for a while: else anybody who knows the shared token
        and an id could take a live call.
        """
        if not self._is_quiet(session, now) and admission is not Admission.PER_CALL:
            self.count("refused_takeover")
            return Refused(1008, "the call is live on another socket")
        # All that can be refused comes first: then nothing needs to be put back.
        formats = formats_of(start, connection.query, self.settings)
        parts = parts_of(formats, self.settings, connection)
        session.take_over(connection, start, formats, parts, now)
        self.count("takeovers")
        self._follower.call_opened(session)
        return Opened(session)

    def _open_new(
        self,
        connection: MediaConnection,
        start: Start,
        call_id: str,
        admission: Admission,
        now: float,
    ) -> Opened:
        formats = formats_of(start, connection.query, self.settings)
        query, path = connection.query, connection.path
        selection = select(self._specs, self.settings, start, query, path)
        parts = parts_of(formats, self.settings, connection)
        facts = CallFacts(
            call_id,
            start,
            formats,
            request_of(start, query, formats, path, selection.matched),
            query,
            path,
            route=selection.route,
            is_open=admission is Admission.OPEN,
        )
        runner = self.runners.make_runner(selection.chain, self.settings)
        session = Session(self, facts, connection, runner, parts, now)
        self.sessions[call_id] = session
        self._unfinished.add(session)
        self._idle.clear()
        self.count("calls")
        self._say_opened(facts, selection)
        self._follower.call_opened(session)
        session.begin()
        return Opened(session)

    def _is_quiet(self, session: Session, now: float) -> bool:
        """Its socket is gone, or has brought no media for a while in which it was read."""
        heard_at = max(session.inbound.heard_at, self._awake_since)
        return session.line is None or now - heard_at > TAKEOVER_QUIET_S

    def _say_opened(self, facts: CallFacts, selection: Selection) -> None:
        call_id, formats = shown(facts.call_id), facts.formats
        chain = "+".join(choice.spec.name for choice in selection.chain) or "no processor"
        logger.info(
            "call %s: %s in, %s out, %s%s",
            call_id,
            formats.codec,
            formats.send_codec,
            chain,
            f" by the route {selection.route}" if selection.route else "",
        )
        for name, guess in selection.ignored:
            self.count("parameter_ignored")
            limited.warning(
                "parameters ignored",
                "call %s: the parameter param_%s is ignored: no allow of its processors names it%s",
                call_id,
                shown(name),
                guess,
            )
