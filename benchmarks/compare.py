"""How many calls, beside what one would pick instead? Knee, CPU a frame, memory, p99.

  ours        mediaserver serve --processor echo
  floor       a bare uvloop socket echo: no WebSocket, no JSON
  c           one thread with epoll in C: unmask, JSON, base64, µ-law and back (peers/echo.c)
  websockets  websockets on plain asyncio with json, base64, audioop (what one writes first)
  fastapi     FastAPI under uvicorn on uvloop, with json, base64, audioop
  aiohttp     aiohttp on uvloop, with json, base64, audioop: no tutorial begins with uvloop
  picows      picows on uvloop, with msgspec, pybase64, audioop
  pipecat     a pipecat echo bot: FastAPI transport, Telnyx serializer, one processor

All get the same load: real speech in PCMU, paced at 20 ms on a schedule that waits for nothing,
every reply compared with what was sent. First the knee of each: the most calls with all audio
back and p99 at most 20 ms above that of a few calls. Then equal loads in turns, for CPU a frame,
p99 and memory; ratios are taken pair by pair. Their sources are in benchmarks/peers. Each of the
last four runs in an environment of its own, which is made in .peers the first time (pip). The
whole takes 35 to 50 minutes; it says so when it begins, and how long it took when it ends.

What this does NOT show
  - what the others do beside an echo: pipecat carries whole conversations, and only ours has
    order, pacing, marks, limits, metrics;
  - TLS, other codecs, processors: see benchmarks/capacity.py;
  - a real network, or a machine with more cores: here the generator has one, the server the other;
  - anything on a busy machine: see "waited for a core";
  - absolute figures worth quoting: those are this machine's, today. Compare ratios.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.parts import command, rungs
from benchmarks.parts.rungs import ROOT, Subject
from mediaserver.bench import capacity
from mediaserver.bench.figures import Report, Rung

PARTS, PEERS = ROOT / "benchmarks/parts", ROOT / "benchmarks/peers"
KEYS = ("ours", "floor", "c", "websockets", "fastapi", "aiohttp", "picows", "pipecat")
TUTORIALS = ("websockets", "fastapi")
TITLES = {"ours": "mediaserver", "floor": "bare socket echo", "c": "C, epoll"}
# Trying far more calls than these carry would take long, and show nothing.
MOST = {"pipecat": 160, "websockets": 700, "fastapi": 700, "aiohttp": 900}
C_KNEE_PART, C_COST_RATIO = 0.6, 2.2
TUTORIAL_RATIO, PIPECAT_RATIO, FLATNESS = 3.0, 12.0, 1.25
SMALLEST = {
    "only": ["ours", "floor", "c", "websockets"],
    "loads": [4],
    "repeats": 1,
    "seconds": 0.3,
    "warmup": 0.1,
    "knees": False,
}


def subjects_of(
    args: argparse.Namespace, folder: Path
) -> tuple[dict[str, Subject], dict[str, str]]:
    """What is to be measured, and what is not available, with the reason."""
    there: dict[str, Subject] = {}
    missing: dict[str, str] = {}
    for key in args.only:
        made = _subject(key, args.environments, folder)
        if isinstance(made, str):
            missing[key] = made
            print(f"{key} is not available: {made}", file=sys.stderr)
        else:
            there[key] = made
    return there, missing


def _subject(key: str, environments: Path, folder: Path) -> Subject | str:
    title, most = TITLES.get(key, key), MOST.get(key, 100_000)
    if key == "ours":
        return rungs.ours(title=title)
    if key == "floor":
        script = PARTS / "echo_socket.py"
        return rungs.foreign(title, lambda port: _python(script, port), scheme="tcp")
    if key == "websockets":
        script = PARTS / "echo_tutorial.py"
        return rungs.foreign(title, lambda port: _python(script, port), most=most)
    if key == "c":
        binary = folder / "echo"
        problem = _ran(["cc", "-O2", "-o", str(binary), str(PEERS / "echo.c")])
        return problem or rungs.foreign(title, lambda port: [str(binary), str(port)])
    script, own = PEERS / f"{key}_echo.py", environments / key
    problem = environment(own, script.with_suffix(".txt"))
    if problem:
        return problem
    interpreter = str(own / "bin/python")
    return rungs.foreign(title, lambda port: [interpreter, str(script), str(port)], most=most)


def _python(script: Path, port: int) -> list[str]:
    return [sys.executable, str(script), str(port)]


def environment(own: Path, wanted: Path) -> str | None:
    """Make an environment with what a peer needs, unless it is there; what went wrong."""
    done = own / "made-of.txt"
    text = wanted.read_text()
    if done.exists() and done.read_text() == text:
        return None
    print(f"making {own}", file=sys.stderr)
    install = [str(own / "bin/python"), "-m", "pip", "install", "--quiet", "-r", str(wanted)]
    problem = _ran([sys.executable, "-m", "venv", "--clear", str(own)]) or _ran(install)
    if problem is None:
        done.write_text(text)
    return problem


def _ran(line: list[str]) -> str | None:
    """What went wrong, in one line; None: nothing."""
    try:
        done = subprocess.run(line, capture_output=True, text=True, check=False)
    except OSError as error:
        return f"{line[0]}: {error.strerror}"
    said = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()
    return said[-1] if done.returncode else None


def run_all(args: argparse.Namespace) -> command.Report:
    """Knees, then equal loads."""
    began_s, about = time.monotonic(), capacity.machine()
    print(f"this takes about {estimate_min(args):.0f} minutes", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="bench-c-") as folder:
        subjects, missing = subjects_of(args, Path(folder))
        knees: dict[str, Report | str] = {}
        if args.knees:
            knees = {key: rungs.knee(each, args, args.max_calls) for key, each in subjects.items()}
        loads: dict[int, dict[str, list[Rung]]] = {}
        for n_calls in args.loads:
            fit = {
                key: each
                for key, each in subjects.items()
                if not args.knees or rungs.knee_of(knees[key]) >= n_calls
            }
            loads[n_calls] = rungs.in_turns(fit, args, n_calls)
    return {
        "machine": about,
        "knees": {key: rungs.as_data(each) for key, each in knees.items()},
        "loads": {
            str(n_calls): {key: rungs.summary(each) for key, each in found.items()}
            for n_calls, found in loads.items()
        },
        "ratios": {str(n_calls): ratios(found) for n_calls, found in loads.items()},
        "missing": missing,
        "lines": _lines(about, knees, loads, missing, args),
        "wrong": wrong(knees, loads),
        "took_s": time.monotonic() - began_s,
    }


def estimate_min(args: argparse.Namespace) -> float:
    """About how long it takes, without the making of environments."""
    each_s = args.seconds + args.warmup + 4
    knees_s = 14 * each_s * len(args.only) if args.knees else 0
    return float(knees_s + len(args.loads) * args.repeats * each_s * len(args.only) * 0.75) / 60


def ratios(found: dict[str, list[Rung]]) -> dict[str, Any]:
    """CPU a frame: each against ours, and ours against the floors."""
    pairs = [(key, "ours") for key in found if key not in ("ours", "floor", "c")]
    pairs += [("ours", base) for base in ("floor", "c")]
    return {
        f"{top}/{base}": rungs.ratio(found[top], found[base])
        for top, base in pairs
        if top in found and base in found
    }


def wrong(knees: dict[str, Report | str], loads: dict[int, dict[str, list[Rung]]]) -> list[str]:
    """What ``--check`` finds: each bound that does not hold, of those that were measured."""
    calls = {key: rungs.knee_of(each) for key, each in knees.items()}
    found = []
    mine = calls.get("ours", 0)
    if mine and calls.get("c", 0):
        part = mine / calls["c"]
        cost = _cost_by_c(loads)
        if part < C_KNEE_PART and (cost is None or cost > C_COST_RATIO):
            shown = "unknown" if cost is None else f"{cost:.2f}"
            found.append(f"the knee is {part:.2f} of the C server's, a frame's CPU {shown} of its")
    best = max((calls.get(key, 0) for key in TUTORIALS), default=0)
    if mine and best and mine < TUTORIAL_RATIO * best:
        found.append(f"the knee is {mine / best:.1f} times the best tutorial server's")
    if mine and calls.get("pipecat") and mine < PIPECAT_RATIO * calls["pipecat"]:
        found.append(f"the knee is {mine / calls['pipecat']:.1f} times pipecat's")
    flat = flatness(loads)
    if flat is not None and flat > FLATNESS:
        found.append(f"ours/floor: the largest is {flat:.2f} times the smallest")
    return found


def _cost_by_c(loads: dict[int, dict[str, list[Rung]]]) -> float | None:
    """Of the largest load that both carry."""
    both = [n for n, found in loads.items() if found.get("ours") and found.get("c")]
    if not both:
        return None
    found = loads[max(both)]
    ratio = rungs.ratio(found["ours"], found["c"])
    return None if ratio is None else ratio["median"]


def flatness(loads: dict[int, dict[str, list[Rung]]]) -> float | None:
    """The largest of ours/floor over the loads from 50 calls on, by the smallest."""
    medians = [
        ratio["median"]
        for n_calls, found in loads.items()
        if n_calls >= 50 and found.get("ours") and found.get("floor")
        if (ratio := rungs.ratio(found["ours"], found["floor"])) is not None
    ]
    return max(medians) / min(medians) if len(medians) > 1 else None


def _lines(
    about: dict[str, str],
    knees: dict[str, Report | str],
    loads: dict[int, dict[str, list[Rung]]],
    missing: dict[str, str],
    args: argparse.Namespace,
) -> list[str]:
    lines = [rungs.origin(about, rungs.repeat_by("compare", args.given)), ""]
    if knees:
        mine = rungs.knee_of(knees.get("ours"))
        rows = [
            [
                TITLES.get(key, key),
                rungs.knee_cell(each),
                f"{mine / rungs.knee_of(each):.1f} ×" if mine and rungs.knee_of(each) else "–",
            ]
            for key, each in knees.items()
        ]
        lines += [*rungs.table(["server", "knee, calls", "ours is"], rows), ""]
    for n_calls, found in loads.items():
        rows = [_row(key, found) for key in found]
        head = [f"{n_calls} calls", "CPU, µs a frame", "by ours", "p99, ms", "KB a call", "lost"]
        lines += [*rungs.table(head, rows), ""]
        for name, ratio in ratios(found).items():
            if name.startswith("ours/"):
                lines.append(f"{name} at {n_calls} calls: {rungs.cell(ratio, 2)}")
        lines.append("")
    lines.append(rungs.closing(each for found in loads.values() for each in found.values()))
    lines += [f"Not available: {key}: {reason}." for key, reason in missing.items()]
    return lines


def _row(key: str, found: dict[str, list[Rung]]) -> list[str]:
    told = rungs.summary(found[key])
    ratio = rungs.ratio(found[key], found["ours"]) if "ours" in found else None
    return [
        TITLES.get(key, key),
        rungs.cell(told["cpu_us_per_frame"]),
        rungs.cell(ratio, 2),
        rungs.cell(told["p99_ms"]),
        rungs.cell(told["memory_kb_per_call"], 0),
        str(told["lost"]),
    ]


def _keys(text: str) -> list[str]:
    chosen = text.split(",")
    if unknown := set(chosen) - set(KEYS):
        raise argparse.ArgumentTypeError(f"no server {', '.join(sorted(unknown))}")
    return chosen


def main(argv: list[str] | None = None) -> int:
    """Run as the command line says; 0, or 1 if the run is void or ``--check`` found fault."""
    parser = command.parser(__doc__, SMALLEST)
    rungs.add_flags(parser)
    command.add_report_flags(parser, "a bound of the issue on capacity does not hold")
    parser.add_argument("--only", type=_keys, default=list(KEYS), help="such as ours,c,picows")
    parser.add_argument("--loads", type=int, nargs="+", default=[30, 50, 150, 300, 500])
    parser.add_argument("--max-calls", type=int, default=900, help="to look for knees")
    parser.add_argument("--no-knees", dest="knees", action="store_false", help="equal loads only")
    parser.add_argument("--environments", type=Path, default=ROOT / ".peers", metavar="DIR")
    args = parser.parse_args(argv)
    args.given = sys.argv[1:] if argv is None else argv
    script = command.Script(
        "compare",
        __doc__,
        run_all,
        lambda report: _show(report, args.markdown),
        lambda report: list(report["wrong"]),
    )
    return command.run(script, args)


def _show(report: command.Report, markdown: Path | None) -> None:
    rungs.show("compare", report["lines"], markdown)
    print(f"\nevery reply verified; took {report['took_s'] / 60:.1f} minutes")


if __name__ == "__main__":
    sys.exit(main())
