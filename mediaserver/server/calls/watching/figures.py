"""The figures of a process's calls: those that have ended, and those that live.

Nothing is done for a frame: sessions count what they need themselves, and it is read here when
somebody asks. Once a second what cannot be summed up is sampled: how far ahead audio was sent,
the marks that came back, how long one frame took.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import add, sub

from mediaserver.figures.figures import Figures, Key
from mediaserver.server.calls.connection import MediaConnection
from mediaserver.server.calls.runner import Runners
from mediaserver.server.calls.session import Session

# What a session counts that is summed up, in order; stand for a call's codecs: they may change.
_IN, _OUT = "<in>", "<out>"
SUMMED: tuple[Key, ...] = (
    ("frames_total", "in", _IN, "delivered"),
    ("frames_total", "in", _IN, "lost"),
    ("frames_total", "in", _IN, "late"),
    ("frames_total", "in", _IN, "duplicate"),
    ("frames_concealed_total", _IN),
    ("frames_total", "out", _OUT, "sent"),
    ("handler_drops_total", "frames"),
    ("handler_drops_total", "events"),
    ("live_dropped_seconds_total",),
    ("playout_underruns_total",),
    ("peer_blocked_seconds_total",),
    ("plays_total", "played"),
    ("plays_total", "cleared"),
    ("plays_total", "failed"),
    ("marks_total", "played"),
    ("marks_total", "cleared"),
)
Sums = tuple[float, ...]
Codecs = tuple[str, str]
NOTHING: Sums = (0.0,) * len(SUMMED)


class CallFigures:
    """Sums over all calls of a process; they only grow.

    **Call ``opened`` and ``ended`` of each session, ``settle`` before its formats change,
    ``line_opened`` and ``line_closed`` of each of its sockets, and ``look`` once a second.**
    """

    def __init__(self) -> None:
        self._figures = Figures()
        # What of each live session is in there already: it began with another codec.
        self._settled: dict[Session, Sums] = {}
        self._lines: set[MediaConnection] = set()

    def opened(self, session: Session, took_s: float) -> None:
        """A call has begun, so long behind its ``start``."""
        self._settled[session] = NOTHING
        self._figures.observe("call_setup_seconds", max(0.0, took_s))

    def settle(self, session: Session) -> None:
        """A call's codecs change: what it had so far counts under those it had."""
        settled = self._settled[session]
        self._settled[session] = _sums(session)
        _add(self._figures, _codecs(session), _beyond(self._settled[session], settled))

    def ended(self, session: Session, duration_s: float) -> None:
        """A session is over."""
        more = _beyond(_sums(session), self._settled.pop(session, NOTHING))
        _add(self._figures, _codecs(session), more)
        self._figures.observe("call_seconds", duration_s)

    def line_opened(self, line: MediaConnection) -> None:
        """A call has this socket."""
        self._lines.add(line)

    def line_closed(self, line: MediaConnection) -> None:
        """A socket is gone; it can still be asked."""
        if line in self._lines:
            self._lines.remove(line)
            _add_octets(self._figures, (line,))

    def lag(self, seconds: float) -> None:
        """The event loop was so late."""
        self._figures.observe("loop_lag_seconds", seconds, "calls")

    def look(self, sessions: Iterable[Session], now: float) -> None:
        """Once a second: sample."""
        observe = self._figures.observe
        for session in sessions:
            playout = session.outbound.playout
            lead_s = playout.ledger.dry_at - now
            if lead_s > 0 or session.outbound.is_speaking(now):
                observe("playout_lead_seconds", max(0.0, lead_s))
            for late_s, error_s in playout.ledger.returns.take():
                observe("mark_round_trip_seconds", max(0.0, late_s))
                observe("heard_error_seconds", abs(error_s))
            for seconds in session.inbound.take_times():
                observe("chain_seconds", seconds, "+".join(session.runner.names) or "none")

    def now(self, runners: Runners) -> Figures:
        """All of them, of live calls as well."""
        figures = Figures()
        figures.take(self._figures)
        live: dict[Codecs, Sums] = {}
        for session, settled in self._settled.items():
            codecs = _codecs(session)
            more = _beyond(_sums(session), settled)
            live[codecs] = tuple(map(add, live.get(codecs, NOTHING), more))
        for codecs, sums in live.items():
            _add(figures, codecs, sums)
        _add_octets(figures, self._lines)
        n_hosts, n_calls = runners.n_hosts
        figures.set("processor_hosts", n_hosts)
        figures.set("isolated_calls", n_calls)
        figures.set("process_resident_bytes", runners.resident_bytes, "hosts")
        return figures


def _codecs(session: Session) -> Codecs:
    formats = session.facts.formats
    return formats.codec, formats.send_codec


def _beyond(sums: Sums, settled: Sums) -> Sums:
    """What is in ``sums`` beyond ``settled``."""
    return sums if settled is NOTHING else tuple(map(sub, sums, settled))


def _add(figures: Figures, codecs: Codecs, sums: Sums) -> None:
    """Add so much; also where it is 0: a series that is not there cannot be divided."""
    stand_for = {_IN: codecs[0], _OUT: codecs[1]}
    for key, value in zip(SUMMED, sums, strict=True):
        figures.add(key[0], value, *(stand_for.get(part, part) for part in key[1:]))


def _sums(session: Session) -> Sums:
    """What a session has counted since it began."""
    chunks, tally = session.inbound.chunks, session.outbound.tally
    load, plays, marks = session.runner.load, tally.plays, tally.marks
    return (
        chunks.delivered,
        chunks.missing,
        chunks.late,
        chunks.duplicate,
        session.inbound.concealed,
        tally.n_messages,
        load.dropped_frames,
        load.dropped_events,
        tally.dropped_s,
        tally.underruns,
        session.outbound.blocked_s,
        plays["played"],
        plays["cleared"],
        plays["failed"],
        marks["played"],
        marks["cleared"],
    )


def _add_octets(figures: Figures, lines: Iterable[MediaConnection]) -> None:
    for line in lines:
        if line.socket is not None:
            n_in, n_out = line.socket.octets
            figures.add("socket_bytes_total", n_in, "in")
            figures.add("socket_bytes_total", n_out, "out")
