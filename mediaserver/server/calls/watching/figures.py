"""The figures of a process's calls: those that have ended, and those that live.

Nothing is done for a frame: sessions count what they need themselves, and it is read here when
somebody asks. Once a second what cannot be summed up is sampled: how far ahead audio was sent,
the marks that came back, how long one frame took.
"""

from __future__ import annotations

from collections.abc import Iterable

from mediaserver.figures.figures import Figures, Key
from mediaserver.server.calls.connection import MediaConnection
from mediaserver.server.calls.runner import Runners
from mediaserver.server.calls.session import Session

Sums = dict[Key, float]
# Stand for a call's codecs, which may change while it lives.
_IN, _OUT = "<in>", "<out>"


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
        self._settled[session] = {}
        self._figures.observe("call_setup_seconds", max(0.0, took_s))

    def settle(self, session: Session) -> None:
        """A call's codecs change: what it had so far counts under those it had."""
        self._settled[session] = _add(self._figures, session, self._settled[session])

    def ended(self, session: Session, duration_s: float) -> None:
        """A session is over."""
        _add(self._figures, session, self._settled.pop(session))
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
        self._figures.observe("loop_lag_seconds", seconds)

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
        for session, settled in self._settled.items():
            _add(figures, session, settled)
        _add_octets(figures, self._lines)
        n_hosts, n_calls = runners.n_hosts
        figures.set("processor_hosts", n_hosts)
        figures.set("isolated_calls", n_calls)
        figures.set("process_resident_bytes", runners.resident_bytes, "hosts")
        return figures


def _add(figures: Figures, session: Session, settled: Sums) -> Sums:
    """Add what a session has counted beyond ``settled``; all it has counted."""
    formats = session.facts.formats
    codecs = {_IN: formats.codec, _OUT: formats.send_codec}
    sums = _sums(session)
    for key, value in sums.items():
        more = max(0, value - settled.get(key, 0))
        # Also where it is 0: a series that is not there cannot be divided.
        figures.add(key[0], more, *(codecs.get(part, part) for part in key[1:]))
    return sums


def _sums(session: Session) -> Sums:
    """What a session has counted since it began."""
    chunks, tally = session.inbound.chunks, session.outbound.tally
    load = session.runner.load
    return {
        ("frames_total", "in", _IN, "delivered"): chunks.delivered,
        ("frames_total", "in", _IN, "lost"): chunks.missing,
        ("frames_total", "in", _IN, "late"): chunks.late,
        ("frames_total", "in", _IN, "duplicate"): chunks.duplicate,
        ("frames_concealed_total", _IN): session.inbound.concealed,
        ("frames_total", "out", _OUT, "sent"): tally.n_messages,
        ("handler_drops_total", "frames"): load.dropped_frames,
        ("handler_drops_total", "events"): load.dropped_events,
        ("live_dropped_seconds_total",): tally.dropped_s,
        ("playout_underruns_total",): tally.underruns,
        ("peer_blocked_seconds_total",): session.outbound.blocked_s,
        **{("plays_total", state): n for state, n in tally.plays.items()},
        **{("marks_total", state): n for state, n in tally.marks.items()},
    }


def _add_octets(figures: Figures, lines: Iterable[MediaConnection]) -> None:
    for line in lines:
        if line.socket is not None:
            n_in, n_out = line.socket.octets
            figures.add("socket_bytes_total", n_in, "in")
            figures.add("socket_bytes_total", n_out, "out")
