"""CPU of an echoed 20 ms PCMU frame inside an ASGI host, beside that of the own listener.

  o  mediaserver serve --processor echo
  u  the same as an ASGI application under uvicorn, with its faster WebSocket layer and uvloop
  h  the same under hypercorn

All carry the same paced load from another process in one run, interleaved; every reply is
verified. The server's CPU is the scheduler's own account of it, over the steady window only.

What this does NOT show
  - how a host behaves with other routes beside, or with TLS;
  - the cost of processors, other codecs, recording;
  - anything on a busy machine; compare ratios, not figures.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.parts import command, servers
from benchmarks.parts.command import Failed

PARTS = Path(__file__).resolve().parent / "parts"
TITLES = {"o": "own listener", "u": "ASGI, uvicorn", "h": "ASGI, hypercorn"}
U_TO_O_MAX = 4.0
SMALLEST = {"calls": 2, "repeats": 1, "seconds": 0.4, "warmup": 0.1}
PATIENT = {"MEDIASERVER_BACKLOG_MS": "5000", "MEDIASERVER_CATCH_UP": "false"}


def _line(key: str, port: int) -> list[str]:
    if key == "o":
        return [sys.executable, "-m", "mediaserver", "serve", f"--port={port}", "--processor=echo"]
    host = "uvicorn" if key == "u" else "hypercorn"
    return [sys.executable, str(PARTS / "asgi_host.py"), host, str(port)]


def measure(key: str, args: argparse.Namespace) -> dict[str, Any]:
    """One run against a fresh server.

    Raises:
        Failed: no server, or a reply was wrong.
    """
    port = servers.free_port()
    launch = servers.Launch(_line(key, port), PATIENT)
    with servers.serving(TITLES[key], launch, lambda _: servers.listens(port)) as (pid, _):
        client = [sys.executable, str(PARTS / "load_client.py")]
        client += [f"--port={port}", f"--pid={pid}", *command.load_flags(args)]
        done = subprocess.run(client, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"{TITLES[key]}: {done.stderr.strip()}")
    run: dict[str, Any] = json.loads(done.stdout)
    return run


def run_all(args: argparse.Namespace) -> command.Report:
    """Each once per repeat, in turn."""
    about = command.machine()
    runs: dict[str, list[dict[str, Any]]] = {key: [] for key in TITLES}
    for repeat in range(args.repeats):
        for key, found in runs.items():
            found.append(measure(key, args))
            cost = found[-1]["cpu_us_per_frame"]
            print(f"repeat {repeat + 1}/{args.repeats}  {key}  {cost:7.2f} µs", file=sys.stderr)
    costs = {key: [run["cpu_us_per_frame"] for run in found] for key, found in runs.items()}
    ratios = {
        f"{key}/o": [cost / own for cost, own in zip(costs[key], costs["o"], strict=True)]
        for key in ("u", "h")
    }
    late = {
        key: statistics.median(run["latency_ms"]["p99"] for run in found)
        for key, found in runs.items()
    }
    return {"machine": about, "cpu_us_per_frame": costs, "ratios": ratios, "p99_ms": late}


def print_report(report: command.Report) -> None:
    """The tables, for people."""
    print("\nCPU, µs per frame in and out    median      min      max   p99 ms")
    for key, found in report["cpu_us_per_frame"].items():
        print(f"  {key}  {TITLES[key]:<23}{_spread(found)}{report['p99_ms'][key]:9.2f}")
    for name, found in report["ratios"].items():
        print(f"  {name}, pair by pair{'':<10}{_spread(found)}")
    print("\nevery reply verified")


def _spread(values: list[float]) -> str:
    figures = statistics.median(values), min(values), max(values)
    return "".join(f"{figure:9.2f}" for figure in figures)


def verdict(report: command.Report) -> list[str]:
    """What ``--check`` finds wrong."""
    median = statistics.median(report["ratios"]["u/o"])
    return [f"u/o is {median:.2f}, above {U_TO_O_MAX}"] if median > U_TO_O_MAX else []


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = command.parser(__doc__, SMALLEST)
    command.add_load_flags(parser)
    command.add_report_flags(parser, f"u/o > {U_TO_O_MAX} (median)")
    parser.add_argument("--repeats", type=int, default=5)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run as the command line says; 0, or 1 if a reply was wrong or ``--check`` found fault."""
    script = command.Script("asgi", __doc__, run_all, print_report, verdict)
    return command.run(script, _arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
