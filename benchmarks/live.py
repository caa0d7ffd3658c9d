"""What the live page costs a server: with nobody looking, one viewer, many listeners.

One server with `echo` carries paced calls of another process. In turns nobody looks, one viewer
has the page open (overview, table and levels), and so many listen in to a call each. The server's
CPU is the scheduler's own account of it.

What this does NOT show
  - what the page costs the browser;
  - how late a listener hears: `make browser ARGS="-s"` prints that;
  - small figures on a busy machine: compare the turns of one run.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.parts import command, servers
from mediaserver.bench import accounting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TOKEN = "listen"
VIEWER_MAX = 3.0
SMALLEST = {"calls": 2, "listeners": 1, "seconds": 0.2, "repeats": 1}


async def _swallow(client: httpx.AsyncClient, path: str) -> None:
    async with client.stream("GET", path) as answer:
        answer.raise_for_status()
        async for _ in answer.aiter_raw():
            pass


@asynccontextmanager
async def _looking(url: str, paths: list[str]) -> AsyncIterator[None]:
    limits = httpx.Limits(max_connections=None)
    fields = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(
        base_url=url, headers=fields, timeout=30, limits=limits, trust_env=False
    ) as client:
        tasks = [asyncio.create_task(_swallow(client, path)) for path in paths]
        try:
            yield
        finally:
            ended = [task.exception() for task in tasks if task.done()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert not ended, ended


async def _live(url: str) -> list[str]:
    """The ids of the live calls."""
    fields = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(base_url=url, headers=fields, trust_env=False) as client:
        told = (await client.get("/calls?live=yes")).json()
    return [call["summary"]["call_id"] for call in told["calls"]]


async def _cores(pid: int, seconds: float) -> float:
    """How much of a core the server takes."""
    await asyncio.sleep(min(1.0, seconds))  # the turn before has ended
    began, spent = time.monotonic(), accounting.spent_ns(pid)
    await asyncio.sleep(seconds)
    return (accounting.spent_ns(pid) - spent) / 1e9 / (time.monotonic() - began)


async def measure(pid: int, port: int, args: argparse.Namespace) -> dict[str, list[float]]:
    """Percent of a core in each turn."""
    url = f"http://127.0.0.1:{port}"
    lasts_s = args.repeats * 3 * (args.seconds + 1.5) + 15
    load = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mediaserver", "simulate", f"--url=ws://127.0.0.1:{port}/media"),
        *(f"--calls={args.calls}", f"--seconds={lasts_s}", "--figures-only"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(60):
            while len(ids := await _live(url)) < args.calls:
                await _cores(pid, 0.1)
        listens = [f"/live/calls/{each}/listen" for each in ids[: args.listeners]]
        turns = {"nobody": [], "one viewer": ["/live/feed"], "listeners": listens}
        found: dict[str, list[float]] = {turn: [] for turn in turns}
        for _ in range(args.repeats):
            for turn, paths in turns.items():
                async with _looking(url, paths):
                    found[turn].append(100 * await _cores(pid, args.seconds))
    finally:
        if load.returncode is None:
            load.kill()
            await load.wait()
    return found


def run_all(args: argparse.Namespace) -> command.Report:
    """All turns against one server."""
    port = servers.free_port()
    line = [sys.executable, "-m", "mediaserver", "serve", f"--port={port}", "--processor=echo"]
    tokens = {"MEDIASERVER_ADMIN_TOKEN": "admin", "MEDIASERVER_LISTEN_TOKEN": TOKEN}
    launch = servers.Launch(line, {**tokens, "MEDIASERVER_LOG_LEVEL": "warning"})
    with servers.serving("server", launch, lambda _: servers.listens(port)) as (pid, _):
        found = asyncio.run(measure(pid, port, args))
    return {"machine": command.machine(), "percent_of_a_core": found}


def _more(report: command.Report, turn: str) -> float:
    """By how much a turn costs more than nobody, of the turns beside each other.

    A machine's pace changes within a run.
    """
    found = report["percent_of_a_core"]
    return statistics.median(a - b for a, b in zip(found[turn], found["nobody"], strict=True))


def print_report(report: command.Report) -> None:
    """The table, for people."""
    print("\npercent of a core  median      min      max     more")
    for turn, each in report["percent_of_a_core"].items():
        figures = statistics.median(each), min(each), max(each), _more(report, turn)
        print(f"  {turn:<15}" + "".join(f"{figure:9.2f}" for figure in figures))


def verdict(report: command.Report) -> list[str]:
    """What ``--check`` finds wrong."""
    more = _more(report, "one viewer")
    return [f"one viewer costs {more:.1f} % of a core"] if more > VIEWER_MAX else []


def main(argv: list[str] | None = None) -> int:
    """Run as the command line says; 0, or 1 if ``--check`` found fault."""
    parser = command.parser(__doc__, SMALLEST)
    command.add_report_flags(parser, f"one viewer costs more than {VIEWER_MAX} % of a core")
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--listeners", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each turn")
    parser.add_argument("--repeats", type=int, default=10)
    script = command.Script("live", __doc__, run_all, print_report, verdict)
    return command.run(script, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
