"""Answers questions about a process's live calls; it costs nothing while nobody asks.

    question         what it reads or does
    live_rows        a few figures of each call
    live_levels      the level of one frame of each side of each call
    live_look        what a ``CallTap`` keeps of one call
    live_operate     a message to a call's processors; its bot muted

A tap exists from the first look until nobody has looked for ``LEASE_S``. So viewers need not say
that they stop, and a browser that is gone costs nothing.
"""

from __future__ import annotations

import asyncio
import math
import struct
from collections.abc import Callable
from time import monotonic

import msgspec

from mediaserver.media.frames import Int16Array
from mediaserver.processors.api import OperatorMessage
from mediaserver.server.calls.audio.levels import FULL_SCALE, rms
from mediaserver.server.calls.registry import CallRegistry
from mediaserver.server.calls.session import Session
from mediaserver.server.live.forms import (
    LEVEL_BYTES,
    LEVELS,
    LOOK,
    OPERATE,
    ROWS,
    LogLine,
    Operate,
    Row,
    Rows,
)
from mediaserver.server.live.lines import RecentLines
from mediaserver.server.live.tap import CallTap, decode_wanted

LEASE_S = 3.0
SWEEP_S = 1.0
HOLD_S = 1.5
"""A call of which nothing has come for so long is on hold."""
SHOWN_S = 0.25
"""A level is shown for so long at least: messages of 20 ms are between two looks."""
LOOK_AT_TENTH = 10
"""Troubles are looked for in a tenth of the calls at a time."""
QUIETEST_DB = -60.0
_LEVEL = struct.Struct("!IBB")
assert _LEVEL.size == LEVEL_BYTES


class _Meter:
    """How loud the bot's side of a call is: of one message, while that is heard."""

    __slots__ = ("_level", "_until")

    def __init__(self) -> None:
        self._level = 0
        self._until = 0.0

    def take(self, session: Session, now: float) -> int:
        """The level of the last message that was looked at, if it is heard; looks at the next."""
        playout = session.outbound.playout

        def tap(samples: Int16Array) -> None:
            self._level = 0 if playout.is_muted else rms(samples)
            ledger = playout.ledger
            length_s = max(len(samples) / ledger.rate_hz, SHOWN_S)
            self._until = max(ledger.dry_at, monotonic()) + length_s

        playout.sample(tap)
        return self._level if now < self._until else 0


