"""Is this state slower than another commit? CPU per echoed frame of two or more checkouts.

    python benchmarks/checkouts.py ../old            # this checkout against that one
    python benchmarks/checkouts.py ../old ../new --runs 7 --check

The first checkout is the old state, each further one is judged against it. All are measured in
one sitting, by turns (old new old new …), with this checkout's frame_cost and load; a turn is
one run of ``mediaserver serve --processor echo`` (a) and one of the bare socket echo (b).
frame_cost says what those are, and verifies every reply. Judged is a/b: what makes the whole
machine slower for a while is in both.

  no slower beyond the spread   the median of its a/b is at most the largest of the old state's
  slower                        it is larger

Without a checkout, this one is compared with itself: that shows what chance alone does.
Each checkout's server runs in that checkout's own ``.venv``, this checkout's in the environment
that runs this script; ``--python`` names one for all, where they need the same packages.

What this does NOT show
  - small differences: a state that is slower by less than the old state's spread passes;
  - certainty: equal states come out as slower by chance, once in 5 times with 3 runs, in 12
    with 5, in 29 with 7. Repeat with more runs before you believe it;
  - what made the difference: the code, or other packages where the environments differ;
  - the cost of anything but the echo of PCMU, and all else that frame_cost does not show;
  - anything on a busy machine: see "waited for a core" at the end.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.parts import command, servers
from benchmarks.parts.command import Failed

ROOT = Path(__file__).resolve().parents[1]
SMALLEST = {"calls": 4, "runs": 1, "seconds": 0.3, "warmup": 0.1}


class State(NamedTuple):
    """A checkout, and the interpreter that runs its server."""

    title: str
    folder: Path
    python: Path


def states_of(folders: list[Path], python: Path | None) -> list[State]:
    """The states to compare; this checkout fills up what is missing of two.

    Raises:
        Failed: a checkout has no environment, and ``python`` is not given.
    """
    folders = [*folders, *[ROOT] * (2 - len(folders))]
    news = ["new"] if len(folders) == 2 else [f"new {n}" for n in range(1, len(folders))]
    return [
        State(title, folder, python or _python_in(folder))
        for title, folder in zip(["old", *news], folders, strict=True)
    ]


def _python_in(folder: Path) -> Path:
    if folder.resolve() == ROOT:
        return Path(sys.executable)
    python = folder / ".venv/bin/python"
    if not python.exists():
        raise Failed(f"{folder} has no .venv: build it there, or give --python")
    return python


def commit_of(folder: Path) -> str:
    """The commit a checkout is at, with ``-dirty`` if files were changed; "" if git has none."""
    line = ["git", "-C", str(folder), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(line, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()


def measure(state: State, args: argparse.Namespace) -> dict[str, Any]:
    """One turn of one state: frame_cost's report of one pair of runs.

    Raises:
        Failed: frame_cost did; its own words are in the text.
    """
    line = [sys.executable, str(ROOT / "benchmarks/frame_cost.py"), *command.load_flags(args)]
    line += ["--json", "--repeats=1", "--only=a,b"]
    line += [f"--server-dir={state.folder}", f"--server-python={state.python}"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"{state.title}: {done.stderr.strip()}")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def run_all(args: argparse.Namespace) -> dict[str, Any]:
    """Every state once per run, in turn; the report as JSON-ready data."""
    about = command.machine()
    states = states_of(args.checkouts, args.python)
    turns: dict[str, list[dict[str, Any]]] = {state.title: [] for state in states}
    for number in range(args.runs):
        for state in states:
            turn = measure(state, args)
            turns[state.title].append(turn)
            ratio = turn["summary"]["ratios"]["a/b"]["median"]
            print(f"run {number + 1}/{args.runs}  {state.title}  a/b {ratio:.2f}", file=sys.stderr)
    settings = {name: getattr(args, name) for name in (*command.LOAD, "runs")}
    found = {state.title: _result(state, turns[state.title]) for state in states}
    return {"machine": about, "settings": settings, "states": found, "verdicts": compare(found)}


def _result(state: State, turns: list[dict[str, Any]]) -> dict[str, Any]:
    runs = [turn["runs"]["a"][0] for turn in turns]
    return {
        "folder": state.folder.resolve().name,
        "commit": commit_of(state.folder),
        "python": turns[0]["machine"]["server_python"],
        "cpu_us_per_frame": [run["cpu_us_per_frame"] for run in runs],
        "a/b": [turn["summary"]["ratios"]["a/b"]["median"] for turn in turns],
        "waited_for_core": max(run["waited_for_core"] for run in runs),
    }


def compare(states: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Whether each state but the first is slower than the first, and a line that says so."""
    old, *news = ((title, state["a/b"]) for title, state in states.items())
    return {title: _verdict(title, ratios, old[1]) for title, ratios in news}


