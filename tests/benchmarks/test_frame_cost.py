from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.benchmarks.scripts import ROOT, load

SCRIPT = ROOT / "benchmarks/frame_cost.py"
SHORT = ["--calls", "4", "--repeats", "1", "--seconds", "0.6", "--warmup", "0.2"]

# A byte echo whose tenth answer differs from what it got; {wrong} says how.
WRONG_ECHO = """
import socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    peer = listener.accept()[0]
    answered = 0
    while data := peer.recv(65536):
        answered += 1
        peer.sendall({wrong} if answered == 10 else data)
"""


@pytest.fixture
def frame_cost() -> ModuleType:
    return load("frame_cost")


def test_report_holds_cost_ratio_and_latency_of_each_variant() -> None:
    """A short run of the floor and the usual server exits 0 and reports what it promises."""
    command = [sys.executable, str(SCRIPT), *SHORT, "--only", "b,c", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    summary = report["summary"]
    assert set(summary["cpu_us_per_frame"]) == set(summary["latency_ms"]) == {"b", "c"}
    assert set(summary["ratios"]) == {"c/b"}
    assert set(summary["ratios"]["c/b"]) == {"median", "q1", "q3", "min", "max"}
    assert {"cpu", "cores", "python"} <= set(report["machine"])
    for run in (*report["runs"]["b"], *report["runs"]["c"]):
        assert run["frames"] > 0
        assert run["cpu_us_per_frame"] > 0
        assert set(run["latency_ms"]) == {"p50", "p95", "p99"}


def test_tables_open_with_what_they_do_not_show() -> None:
    """The report for people starts with its limits and ends with where CPU time came from."""
    command = [sys.executable, str(SCRIPT), *SHORT, "--only", "b"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    before, tables = done.stdout.split("\nmachine: ")
    assert "What this does NOT show" in before
    assert "bare uvloop socket" in tables
    assert "every reply verified" in tables.splitlines()[-1]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("data[:-1] + bytes([data[-1] ^ 1])", "changed or out of order"),
        ("data + b'more'", "more came back than was sent"),
        ("b''", "changed or out of order"),
        ("peer.close() or b''", "connection lost"),
    ],
    ids=["changed", "surplus", "lost", "cut"],
)
def test_wrong_reply_voids_the_run(
    frame_cost: ModuleType,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    wrong: str,
    reason: str,
) -> None:
    """A server that answers one frame wrongly makes the run exit 1 and say how."""
    script = tmp_path / "wrong_echo.py"
    script.write_text(WRONG_ECHO.format(wrong=wrong))
    frame_cost.VARIANTS["b"] = frame_cost.Variant(
        "wrong", lambda port: [sys.executable, str(script), str(port)], raw=True
    )
    # The server accepts one peer at a time: one call, and the probe before it.
    short = ["--calls", "1", *SHORT[2:], "--only", "b"]
    assert frame_cost.main(short) == 1
    assert reason in capfd.readouterr().err


def test_server_that_does_not_start_voids_the_run(
    frame_cost: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    """A server that exits at once is reported with its exit code and last words."""
    frame_cost.VARIANTS["b"] = frame_cost.Variant(
        "absent", lambda _port: [sys.executable, "-c", "raise SystemExit('no such thing')"]
    )
    assert frame_cost.main([*SHORT, "--only", "b"]) == 1
    assert "(exit code 1): no such thing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("ratios", "lines"),
    [
        ({"a/b": 3.0, "c/a": 2.7}, 0),
        ({"a/b": 3.1, "c/a": 2.7}, 1),
        ({"a/b": 3.1, "c/a": 2.6}, 2),
        ({}, 0),
    ],
)
def test_check_holds_the_medians_to_their_bounds(
    frame_cost: ModuleType, ratios: dict[str, float], lines: int
) -> None:
    """``--check`` objects once per median ratio beyond its bound."""
    medians = {name: {"median": value} for name, value in ratios.items()}
    assert len(frame_cost.verdict(medians)) == lines


def test_ratios_are_taken_pair_by_pair(frame_cost: ModuleType) -> None:
    """A repeat's ratio compares the runs of that repeat, so common noise cancels."""

    def runs(*costs: float) -> list[dict[str, Any]]:
        none: dict[str, dict[str, float]] = {"latency_ms": {}, "client_late_ms": {}}
        return [{"cpu_us_per_frame": cost, **none} for cost in costs]

    ratios = frame_cost.summarise({"a": runs(20, 60, 40), "b": runs(10, 30, 20)})["ratios"]
    assert ratios["a/b"] == {"median": 2, "q1": 2, "q3": 2, "min": 2, "max": 2}
