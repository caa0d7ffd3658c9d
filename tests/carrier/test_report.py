"""What is said of one call and of many."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from mediaserver.carrier.plan import CallPlan
from mediaserver.carrier.report import COLUMNS, CallReport, Summary, rows

PLAN = CallPlan(codec="L16", rate_hz=16000)


def call(**figures: Any) -> CallReport:
    trips = np.array(figures.pop("trips_ms", [1.0, 2.0, 3.0]))
    kept: dict[str, Any] = {"sent": 3, "returned": 3, "hung_up": True, "snr_db": 20.0, **figures}
    return CallReport(PLAN, round_trips_ms=trips, late_ms=trips / 10, **kept)


@pytest.mark.parametrize(
    ("report", "problem", "echo_problem"),
    [
        (call(), None, None),
        (call(lost=2), None, "2 chunks lost"),
        (call(returned=0), None, "nothing came back"),
        (call(sent=0, returned=0), None, None),
        (call(error="no connection: x"), "no connection: x", "no connection: x"),
        (
            call(errors=(100005, 100003, 100003)),
            "errors 100003, 100005",
            "errors 100003, 100005",
        ),
        (
            call(hung_up=False, close_code=1003, close_reason="GSM"),
            "the server closed: 1003 GSM",
            "the server closed: 1003 GSM",
        ),
        (
            call(hung_up=False, close_code=1000),
            None,
            "the server closed: 1000",
        ),
    ],
)
def test_a_problem_is_named(
    report: CallReport, problem: str | None, echo_problem: str | None
) -> None:
    """A call is fine, or one line says why not; an echo has stricter rules."""
    assert report.problem == problem
    assert report.echo_problem == echo_problem


def test_a_call_is_plain_data() -> None:
    """The figures survive JSON, infinity as a word, formats by name."""
    plain = json.loads(json.dumps(call(snr_db=math.inf).as_json(), allow_nan=False))
    assert plain["snr_db"] == "inf"
    assert (plain["codec"], plain["rate_hz"]) == ("L16", 16000)
    assert plain["round_trip_ms"] == {"p50": 2.0, "p99": 2.98, "max": 3.0}
    assert plain["problem"] is None
    assert call(returned=0).as_json(expect_echo=True)["problem"] == "nothing came back"
    assert call(trips_ms=[]).as_json()["round_trip_ms"] is None


def test_many_calls_are_summed_up() -> None:
    """Counts add, times pool, the worst ratio stands for all, problems are counted."""
    reports = [call(snr_db=math.inf), call(trips_ms=[9.0], lost=1), call(error="x", snr_db=None)]
    summary = Summary.of(reports)
    assert (summary.calls, summary.failed, summary.problems) == (3, 1, {"x": 1})
    assert (summary.sent, summary.returned, summary.lost, summary.snr_db) == (9, 9, 1, 20.0)
    assert summary.round_trip_ms is not None
    assert summary.round_trip_ms.max == 9.0
    assert Summary.of(reports, expect_echo=True).failed == 2
    json.dumps(summary.as_json(), allow_nan=False)
    assert Summary.of([call(snr_db=math.inf)]).as_json()["snr_db"] == "inf"


def test_no_calls_have_no_times() -> None:
    """The summary of nothing is a summary."""
    assert Summary.of([]).round_trip_ms is None
    assert Summary.of([]).snr_db is None


def test_a_row_shows_one_call() -> None:
    """Rows have the columns' number of cells, dashes where nothing is known."""
    shown = rows([call(bit_exact=True), call(trips_ms=[], snr_db=None, returned=0)])
    assert all(len(row) == len(COLUMNS) for row in shown)
    assert shown[0] == ("1", "L16 16k", "L16 16k", "3", "3", "0", "2.0", "3.0", "3.0", "–",
                        "exact", "ok")  # fmt: skip
    assert shown[1][6:] == ("–", "–", "–", "–", "–", "ok")
    assert rows([call(returned=0)], expect_echo=True)[0][-1] == "failed"