def _verdict(title: str, new: list[float], old: list[float]) -> dict[str, Any]:
    median, before, limit = statistics.median(new), statistics.median(old), max(old)
    change = f"{median / before - 1:+.1%} on old's median {before:.2f}"
    if median <= limit:
        line = f"{title}: no slower beyond the spread: median a/b {median:.2f}, {change}"
    else:
        line = (
            f"{title}: slower: median a/b {median:.2f} is {median - limit:.2f}"
            f" ({median / limit - 1:.1%}) above old's largest {limit:.2f}; {change}"
        )
    return {"slower": median > limit, "line": line}


def print_report(report: dict[str, Any]) -> None:
    """The table, for people: states side by side."""
    states = report["states"]
    print()
    for title, state in states.items():
        about = f"{state['folder']} {state['commit']}".strip()
        print(f"{title:<7} {about}, Python {state['python']}")
    print(f"\n{'':<10}" + "".join(f"{title:>20}" for title in states))
    print(f"{'':<10}" + f"{'a, µs/frame':>13}{'a/b':>7}" * len(states))
    columns = [state[name] for state in states.values() for name in ("cpu_us_per_frame", "a/b")]
    for number, row in enumerate(zip(*columns, strict=True), 1):
        _print_row(f"run {number}", list(row))
    for rank, of in (("min", min), ("median", statistics.median), ("max", max)):
        _print_row(rank, [of(column) for column in columns])
    waited = (f"{title} {state['waited_for_core']:.1%}" for title, state in states.items())
    print(f"\nthe server waited for a core, worst run: {', '.join(waited)}")
    if len({state["python"] for state in states.values()}) > 1:
        print("the interpreters differ: that alone can make a difference")
    for verdict in report["verdicts"].values():
        print(verdict["line"])


def _print_row(title: str, values: list[float]) -> None:
    widths = (13, 7) * (len(values) // 2)
    cells = (f"{value:{width}.2f}" for value, width in zip(values, widths, strict=True))
    print(f"  {title:<8}" + "".join(cells))


def slower(report: dict[str, Any]) -> list[str]:
    """What ``--check`` finds wrong, a line each."""
    return [verdict["line"] for verdict in report["verdicts"].values() if verdict["slower"]]


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("at least one run")
    return int(text)


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = command.parser(__doc__, SMALLEST)
    parser.add_argument(
        "checkouts", nargs="*", type=servers.absolute, help="the old state's folder, then new ones'"
    )
    command.add_load_flags(parser)
    command.add_report_flags(parser, "a state is slower than the first")
    parser.add_argument("--runs", type=_at_least_one, default=3, help="of each checkout")
    parser.add_argument(
        "--python", type=servers.absolute, help="runs all servers, and not each folder's .venv"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run as the command line says; 0, or 1 if the run is void or ``--check`` found fault."""
    script = command.Script("checkouts", __doc__, run_all, print_report, slower)
    return command.run(script, _arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
