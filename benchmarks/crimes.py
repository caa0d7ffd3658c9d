"""Twelve crimes of plugins: what they do to the calls beside them.

Of N isolated echo calls one has a plugin that commits a crime some frames after its start:
``alone`` with a processor host for each call (12 calls), ``shared`` with eight calls a host (50).
Each run has a twin without the crime, by turns. For each crime:

  lost      frames that the calls of other hosts lost (must be 0)
  harmed    calls of the same host that lost frames (shared; at most 7), and how many of them
            had their echo again two seconds later
  p99       round trip of the unharmed, ms, and that of the twin: medians of the runs
  named     the server's log names file and line of what blocked, ms after it began

What this does NOT show
  - crimes against the kernel: what fills a disk, or the memory of the whole machine;
  - anything on a busy machine: the p99 of two runs differs there without any crime. Compare the
    two columns of one line.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.parts import command, servers
from benchmarks.parts.command import Failed
from benchmarks.parts.crimes import BLOCKING, CRIMES
from mediaserver.carrier import CallPlan, CallReport, place_call

CRIMES_FILE = Path(__file__).resolve().parent / "parts/crimes.py"
SETTINGS = {
    "MEDIASERVER_BACKLOG_MS": "5000",
    "MEDIASERVER_CATCH_UP": "false",
    "MEDIASERVER_HOST_SILENT_S": "1",
    "MEDIASERVER_HOST_MEMORY_MB": "256",
    "MEDIASERVER_HANDLER_GRACE_S": "0.5",
}
CALLS = {"alone": (12, 1), "shared": (50, 8)}
SMALLEST = {"repeats": 1, "seconds": 3.0, "only": ["Exits"], "cases": ["alone"]}
BACK_WITHIN_S = 2.0
CRIME_AT_S = 1.0
BEGIN_EVERY_S = 0.03
NAMED_WITHIN_MS = 300.0

Row = dict[str, Any]


def _launch(port: int, calls_per_host: int, names: list[str]) -> servers.Launch:
    line = ["serve", "--port", str(port), "--processor", "echo", "--isolate"]
    line += ["--calls-per-host", str(calls_per_host), "--on-error", "end"]
    for name in names:
        line += ["--offer", f"{CRIMES_FILE}:{name}"]
    return servers.Launch([sys.executable, "-m", "mediaserver", *line], SETTINGS)


async def _place(url: str, n_calls: int, crime: str, seconds: float) -> list[CallReport]:
    """The good calls' reports; the criminal comes a second later, to a host that has room.

    The good calls begin one after the other: all at once they would wait for the start of seven
    hosts, and without ``catch_up`` keep that delay to their end, with a crime and without.
    """
    # A plan has the ids of one call: each call has its own.
    plans = [CallPlan(seconds=seconds, linger_s=5.0) for _ in range(n_calls - 1)]
    begin = [_later(n * BEGIN_EVERY_S, place_call(url, plan)) for n, plan in enumerate(plans)]
    others = asyncio.gather(*begin)
    if crime:
        await asyncio.sleep(n_calls * BEGIN_EVERY_S + CRIME_AT_S)
        culprit = CallPlan(seconds=seconds - CRIME_AT_S)
        await place_call(f"{url}?processor={CRIMES_FILE}:{crime}", culprit)
    return await others


async def _later(after_s: float, call: Awaitable[CallReport]) -> CallReport:
    await asyncio.sleep(after_s)
    return await call


def run_once(case: str, crime: str, args: argparse.Namespace) -> Row:
    """One run against a fresh server.

    Raises:
        Failed: no server.
    """
    n_calls, calls_per_host = CALLS[case]
    port = servers.free_port()
    with tempfile.TemporaryFile("w+") as log:
        launch = _launch(port, calls_per_host, [crime] if crime else [])
        environment = {**os.environ, **launch.environment}
        server = subprocess.Popen(launch.command, stderr=log, env=environment)
        try:
            _wait_for(log.fileno(), server)
            url = f"ws://127.0.0.1:{port}/media"
            # What is measured is the server: no garbage collection of the callers' holds them up.
            gc.collect()
            gc.disable()
            reports = asyncio.run(_place(url, n_calls, crime, args.seconds))
            text = _text(log.fileno())
        finally:
            gc.enable()
            server.terminate()
            server.wait(30)
    # A call goes to the fullest host that has room, and they came one by one: the last share one
    # with the criminal. They may be harmed; all others may not.
    n_elsewhere = len(reports) - (n_calls - 1) % calls_per_host
    elsewhere, mates = reports[:n_elsewhere], reports[n_elsewhere:]
    harmed = [report for report in mates if report.lost]
    trips = [float(trip) for report in elsewhere for trip in report.round_trips_ms]
    return {
        "harmed": len(harmed),
        "back": sum(report.lost * 0.02 <= BACK_WITHIN_S for report in harmed),
        "lost_elsewhere": sum(report.lost for report in elsewhere),
        "p99_ms": statistics.quantiles(trips, n=100)[98],
        "named_ms": _named_ms(text),
    }


def _named_ms(text: str) -> float | None:
    """When the log named a line of the crimes, in ms behind the beginning of the stall."""
    found = re.search(r"held up, (\d+) ms so far, by processor \S+crimes\.py.*crimes\.py:\d+", text)
    if found:
        return float(found[1])
    # Of one that is slow with each frame: four of them.
    found = re.search(r"takes up to ([\d.]+) ms for a frame.*crimes\.py:\d+", text)
    return 4 * float(found[1]) if found else None


def _wait_for(log: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + servers.READY_S
    while "ready on" not in _text(log):
        if time.monotonic() > deadline or server.poll() is not None:
            raise Failed(f"the server was not ready: {_text(log)[-500:]}")
        time.sleep(0.05)


def _text(log: int) -> str:
    return os.pread(log, 4 << 20, 0).decode(errors="replace")


def measure_all(args: argparse.Namespace) -> dict[str, Any]:
    """Every crime, by turns with a run without one."""
    table: dict[str, dict[str, Row]] = {}
    for case in args.cases:
        for crime in args.only:
            runs, twins = [], []
            for _ in range(args.repeats):
                twins.append(run_once(case, "", args))
                runs.append(run_once(case, crime, args))
            named = [run["named_ms"] for run in runs if run["named_ms"] is not None]
            row = {
                "lost_elsewhere": sum(run["lost_elsewhere"] for run in runs),
                "harmed": max(run["harmed"] for run in runs),
                "back": min(run["back"] - run["harmed"] for run in runs) == 0,
                "p99_ms": statistics.median(run["p99_ms"] for run in runs),
                "twin_p99_ms": statistics.median(run["p99_ms"] for run in twins),
                "twin_lost": sum(run["lost_elsewhere"] for run in twins),
                "named_ms": max(named) if named else None,
            }
            table.setdefault(case, {})[crime] = row
            print(f"{case} {crime}: {row}", file=sys.stderr)
    return {"machine": command.machine(), "table": table}


def show(report: dict[str, Any]) -> None:
    """The table, for people."""
    for case, rows in report["table"].items():
        print(f"\n{case:<20} lost  harmed  back   p99 ms  without   named")
        for crime, row in rows.items():
            named = "" if row["named_ms"] is None else f"{row['named_ms']:.0f} ms"
            back = "yes" if row["back"] else "no"
            print(
                f"  {crime:<18}{row['lost_elsewhere']:5}{row['harmed']:8}  {back:<4}"
                f"{row['p99_ms']:9.1f}{row['twin_p99_ms']:9.1f}   {named}"
            )


def verdict(report: dict[str, Any]) -> list[str]:
    """What ``--check`` finds wrong, a line each."""
    wrong = []
    for case, rows in report["table"].items():
        for crime, row in rows.items():
            if row["lost_elsewhere"]:
                wrong.append(f"{case} {crime}: others lost {row['lost_elsewhere']} frames")
            if not row["back"]:
                wrong.append(f"{case} {crime}: a call was not back within {BACK_WITHIN_S:.0f} s")
            if row["p99_ms"] > max(1.25 * row["twin_p99_ms"], row["twin_p99_ms"] + 3):
                wrong.append(f"{case} {crime}: p99 {row['p99_ms']:.1f} ms")
            if crime in BLOCKING and (row["named_ms"] is None or row["named_ms"] > NAMED_WITHIN_MS):
                wrong.append(f"{case} {crime}: not named within {NAMED_WITHIN_MS:.0f} ms")
    return wrong


def _crimes(text: str) -> list[str]:
    chosen = text.split(",")
    if unknown := set(chosen) - set(CRIMES):
        raise argparse.ArgumentTypeError(f"no crime {', '.join(sorted(unknown))}")
    return chosen


def main(argv: list[str] | None = None) -> int:
    """Run as the command line says; 0, or 1 if ``--check`` found fault."""
    parser = command.parser(__doc__, SMALLEST)
    command.add_report_flags(parser, "a call beside the criminal is harmed")
    parser.add_argument("--seconds", type=float, default=6.0, help="length of the calls")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cases", nargs="+", default=list(CALLS), choices=list(CALLS))
    parser.add_argument("--only", type=_crimes, default=list(CRIMES), help="such as Spins,Exits")
    script = command.Script("crimes", __doc__, measure_all, show, verdict)
    return command.run(script, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