class LiveDesk:
    """See the module.

    Args:
        calls: the live calls of this process.
    """

    def __init__(self, calls: CallRegistry) -> None:
        self._calls = calls
        self._numbers = calls.settings.numbers
        self._taps: dict[str, CallTap] = {}
        self._muted: set[str] = set()
        self._known: dict[Session, tuple[int, _Meter]] = {}
        self._n_known = 0
        self._troubles: dict[Session, tuple[str, ...]] = {}
        self._next_looked_at = 0
        self._lines = RecentLines(self._numbers.within, self._logged)
        self._sweeper: asyncio.TimerHandle | None = None

    # The table.

    def rows(self, _: str) -> bytes:
        """Every live call, as ``Rows``."""
        now = monotonic()
        self._lines.wanted(now)
        self._sweep_soon()
        self._look_for_trouble()
        rows = tuple(self._row(session, now) for session in self._calls.sessions.values())
        return msgspec.msgpack.encode(Rows(rows, tuple(self._lines.warnings)))

    def _row(self, session: Session, now: float) -> Row:
        facts, numbers = session.facts, self._numbers
        start, formats = facts.start.start, facts.formats
        return Row(
            self._of(session)[0],
            session.call_id,
            numbers(start.from_),
            numbers(start.to),
            now - session.began_at,
            formats.codec,
            formats.send_codec,
            "+".join(session.runner.names),
            state_of(session, now),
            tuple(session.watch.notes.hints),
            self._troubles.get(session, ()),
            session.runner.n_errors,
            session.outbound.playout.is_muted,
        )

    def _look_for_trouble(self) -> None:
        """In some of the calls, by turns: it costs ten times as much as all else in a row."""
        sessions = list(self._calls.sessions.values())
        n = -(-len(sessions) // LOOK_AT_TENTH)
        for at in range(self._next_looked_at, self._next_looked_at + n):
            session = sessions[at % len(sessions)]
            self._troubles[session] = tuple(session.stats().troubles)
        self._next_looked_at += n
        if len(self._troubles) > len(sessions):
            self._troubles = {s: t for s, t in self._troubles.items() if self._is_live(s)}

    # Levels.

    def levels(self, _: str) -> bytes:
        """The levels of every live call; see ``LEVEL_BYTES``."""
        now, sessions = monotonic(), self._calls.sessions
        told = bytearray(LEVEL_BYTES * len(sessions))
        for at, session in enumerate(sessions.values()):
            number, meter = self._of(session)
            track = session.inbound.tracks.get("inbound")
            caller = 0 if track is None else track.take_meter()
            bot = meter.take(session, now)
            _LEVEL.pack_into(told, LEVEL_BYTES * at, number, byte_of(caller), byte_of(bot))
        return bytes(told)

    def _of(self, session: Session) -> tuple[int, _Meter]:
        """The number of a call, and its meter."""
        known = self._known.get(session)
        if known is None:
            if len(self._known) > len(self._calls.sessions):
                self._known = {s: k for s, k in self._known.items() if self._is_live(s)}
            self._n_known += 1
            known = self._known[session] = self._n_known, _Meter()
        return known

    def _is_live(self, session: Session) -> bool:
        return self._calls.sessions.get(session.call_id) is session

    # One call.

    def look(self, argument: str) -> bytes:
        """What is new in one call, as ``Look``; empty: it is not of this process."""
        wanted = decode_wanted(argument)
        if wanted is None:
            return b""
        tap, session = self._taps.get(wanted.call_id), self._calls.sessions.get(wanted.call_id)
        if session is not None and (tap is None or tap.session is not session):
            if tap is not None:
                tap.close()
            tap = self._taps[wanted.call_id] = CallTap(session, self._numbers.within)
        if tap is None:
            return b""
        now = monotonic()
        self._lines.wanted(now)
        self._sweep_soon()
        look = tap.look(wanted, state_of(tap.session, now))
        if look.summary is not None:
            look = msgspec.structs.replace(look, summary=look.summary.hidden(self._numbers))
        return msgspec.msgpack.encode(look)

    def _logged(self, call_id: str, line: LogLine) -> None:
        tap = self._taps.get(call_id)
        if tap is not None:
            tap.logged(line)

    # Taking part.

    def operate(self, argument: str) -> bytes:
        """Do to a call what an operator asks; empty: it is not of this process."""
        try:
            asked = msgspec.json.decode(argument, type=Operate)
        except msgspec.MsgspecError:
            return b""
        session = self._calls.sessions.get(asked.call_id)
        if session is None or session.ended:
            return b""
        if asked.what == "say":
            session.publish(OperatorMessage(asked.text))
        elif asked.what in ("mute", "unmute"):
            (self._muted.add if asked.what == "mute" else self._muted.discard)(asked.call_id)
            self._keep_muted(session)
            self._sweep_soon()
        return b"\x01"

    def _keep_muted(self, session: Session) -> None:
        """Also behind a lost socket, where the playout is another one."""
        playout, muted = session.outbound.playout, session.call_id in self._muted
        if playout.is_muted != muted:
            playout.mute(muted)

    # Time.

    def _sweep_soon(self) -> None:
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        """Let go what nobody looks at."""
        self._sweeper, now = None, monotonic()
        for call_id, tap in list(self._taps.items()):
            if now - tap.wanted_at > LEASE_S:
                tap.close()
                del self._taps[call_id]
        for call_id in list(self._muted):
            session = self._calls.sessions.get(call_id)
            if session is None:
                self._muted.discard(call_id)
            else:
                self._keep_muted(session)
        if self._lines.rest(now - LEASE_S) or self._taps or self._muted:
            self._sweep_soon()


def state_of(session: Session, now: float) -> str:
    """Where a call stands; see ``Row``."""
    phase = session.phase
    if phase != "live":
        return "reconnecting" if phase == "no socket" else phase
    if now - session.inbound.heard_at > HOLD_S:
        return "on hold"
    return "speaking" if session.outbound.is_speaking(now) else "listening"


def byte_of(level: int) -> int:
    """A level (the root of the mean square) as 0 to 255, in steps of dB above -60 dBFS."""
    if level <= 0:
        return 0
    db = 20 * math.log10(level / FULL_SCALE)
    return max(0, min(255, round(255 * (1 - db / QUIETEST_DB))))


def live_answers(calls: CallRegistry) -> dict[str, Callable[[str], bytes]]:
    """By each word what answers it; see ``answers_of``."""
    desk = LiveDesk(calls)
    return {ROWS: desk.rows, LEVELS: desk.levels, LOOK: desk.look, OPERATE: desk.operate}
