"""The calls of one process: their sessions, from ``start`` to the end."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any, NamedTuple, Protocol

from mediaserver.afterwards.pending import PENDING
from mediaserver.errors import ConfigurationError
from mediaserver.logs import LimitedLog, call_over, call_streams
from mediaserver.observer import CallSummary
from mediaserver.processors.api import Draining
from mediaserver.server.admission import Refused
from mediaserver.server.calls.audio.formats import Formats, UnsupportedFormatError, formats_of
from mediaserver.server.calls.audio.parts import Parts, listening_parts, parts_of
from mediaserver.server.calls.connection import MediaConnection
from mediaserver.server.calls.facts import CallFacts
from mediaserver.server.calls.hangups import HangUps, Perform
from mediaserver.server.calls.runner import InlineRunners, Runners
from mediaserver.server.calls.selection import load_processors, request_of, select
from mediaserver.server.calls.session import STOOD_STILL_S, Halves, Line, Session
from mediaserver.server.calls.starting import Opened
from mediaserver.server.calls.watching.blame import BEAT_S, Culprit, LoopWatch
from mediaserver.server.calls.watching.figures import CallFigures
from mediaserver.server.calls.watching.lines import say_ended, say_opened
from mediaserver.server.calls.watching.summary import summary_of
from mediaserver.server.load import LoopLoad
from mediaserver.server.sockets.polled import PolledSockets
from mediaserver.settings import Settings
from mediaserver.tokens import Admission
from mediaserver.wire.messages import Start
from telephony_codecs import status

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))
# With a shared token only, a second socket takes a call over when the first is this quiet.
TAKEOVER_QUIET_S = 2.0
# Each beat looks at one in so many calls: all 500 at once would hold up the loop for 20 ms.
SHARES = round(1.0 / BEAT_S)


class Entrance(Line, Protocol):
    """The line of a call that begins, and what it came to."""

    @property
    def query(self) -> Mapping[str, str]:
        """See ``CallFacts``."""

    @property
    def path(self) -> str:
        """See ``CallFacts``."""


class _New(NamedTuple):
    """A call that begins; ``is_open`` as in ``CallFacts``."""

    call_id: str
    start: Start
    formats: Formats
    parts: Parts
    is_open: bool


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
        host_bytes: memory of processor hosts, looked at where there is a limit.
        figures: what the calls have sent and lost, and how long things took.
        sockets: makes the calls' media sockets.

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
        self.figures: CallFigures = CallFigures()
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
        self.sockets: PolledSockets = PolledSockets(settings)
        self._to_look_at: list[str] = []
        self._n_looked = 0
        self._awake_since = float("-inf")
        self._load = LoopLoad(settings.shed_lag_ms)
        self.host_bytes: int = 0
        self._loop_watch = LoopWatch(self._blamed, self._beat)
        self._idle = asyncio.Event()
        self._idle.set()

    async def start(self) -> None:
        """Be ready for calls."""
        # Loads every codec's library now: the first call of a codec must not wait for it.
        await asyncio.to_thread(status)
        await self.runners.start()
        self._loop_watch.start()
        self.sockets.start()

    def _look(self, now: float) -> None:
        """At each beat: let some calls, each once a second, say what looks wrong about them."""
        share, self._n_looked = self._n_looked, (self._n_looked + 1) % SHARES
        if not share:
            self._to_look_at = list(self.sessions)
            if self.settings.shed_memory_mb is not None:
                self.host_bytes = self.runners.resident_bytes
        ids = self._to_look_at[share::SHARES]
        some = [self.sessions[call_id] for call_id in ids if call_id in self.sessions]
        for session in some:
            session.look(now)
        self.figures.look(some, now)

    # Connections.

    @property
    def n_quiet(self) -> int:
        """Calls that anybody with the shared token could take over: their socket is gone, or
        has brought no media for a while."""
        now = monotonic()
        return sum(self._is_quiet(session, now) for session in self.sessions.values())

    def open(
        self,
        connection: MediaConnection,
        start: Start,
        call_id: str,
        admission: Admission,
        now: float,
        *,
        started_at: float | None = None,
    ) -> Opened | Refused:
        """The session of an admitted call that starts, new or taken over.

        ``started_at`` is when its ``start`` was read, if not ``now``.
        """
        existing = self.sessions.get(call_id)
        try:
            if existing is not None and not existing.ended:
                if not existing.is_listen_only:
                    return self._take_over(existing, connection, start, admission, now)
                existing.end("stop")  # a call is forked or streamed, never both
            if self._draining:  # it has a place while its handlers end, but it is over
                return Refused(1001, "the server takes no new calls")
            formats = formats_of(start, connection.query, self.settings)
            parts = parts_of(formats, self.settings, connection)
            is_open = admission is Admission.OPEN
            new = _New(call_id, start, formats, parts, is_open)
            opened = self._open_new(connection, new, now)
        except (UnsupportedFormatError, ConfigurationError) as exc:
            unsupported = isinstance(exc, UnsupportedFormatError)
            self.count("refused_format" if unsupported else "refused_processor")
            return Refused(1003 if unsupported else 1008, str(exc))
        began_at = now if started_at is None else started_at
        self.figures.opened(opened.session, monotonic() - began_at)
        self.figures.line_opened(connection)
        return opened

    def open_fork(
        self, line: Entrance, start: Start, formats: Formats, halves: Halves, now: float
    ) -> Opened | Refused:
        """The session of a forked call, of which audio has come; it ends a stream of the call."""
        call_id = start.start.call_control_id or ""
        existing = self.sessions.get(call_id)
        if self._draining:
            return Refused(1001, "the server takes no new calls")
        if existing is None and len(self.sessions) >= self.settings.max_calls:
            self.count("refused_full")
            return Refused(1013, "the server is full")
        if existing is not None:
            existing.end("stop")
        parts = listening_parts(formats, self.settings)
        try:
            new = _New(call_id, start, formats, parts, True)
            opened = self._open_new(line, new, now, halves)
        except ConfigurationError as exc:
            self.count("refused_processor")
            return Refused(1008, str(exc))
        self.figures.opened(opened.session, 0.0)
        return opened

    def connection_closed(self, connection: MediaConnection) -> None:
        """A socket is gone."""
        self.figures.line_closed(connection)
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

    @property
    def most_calls(self) -> int | None:
        """A new call may come while there are fewer; see ``LoopLoad``."""
        return self._load.most_calls

    def _beat(self, late_s: float, busy: float) -> None:
        """The loop's regular beat came so late; that part of the time since the last it worked."""
        now = monotonic()
        self._awake_since = now if late_s > STOOD_STILL_S else self._awake_since
        self.figures.lag(late_s)
        self._load.beat(late_s, busy, len(self.sessions), now)
        self._look(now)

    def _blamed(self, name: str, *, culprit: Culprit, late_s: float) -> None:
        """Something held up the loop: all calls, where it was one call's processor."""
        self.count(name)
        if culprit.call_id:
            for session in self.sessions.values():
                session.held_up(culprit.call_id, str(culprit), late_s)

    def summary_of(self, session: Session) -> CallSummary:
        """The session's facts and figures as they are now."""
        return summary_of(session, self._worker)

    def session_lost(self, session: Session) -> None:
        """The session has no socket and waits for one."""
        self.count("lost_sockets")
        self._follower.call_lost(session.call_id)

    def session_ended(self, session: Session) -> None:
        """The session is over."""
        over = self.sessions.get(session.call_id) is session
        if over:
            del self.sessions[session.call_id]
        summary = self.summary_of(session)
        say_ended(summary, self.settings.numbers)
        self.figures.ended(session, summary.duration_s)
        if over:
            call_over(session.call_id)
            self.count(f"ended.{summary.reason}")
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
        """Wait until no call is left, and what is left to do behind them is done."""
        await self._idle.wait()
        await PENDING.settled()

    async def hang_up_all(self) -> None:
        """End every call now, and its phone call."""
        for session in list(self.sessions.values()):
            self.hang_ups.start(session, after_playout=False, reason="shutdown")
        await self.hang_ups.closed()

    async def close(self, within_s: float | None = None) -> None:
        """End every call now; handlers have so long, or the grace of the settings."""
        for session in list(self.sessions.values()):
            session.end("shutdown")
        try:
            await asyncio.wait_for(self._idle.wait(), within_s)
        except TimeoutError:
            for session in self._unfinished:
                session.leave()
        await self.hang_ups.closed()
        await self.runners.close()
        if within_s is None:
            await PENDING.settled(self.settings.handler_grace_s)
        self._loop_watch.stop()
        self.sockets.close()

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
        self.figures.settle(session)
        self.figures.line_opened(connection)
        session.take_over(connection, start, formats, parts, now)
        call_streams(session.call_id, start.stream_id)
        self.count("takeovers")
        self._follower.call_opened(session)
        return Opened(session)

    def _open_new(
        self,
        line: Entrance,
        new: _New,
        now: float,
        halves: Halves = Halves(),  # noqa: B008  # a value that nobody can change
    ) -> Opened:
        start, formats, query, path = new.start, new.formats, line.query, line.path
        selection = select(self._specs, self.settings, start, query, path)
        facts = CallFacts(
            new.call_id,
            start,
            formats,
            request_of(start, query, formats, path, selection.matched),
            query,
            path,
            route=selection.route,
            can_play=any(not choice.spec.tap for choice in selection.chain),
            is_open=new.is_open,
        )
        runner = self.runners.make_runner(selection.chain, self.settings)
        session = Session(self, facts, line, runner, new.parts, now, halves)
        self.sessions[new.call_id] = session
        self._unfinished.add(session)
        self._idle.clear()
        self.count("calls")
        call_streams(new.call_id, start.stream_id)
        for _ in say_opened(facts, selection):
            self.count("parameter_ignored")
        self._follower.call_opened(session)
        session.begin()
        return Opened(session)

    def _is_quiet(self, session: Session, now: float) -> bool:
        """Its socket is gone, or has brought no media for a while in which it was read."""
        heard_at = max(session.inbound.heard_at, self._awake_since)
        return session.line is None or now - heard_at > TAKEOVER_QUIET_S
