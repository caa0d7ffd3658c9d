"""What `benchmarks/compare.py` and `benchmarks/capacity.py` make of what they measured."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks.parts import rungs
from mediaserver.bench.figures import Knee, Load, Report, Rung, ServerCost
from tests.benchmarks.scripts import ROOT, load


@pytest.fixture(scope="module")
def compare() -> ModuleType:
    return load("compare")


def rung(cost: float, n_calls: int = 50) -> Rung:
    times = dict.fromkeys(("p50", "p95", "p99", "p99.9", "max"), 1.0)
    return Rung(
        n_calls=n_calls,
        n_up=n_calls,
        outcome="good",
        why=[],
        sent=10,
        returned=10,
        wrong=0,
        refused=0,
        late=0,
        problems={},
        round_trip_ms=times,
        lateness_ms=times,
        generator_percent=1.0,
        server=ServerCost(cpu_us_per_frame=cost, waited_percent=3.0),
        histogram=[],
    )


def report(n_calls: int) -> Report:
    return Report(
        machine={},
        load=Load(url=""),
        server="",
        baseline=rung(1),
        rungs=[],
        knee=Knee(n_calls, "server"),
        took_s=1.0,
    )


def test_each_bound_is_held(compare: ModuleType) -> None:
    """Knees by the C server's, the tutorials' and pipecat's; ours/floor over the loads."""
    knees = {"ours": 480, "c": 800, "websockets": 160, "fastapi": 100, "pipecat": 40}
    reports = {key: report(n_calls) for key, n_calls in knees.items()}
    loads = {
        50: {"ours": [rung(20)], "floor": [rung(10)], "c": [rung(10)]},
        500: {"ours": [rung(24)], "floor": [rung(10)], "c": [rung(10)]},
    }
    assert compare.wrong(reports, loads) == []
    assert compare.flatness(loads) == pytest.approx(1.2)
    loads[500]["ours"] = [rung(26)]
    assert compare.wrong(reports, loads) == ["ours/floor: the largest is 1.30 times the smallest"]
    reports["ours"] = report(400)
    assert len(compare.wrong(reports, loads)) == 4


def test_a_cheap_frame_stands_for_a_knee_that_the_generator_hides(compare: ModuleType) -> None:
    """Either is enough."""
    loads = {500: {"ours": [rung(21)], "c": [rung(10)]}}
    knees = {"ours": report(400), "c": report(900)}
    assert compare.wrong(knees, loads) == []
    loads[500]["ours"] = [rung(23)]
    assert "2.30 of its" in compare.wrong(knees, loads)[0]


def test_what_cannot_be_made_is_not_available(compare: ModuleType, tmp_path: Path) -> None:
    """One line says why; what is there already is not made again."""
    wanted = tmp_path / "wanted.txt"
    wanted.write_text("--no-such-option\n")
    assert compare.environment(tmp_path / "own", wanted)
    (tmp_path / "own").mkdir(exist_ok=True)
    (tmp_path / "own/made-of.txt").write_text("--no-such-option\n")
    assert compare.environment(tmp_path / "own", wanted) is None


def test_every_peer_has_its_source_and_what_it_needs(compare: ModuleType) -> None:
    """Pinned, by names and versions."""
    for key in set(compare.KEYS) - {"ours", "floor", "c", "websockets"}:
        assert (ROOT / f"benchmarks/peers/{key}_echo.py").is_file()
        lines = (ROOT / f"benchmarks/peers/{key}_echo.txt").read_text().splitlines()
        assert lines
        assert all("==" in line for line in lines)


def test_the_c_server_compiles_without_a_warning(tmp_path: Path) -> None:
    """Where there is a compiler."""
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler here")
    line = ["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(tmp_path / "echo")]
    source = str(ROOT / "benchmarks/peers/echo.c")
    done = subprocess.run([*line, source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_table_says_where_it_comes_from() -> None:
    """Date, commit, machine and the command, without the place that it was written to."""
    about = dict.fromkeys(
        ("date", "commit", "cpu", "cores", "system", "python", "load_before"), "x"
    )
    given = ["--only", "ours", "--markdown", "dist/a.md", "--markdown=b.md"]
    line = rungs.repeat_by("compare", given)
    assert line == "python benchmarks/compare.py --only ours"
    assert line in rungs.origin(about, line)
    assert rungs.table(["a", "b"], [["1", "long"]]) == [
        "| a | b    |",
        "| - | ---- |",
        "| 1 | long |",
    ]


def test_a_page_keeps_what_is_written_by_hand(tmp_path: Path) -> None:
    """Only what is in the script's place is replaced, as often as it is measured."""
    page = tmp_path / "page.md"
    begin, end = "<!-- measured by benchmarks/compare.py -->\n", "<!-- end of compare -->"
    page.write_text(f"before\n{begin}old\n{end}\nafter\n")
    for text in ("one", "two"):
        rungs.show("compare", [text], page)
    assert page.read_text() == f"before\n{begin}\ntwo\n\n{end}\nafter\n"
    rungs.show("capacity", ["alone"], tmp_path / "new.md")
    assert (tmp_path / "new.md").read_text() == "alone\n"


def test_ratios_are_of_pairs() -> None:
    """And have their quartiles."""
    ratio = rungs.ratio([rung(10), rung(30), rung(20)], [rung(10), rung(10), rung(10)])
    assert ratio == {"median": 2.0, "q1": 1.5, "q3": 2.5}
    assert rungs.cell(ratio) == "2.0 (1.5–2.5)"
    assert rungs.cell(rungs.spread([None])) == "–"
