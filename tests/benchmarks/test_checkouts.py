from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.benchmarks.scripts import ROOT, load

OTHER_SERVER = "raise SystemExit('the server of the other checkout')"


@pytest.fixture(scope="module")
def compare() -> ModuleType:
    return load("checkouts")


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A checkout whose server only says that it is the other one's."""
    for package in ("mediaserver", "codecs/telephony_codecs"):
        (tmp_path / package).mkdir(parents=True)
        (tmp_path / package / "__init__.py").touch()
    (tmp_path / "mediaserver/__main__.py").write_text(OTHER_SERVER)
    return tmp_path


@pytest.mark.parametrize(
    ("new", "line"),
    [
        ([2.1, 1.9, 2.2], "no slower beyond the spread: median a/b 2.10, +5.0% on old's median"),
        ([2.2, 2.2, 9.0], "no slower beyond the spread"),
        ([2.0, 2.42, 2.5], "slower: median a/b 2.42 is 0.22 (10.0%) above old's largest 2.20"),
    ],
    ids=["within", "at the limit", "beyond"],
)
def test_the_median_is_held_to_the_largest_of_the_old_state(
    compare: ModuleType, new: list[float], line: str
) -> None:
    """Slower is what has a median above all runs of the old state; the line says by how much."""
    verdicts = compare.compare({"old": {"a/b": [1.8, 2.0, 2.2]}, "new": {"a/b": new}})
    assert list(verdicts) == ["new"]
    assert verdicts["new"]["line"].startswith(f"new: {line}")
    assert verdicts["new"]["slower"] == line.startswith("slower")


@pytest.fixture
def order(compare: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The states in the order they were measured; each costs as much as its place in the list."""
    measured: list[str] = []

    def measure(state: Any, _: object) -> dict[str, Any]:
        measured.append(state.title)
        ratio = float(len(set(measured)))
        return {
            "machine": {"server_python": "3"},
            "summary": {"ratios": {"a/b": {"median": ratio}}},
            "runs": {"a": [{"cpu_us_per_frame": 10 * ratio, "waited_for_core": 0.0}]},
        }

    monkeypatch.setattr(compare, "measure", measure)
    return measured


def test_states_take_turns(compare: ModuleType, order: list[str]) -> None:
    """Old, new, old, new: what changes on the machine meanwhile meets both."""
    assert compare.main(["--runs", "2"]) == 0
    assert order == ["old", "new", "old", "new"]


@pytest.mark.parametrize(("flags", "code"), [([], 0), (["--check"], 1)])
def test_only_check_fails_for_a_slower_state(
    compare: ModuleType,
    order: list[str],
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    code: int,
) -> None:
    """The table says it in any case; the exit code is 1 with ``--check``."""
    assert compare.main(["--runs", "1", *flags]) == code
    told = capsys.readouterr()
    assert "new: slower: median a/b 2.00 is 1.00 (100.0%) above old's largest 1.00" in told.out
    assert ("checkouts: new: slower" in told.err) == bool(code)
    assert order == ["old", "new"]


def test_what_is_missing_of_two_is_this_checkout(compare: ModuleType, tmp_path: Path) -> None:
    """It runs with the interpreter that runs the script, others with their own."""
    own = tmp_path / ".venv/bin/python"
    own.parent.mkdir(parents=True)
    own.touch()
    old, new = compare.states_of([tmp_path], None)
    assert old == ("old", tmp_path, own)
    assert new == ("new", ROOT, Path(sys.executable))
    given = compare.states_of([tmp_path, tmp_path, ROOT], Path("python"))
    assert [state.title for state in given] == ["old", "new 1", "new 2"]
    assert {state.python for state in given} == {Path("python")}


def test_a_checkout_without_an_environment_wants_an_interpreter(
    compare: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reason names the way out."""
    assert compare.main([str(tmp_path), "--smallest"]) == 1
    assert "has no .venv: build it there, or give --python" in capsys.readouterr().err


def test_the_server_is_that_of_the_checkout(
    compare: ModuleType, other: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its own code runs, although the interpreter has this checkout's installed."""
    assert compare.main([str(other), "--python", sys.executable, "--smallest"]) == 1
    assert "the server of the other checkout" in capsys.readouterr().err


def without_codecs(checkout: Path) -> str:
    (checkout / "codecs").rename(checkout / "elsewhere")
    return f"telephony_codecs is not in {checkout}"


def without_folder(checkout: Path) -> str:
    checkout.rename(checkout.with_name("moved"))
    return "does not run in"


@pytest.mark.parametrize("spoil", [without_codecs, without_folder])
def test_code_from_elsewhere_voids_the_run(
    other: Path, spoil: Callable[[Path], str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is measured under a name that is not its own."""
    reason = spoil(other)
    assert load("frame_cost").main(["--smallest", "--server-dir", str(other)]) == 1
    assert reason in capsys.readouterr().err


def test_no_runs_are_refused(compare: ModuleType) -> None:
    """With exit code 2, before anything runs."""
    with pytest.raises(SystemExit, match="2"):
        compare.main(["--runs", "0"])
