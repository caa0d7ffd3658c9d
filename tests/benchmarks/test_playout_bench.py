from __future__ import annotations

import json
import subprocess
import sys
from types import ModuleType

import numpy as np
import pytest

from mediaserver.carrier.ear import Ear
from tests.benchmarks.scripts import ROOT, load

BENCHMARK = ROOT / "benchmarks/playout.py"
SHORT = ["--calls", "3", "--rounds", "2"]


@pytest.fixture(scope="module")
def playout() -> ModuleType:
    return load("playout")


def test_a_short_run_reports_what_it_promises() -> None:
    """Barge-in, heard error and lead of each variant, the ratio to the reference, exit 0."""
    only = ["--only", "clear:200,cancel:200"]
    command = [sys.executable, str(BENCHMARK), *SHORT, *only, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert set(report["results"]) == {"clear 200", "cancel 200"}
    assert set(report["ratios"]) == {"cancel 200"}
    assert {"cpu", "cores", "python"} <= set(report["machine"])
    for result in report["results"].values():
        assert result["interruptions"] == 6
        for figure in ("barge_in_ms", "heard_error_ms", "lead_ms"):
            assert list(result[figure]) == ["p50", "p95", "p99", "max"]


def test_tables_open_with_what_they_do_not_show(
    playout: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report for people starts with its limits and ends with what was verified."""
    assert playout.main(["--calls", "2", "--rounds", "1", "--only", "clear:100"]) == 0
    before, tables = capsys.readouterr().out.split("\nmachine: ")
    assert "What this does NOT show" in before
    assert "barge-in, ms" in tables
    assert tables.splitlines()[-1] == "2 interruptions, every one verified"


# What an ear has to tell of two rounds: each clip heard for a second, cut, silence.


def told_of(playout: ModuleType, *clips: tuple[float, int, float]) -> object:
    """A call whose ear heard ``(start, level's round, seconds)``, and cuts behind each."""
    ear = Ear(8000)
    for start_s, round_, seconds in clips:
        samples = np.full(8000 * 2, playout.level_of(round_), np.int16)
        ear.feed(samples, start_s)
        ear.clear(start_s + seconds)
    return playout.Told("a", 100.0, ear.runs, len(clips), 0.2, 1.0)


def test_figures_are_what_the_ear_tells(playout: ModuleType) -> None:
    """Barge-in counts from the word to the silence; the error is what was claimed too much."""
    told = told_of(playout, (1.0, 0, 1.0), (3.0, 1, 0.5))
    cases = playout.cases_of(told, [(101.98, 0.99), (103.4, 0.40)], "clear")
    assert [case.barge_in for case in cases] == pytest.approx([20, 100])
    assert [case.heard_error for case in cases] == pytest.approx([10, 0], abs=1e-6)
    assert [case.gaps for case in cases] == [0, 0]


def test_a_gap_is_counted_and_not_heard(playout: ModuleType) -> None:
    """A clip that broke off in between is still one clip."""
    told = told_of(playout, (1.0, 0, 0.5), (2.0, 0, 0.5))._replace(n_cuts=1)  # type: ignore[attr-defined]  # typed as any module
    (case,) = playout.cases_of(told, [(102.4, 0.9)], "clear")
    assert (case.gaps, case.heard_error) == (1, pytest.approx(0, abs=1e-6))
    assert case.barge_in == pytest.approx(100)


@pytest.mark.parametrize(
    ("clips", "how", "reason"),
    [
        ([(1.0, 0, 1.0)], "clear", "1 clears came for 2"),
        ([(1.0, 0, 1.0), (3.0, 0, 1.0)], "clear", "1 clips were heard for 2"),
        ([(1.0, 0, 1.0), (3.0, 2, 1.0)], "clear", "clip 2 is heard mixed"),
        ([(1.0, 0, 1.0), (3.0, 1, 1.0)], "cancel", "2 clears came for 2"),
    ],
    ids=["a clear is missing", "heard after its end", "another clip", "a clear too many"],
)
def test_what_is_heard_wrongly_voids_the_run(
    playout: ModuleType, clips: list[tuple[float, int, float]], how: str, reason: str
) -> None:
    """The reason says what the ear heard."""
    with pytest.raises(playout.Failed, match=reason):
        playout.cases_of(told_of(playout, *clips), [(101.9, 0.9), (103.9, 0.9)], how)


def test_the_lead_is_what_waits_at_the_far_end(playout: ModuleType) -> None:
    """Messages queue behind one another; a clear empties the queue."""
    at_s, lengths_s = [1.0, 1.0, 1.5, 1.52], [0.1, 0.1, 0.1, 0.1]
    assert playout._lead_s(at_s, lengths_s, []) == pytest.approx(0.2)
    assert playout._lead_s([1.0, 1.05], [0.3, 0.1], [1.04]) == pytest.approx(0.3)
    assert playout._lead_s([1.0, 1.05], [0.3, 0.3], []) == pytest.approx(0.55)


def test_a_server_that_does_not_start_voids_the_run(
    playout: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its last words are the reason."""
    monkeypatch.setenv("MEDIASERVER_MAX_CALLS", "none at all")
    assert playout.main([*SHORT, "--only", "clear:100", "--json"]) == 1
    assert "wrong setting" in capsys.readouterr().err


def test_check_holds_clear_to_its_bound_and_nothing_else(playout: ModuleType) -> None:
    """A p95 of 40 ms is too much, but for what does not clear."""
    slow, quick = ({"barge_in_ms": {"p95": p95}} for p95 in (40.0, 39.9))
    report = {"results": {"clear 100": quick, "clear 200": slow, "cancel 200": slow}}
    assert playout.verdict(report) == ["clear 200: p95 of barge-in is 40.0 ms"]


@pytest.mark.parametrize("flags", [["--rounds", "0"], ["--rounds", "99"], ["--only", "hush:1"]])
def test_wrong_flags_are_refused(playout: ModuleType, flags: list[str]) -> None:
    """With exit code 2, before anything runs."""
    with pytest.raises(SystemExit, match="2"):
        playout.main(flags)
