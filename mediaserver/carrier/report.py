"""The figures of one call, and of many."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mediaserver.carrier.ear import Ear
from mediaserver.carrier.plan import CallPlan
from mediaserver.carrier.turns import Taken

Milliseconds = npt.NDArray[np.float64]


def _no_times() -> Milliseconds:
    return np.zeros(0)


@dataclass(frozen=True)
class Spread:
    """Percentiles of a set of times in ms.

    Attributes:
        p50: half were faster.
        p99: all but one in a hundred were.
        max: the slowest.
    """

    p50: float
    p99: float
    max: float

    @classmethod
    def of(cls, times_ms: Milliseconds) -> Spread | None:
        """Return the spread of the times; None: there are none."""
        if not len(times_ms):
            return None
        p50, p99 = np.percentile(times_ms, (50, 99))
        return cls(float(p50), float(p99), float(np.max(times_ms)))


@dataclass(frozen=True)
class CallReport:
    """One call as its caller saw it. Times are seconds since ``start`` unless said.

    Figures of an echo (``round_trips_ms``, ``lost``, ``lag_ms``, ``snr_db``, ``bit_exact``)
    compare what came back with what was sent; from a server that does not echo they mean
    nothing.

    Attributes:
        plan: what was to be done.
        sent: media messages sent.
        sent_s: seconds of audio sent, dropped chunks included.
        returned: media messages that came back and were accepted.
        returned_s: seconds of audio in them.
        round_trips_ms: per chunk, from when it was due to be sent until as much audio had
            come back; what codecs and resamplers delay is in ``lag_ms`` instead.
        late_ms: per chunk, by how much it was sent later than due by this side's own fault.
        held_s: how long the server took nothing, so that sending had to wait.
        lost: chunks sent for which no audio came back.
        lag_ms: by how much the audio is delayed within what came back; negative: the
            beginning is missing.
        snr_db: of what came back against what was sent; infinite: equal; None: unknown.
        bit_exact: same codec both ways and equal, sample by sample; None: unknown.
        marks: marks given back because they were reached.
        cleared_marks: marks given back by a ``clear``.
        clears: ``clear`` messages.
        dtmf: digits sent.
        errors: code of each complaint sent to the server.
        silent: messages swallowed without complaint, by reason.
        reconnects: sockets opened after the first.
        setup_ms: time to connect, handshake included.
        close_code: of the WebSocket; None: it was cut.
        close_reason: as given by whoever closed.
        hung_up: the call ended from this side.
        ended_s: when it ended.
        taken: of a caller who takes turns: those taken, and when.
        waiting: the turns whose moment never came.
        heard_at_s: of a caller who takes turns: ``(from_s, to_s)`` of all that was audible.
        error: why the call failed as a whole; None: it did not.
        heard: the timeline of what the caller heard; None: there was no call.
    """

    plan: CallPlan
    sent: int = 0
    sent_s: float = 0.0
    returned: int = 0
    returned_s: float = 0.0
    round_trips_ms: Milliseconds = field(default_factory=_no_times, repr=False)
    late_ms: Milliseconds = field(default_factory=_no_times, repr=False)
    held_s: float = 0.0
    lost: int = 0
    lag_ms: float | None = None
    snr_db: float | None = None
    bit_exact: bool | None = None
    marks: int = 0
    cleared_marks: int = 0
    clears: int = 0
    dtmf: str = ""
    errors: tuple[int, ...] = ()
    silent: dict[str, int] = field(default_factory=dict)
    reconnects: int = 0
    setup_ms: float | None = None
    close_code: int | None = None
    close_reason: str = ""
    hung_up: bool = False
    ended_s: float | None = None
    taken: tuple[Taken, ...] = ()
    waiting: tuple[str, ...] = ()
    heard_at_s: tuple[tuple[float, float], ...] = ()
    error: str | None = None
    heard: Ear | None = field(default=None, repr=False)

    @property
    def round_trip_ms(self) -> Spread | None:
        """Percentiles of the round trips; None: nothing came back."""
        return Spread.of(self.round_trips_ms)

    @property
    def bot_hung_up(self) -> bool:
        """Whether the bot ended the call in order."""
        return not self.hung_up and self.close_code == NORMAL_CLOSE

    @property
    def problem(self) -> str | None:
        """What was wrong with the call, in a few words; None: nothing."""
        if self.error is not None:
            return self.error
        if not self.hung_up and not self.bot_hung_up:
            return self._closed
        if self.errors:
            return "errors " + ", ".join(f"{code}" for code in sorted(set(self.errors)))
        return None if self.plan.turns is None else self._bot_problem

    @property
    def _closed(self) -> str:
        return f"the server closed: {self.close_code} {self.close_reason}".rstrip()

    @property
    def _bot_problem(self) -> str | None:
        if not self.heard_at_s:
            return "the bot was silent" + (" and hung up" if self.bot_hung_up else "")
        if self.waiting:
            why = "the bot hung up before" if self.bot_hung_up else "its moment never came:"
            return f"{why} {self.waiting[0]}"
        if self.plan.expect_hangup and not self.bot_hung_up:
            return "the bot did not hang up"
        return None

    @property
    def echo_problem(self) -> str | None:
        """The same, where the server was expected to send everything back."""
        if self.problem is not None:
            return self.problem
        if self.bot_hung_up:
            return self._closed
        if not self.sent:
            return None
        if not self.returned:
            return "nothing came back"
        return f"{self.lost} chunks lost" if self.lost else None

    def without_audio(self) -> CallReport:
        """Return the report without what the caller heard: it may be large."""
        return replace(self, heard=None)

    def as_json(self, *, expect_echo: bool = False) -> dict[str, Any]:
        """Return the figures as plain data; an infinite ratio is the string ``inf``.

        What has no meaning is left out: of a caller who takes turns the comparison of what
        came back with what was sent, of any other one the turns.
        """
        left_out = _OF_TURNS if self.plan.turns is None else _OF_ECHO
        plain = {name: getattr(self, name) for name in _PLAIN}
        everything = {
            "call_control_id": self.plan.call_control_id,
            "codec": self.plan.codec,
            "rate_hz": self.plan.in_rate_hz,
            "send_codec": self.plan.out_codec,
            "send_rate_hz": self.plan.out_rate_hz,
            **plain,
            "taken": [each._asdict() for each in self.taken],
            "heard_at_s": [[round(at_s, 3) for at_s in each] for each in self.heard_at_s],
            "bot_hung_up": self.bot_hung_up,
            "snr_db": "inf" if self.snr_db == math.inf else self.snr_db,
            "round_trip_ms": _spread_json(self.round_trip_ms),
            "late_ms": _spread_json(Spread.of(self.late_ms)),
            "problem": self.echo_problem if expect_echo else self.problem,
        }
        return {name: value for name, value in everything.items() if name not in left_out}


NORMAL_CLOSE = 1000
_OF_ECHO = {"lost", "lag_ms", "snr_db", "bit_exact", "round_trip_ms"}
_OF_TURNS = {"taken", "waiting", "heard_at_s"}
_APART = {"plan", "round_trips_ms", "late_ms", "snr_db", "heard", "error"}
_PLAIN = [name for name in CallReport.__dataclass_fields__ if name not in _APART]


def _spread_json(spread: Spread | None) -> dict[str, float] | None:
    if spread is None:
        return None
    return {"p50": round(spread.p50, 3), "p99": round(spread.p99, 3), "max": round(spread.max, 3)}


@dataclass(frozen=True)
class Summary:
    """Many calls in one.

    Attributes:
        calls: how many.
        failed: how many had a problem.
        problems: the problems and how often each.
        sent: media messages of all calls.
        returned: media messages that came back.
        lost: chunks that did not.
        round_trip_ms: over all chunks of all calls.
        late_ms: the load client's own lateness.
        snr_db: the lowest of all calls.
    """

    calls: int
    failed: int
    problems: dict[str, int]
    sent: int
    returned: int
    lost: int
    round_trip_ms: Spread | None
    late_ms: Spread | None
    snr_db: float | None

    @classmethod
    def of(cls, reports: Sequence[CallReport], *, expect_echo: bool = False) -> Summary:
        """Return the figures over all ``reports``."""
        found = [r.echo_problem if expect_echo else r.problem for r in reports]
        problems = Counter(problem for problem in found if problem is not None)
        ratios = [r.snr_db for r in reports if r.snr_db is not None]
        return cls(
            calls=len(reports),
            failed=problems.total(),
            problems=dict(problems),
            sent=sum(r.sent for r in reports),
            returned=sum(r.returned for r in reports),
            lost=sum(r.lost for r in reports),
            round_trip_ms=_all([r.round_trips_ms for r in reports]),
            late_ms=_all([r.late_ms for r in reports]),
            snr_db=min(ratios, default=None),
        )

    def as_json(self) -> dict[str, Any]:
        """Return the figures as plain data; an infinite ratio is the string ``inf``."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {
            **plain,
            "snr_db": "inf" if self.snr_db == math.inf else self.snr_db,
            "round_trip_ms": _spread_json(self.round_trip_ms),
            "late_ms": _spread_json(self.late_ms),
        }


