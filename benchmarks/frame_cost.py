"""CPU per echoed 20 ms PCMU frame, in and out: our server between a floor and a usual one.

  a  mediaserver serve --processor echo
  b  a bare uvloop socket echo: no WebSocket, no JSON (the floor)
  c  websockets on plain asyncio with json, base64, audioop (what one writes first)
  d  (only where asked for) as a, but with poll_ms 0: every frame handled by itself
  e  (only where asked for) as a, over TLS 1.3: compare it with d, as TLS is not read together

All carry the same paced load from another process in one run, interleaved; every
reply is verified (all audio back, bit for bit, in order). The server's CPU is the
scheduler's own account of it, over the steady window only. The calls' phases are spread over
the 20 ms and each frame arrives by itself, as from unrelated calls; ``--tick-ms 1`` sends
the frames of a millisecond together, as an event loop's timers would. Ours runs with a
backlog limit of 5 s, not 0.2 s: a stall of a busy machine then shows as latency, where it
would drop frames. With so many calls ours looks for frames every two or three milliseconds and
takes them together (setting poll_ms): that is in its latency below.

What this does NOT show
  - the carrier's side, TLS handshakes, a real network, loss or jitter;
  - the cost of processors, other codecs, resampling, recording;
  - how many calls a core carries (latency under overload is another question);
  - kernel time of loopback TCP spent in softirq context, which lands on whoever runs;
  - anything on a busy machine: a server that falls behind finds several frames at each
    wake-up, which makes (c) above all look cheap; see "was the machine quiet" at the end;
  - absolute figures worth quoting: those are this machine's, today. Compare ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.parts import command, servers
from benchmarks.parts.command import Failed

PARTS = Path(__file__).resolve().parent / "parts"
A_TO_B_MAX = 3.0
C_TO_A_MIN = 2.7
SMALLEST = {"calls": 4, "repeats": 1, "seconds": 0.3, "warmup": 0.1, "only": list("abcde")}


@dataclass(frozen=True)
class Variant:
    """A server to measure."""

    title: str
    command: Callable[[int], list[str]]
    """The command line that makes it listen on a port."""
    tls: bool = False
    raw: bool = False
    """It returns bytes as they come, and speaks no WebSocket."""
    environment: Mapping[str, str] = field(default_factory=dict)
    ours: bool = False
    """``--server-dir`` and ``--server-python`` say whose code it runs."""


def _script(name: str) -> Callable[[int], list[str]]:
    return lambda port: [sys.executable, str(PARTS / name), str(port)]


def _mediaserver(port: int) -> list[str]:
    serve = ["serve", "--port", str(port), "--processor", "echo"]
    return [sys.executable, "-m", "mediaserver", *serve]


PATIENT = {"MEDIASERVER_BACKLOG_MS": "5000", "MEDIASERVER_CATCH_UP": "false"}
VARIANTS = {
    "a": Variant("mediaserver", _mediaserver, environment=PATIENT, ours=True),
    "b": Variant("bare uvloop socket", _script("echo_socket.py"), raw=True),
    "c": Variant("websockets+json", _script("echo_tutorial.py")),
    "d": Variant(
        "mediaserver, poll_ms 0",
        _mediaserver,
        environment={**PATIENT, "MEDIASERVER_POLL_MS": "0"},
        ours=True,
    ),
    "e": Variant(
        "mediaserver, TLS", _script("tls_server.py"), tls=True, environment=PATIENT, ours=True
    ),
}
RATIOS = {
    "a/b": ("a", "b"),
    "c/a": ("c", "a"),
    "c/b": ("c", "b"),
    "d/a": ("d", "a"),
    "e/a": ("e", "a"),
}

Run = dict[str, Any]


def _launch(variant: Variant, port: int, args: argparse.Namespace) -> servers.Launch:
    """How to start a variant: ours with the code and the interpreter that were asked for."""
    line, environment = variant.command(port), variant.environment
    if not variant.ours:
        return servers.Launch(line, environment)
    line = [str(args.server_python), *line[1:]]
    if args.server_dir is None:
        return servers.Launch(line, environment)
    own = servers.of_checkout(args.server_dir)
    return servers.Launch(line, {**environment, **own}, args.server_dir)


def measure(variant: Variant, args: argparse.Namespace) -> Run:
    """One run against a fresh server.

    Raises:
        Failed: no server, or a reply was wrong.
    """
    port = servers.free_port()
    launch = _launch(variant, port, args)
    with servers.serving(variant.title, launch, lambda _: servers.listens(port)) as (pid, _):
        client = [sys.executable, str(PARTS / "load_client.py"), *(["--raw"] * variant.raw)]
        client += ["--tls"] * variant.tls
        client += [f"--port={port}", f"--pid={pid}", *command.load_flags(args)]
        done = subprocess.run(client, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"{variant.title}: {done.stderr.strip()}")
    run: Run = json.loads(done.stdout)
    return run


def spread(values: list[float]) -> dict[str, float]:
    """Median, quartiles and extremes."""
    low, high = (
        statistics.quantiles(values, n=4, method="inclusive")[::2]
        if len(values) > 1
        else values * 2
    )
    return {
        "median": statistics.median(values),
        "q1": low,
        "q3": high,
        "min": min(values),
        "max": max(values),
    }


def summarise(runs: dict[str, list[Run]]) -> dict[str, Any]:
    """Spread of cost per variant, of each ratio pair by pair, and median latencies."""
    cost = {key: [run["cpu_us_per_frame"] for run in found] for key, found in runs.items()}
    return {
        "cpu_us_per_frame": {key: spread(values) for key, values in cost.items()},
        "ratios": {
            name: spread([over / under for over, under in zip(cost[top], cost[base], strict=True)])
            for name, (top, base) in RATIOS.items()
            if top in cost and base in cost
        },
        "latency_ms": {key: _median_of(found, "latency_ms") for key, found in runs.items()},
        "client_late_ms": {key: _median_of(found, "client_late_ms") for key, found in runs.items()},
    }


def _median_of(runs: list[Run], name: str) -> dict[str, float]:
    return {rank: statistics.median(run[name][rank] for run in runs) for rank in runs[0][name]}


def print_report(report: dict[str, Any]) -> None:
    """The tables, for people."""
    summary, runs = report["summary"], report["runs"]
    columns = "".join(f"{name:>9}" for name in ("median", "q1", "q3", "min", "max"))
    print(f"\nCPU, µs per frame in and out{'':<4}{columns}")
    for key, row in summary["cpu_us_per_frame"].items():
        print(f"  {key}  {VARIANTS[key].title:<27}" + "".join(f"{row[n]:9.2f}" for n in row))
    print(f"\nratio, pair by pair{'':<13}{columns}")
    for name, row in summary["ratios"].items():
        print(f"  {name:<30}" + "".join(f"{row[n]:9.2f}" for n in row))
    print("\nlatency from when a frame was due, ms (in it: the client's own lateness)")
    for key, row in summary["latency_ms"].items():
        late = summary["client_late_ms"][key]
        print(f"  {key}  " + "   ".join(f"{n} {row[n]:7.2f} ({late[n]:.2f})" for n in row))
    print("\nwas the machine quiet? worst of the repeats")
    for key, found in runs.items():
        pace, waited = min(r["pace"] for r in found), max(r["waited_for_core"] for r in found)
        print(f"  {key}  waited for a core {waited:6.1%} of the time   answered {pace:6.1%}")
    print(f"\nCPU from {next(iter(runs.values()))[0]['cpu_source']}; every reply verified")


def verdict(ratios: dict[str, dict[str, float]]) -> list[str]:
    """What ``--check`` finds wrong with the median ratios, a line each."""
    wrong = []
    if "a/b" in ratios and ratios["a/b"]["median"] > A_TO_B_MAX:
        wrong.append(f"a/b is {ratios['a/b']['median']:.2f}, above {A_TO_B_MAX}")
    if "c/a" in ratios and ratios["c/a"]["median"] < C_TO_A_MIN:
        wrong.append(f"c/a is {ratios['c/a']['median']:.2f}, below {C_TO_A_MIN}")
    return wrong


def _judge(report: dict[str, Any]) -> list[str]:
    return verdict(report["summary"]["ratios"])


def run_all(args: argparse.Namespace) -> dict[str, Any]:
    """Every variant once per repeat, in turn; the whole report as JSON-ready data."""
    about = command.machine()
    if args.server_dir is not None:
        about["server_python"] = servers.python_of(args.server_python, args.server_dir)
    runs: dict[str, list[Run]] = {key: [] for key in args.only}
    for repeat in range(args.repeats):
        for key in args.only:
            run = measure(VARIANTS[key], args)
            runs[key].append(run)
            print(
                f"repeat {repeat + 1}/{args.repeats}  {key}"
                f"  {run['cpu_us_per_frame']:7.2f} µs/frame  p99 {run['latency_ms']['p99']:.2f} ms"
                f"  waited for a core {run['waited_for_core']:.1%}",
                file=sys.stderr,
            )
    settings = {name: getattr(args, name) for name in (*command.LOAD, "repeats")}
    return {"machine": about, "settings": settings, "summary": summarise(runs), "runs": runs}


def _variants(text: str) -> list[str]:
    chosen = text.split(",")
    if unknown := set(chosen) - set(VARIANTS):
        raise argparse.ArgumentTypeError(f"no variant {', '.join(sorted(unknown))}")
    return chosen


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = command.parser(__doc__, SMALLEST)
    command.add_load_flags(parser)
    command.add_report_flags(parser, f"a/b > {A_TO_B_MAX} or c/a < {C_TO_A_MIN} (medians)")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--only", type=_variants, default=["a", "b", "c"], help="such as b,c")
    parser.add_argument(
        "--server-dir", type=servers.absolute, help="the checkout whose server is a and d"
    )
    parser.add_argument(
        "--server-python",
        type=servers.absolute,
        default=Path(sys.executable),
        help="the interpreter that runs a and d",
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run as the command line says; 0, or 1 if a reply was wrong or ``--check`` found fault."""
    script = command.Script("frame_cost", __doc__, run_all, print_report, _judge)
    return command.run(script, _arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