def _all(times_ms: Sequence[Milliseconds]) -> Spread | None:
    return Spread.of(np.concatenate([_no_times(), *times_ms]))


COLUMNS = ("#", "in", "out", "sent", "back", "lost", "p50 ms", "p99", "max", "lag", "SNR", "")


def rows(reports: Sequence[CallReport], *, expect_echo: bool = False) -> list[tuple[str, ...]]:
    """Return one row of text per call, as ``COLUMNS`` names them."""
    return [_row(number, r, expect_echo) for number, r in enumerate(reports, 1)]


def _row(number: int, report: CallReport, expect_echo: bool) -> tuple[str, ...]:
    trip = report.round_trip_ms
    times = (trip.p50, trip.p99, trip.max) if trip else (None, None, None)
    problem = report.echo_problem if expect_echo else report.problem
    return (
        str(number),
        f"{report.plan.codec} {report.plan.in_rate_hz / 1000:g}k",
        f"{report.plan.out_codec} {report.plan.out_rate_hz / 1000:g}k",
        str(report.sent),
        str(report.returned),
        str(report.lost),
        *(figure(time) for time in times),
        figure(report.lag_ms),
        "exact" if report.bit_exact else figure(report.snr_db),
        "failed" if problem else "ok",
    )


def figure(value: float | None) -> str:
    """Return a number with one decimal, or a dash for none."""
    return "–" if value is None else f"{value:.1f}"
