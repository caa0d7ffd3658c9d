"""What the live page costs a server: with nobody looking, one viewer, many listeners.

One server with `echo` carries paced calls of another process. In turns nobody looks, one viewer
has the page open (overview, table and levels), and so many listen in to a call each. The server's
CPU is the scheduler's own account of it. Then as many calls as there are listeners are placed, by
turns with nobody listening and with a listener on each: what do they lose?

What this does NOT show
  - what the page costs the browser;
  - how late a listener hears: `make browser ARGS="-s"` prints that;
  - small figures on a busy machine: compare the turns of one run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.parts import command, servers
from mediaserver.bench import accounting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TOKEN = "listen"
VIEWER_MAX = 3.0
HARM_CALLS_S, HARM_TURNS = 10.0, 3
SMALLEST = {"calls": 2, "listeners": 1, "seconds": 0.2, "repeats": 1, "harm_seconds": 0.5}


async def _swallow(client: httpx.AsyncClient, path: str) -> None:
    async with client.stream("GET", path) as answer:
        answer.raise_for_status()
        async for _ in answer.aiter_raw():
            pass


@asynccontextmanager
async def _looking(
    url: str, paths: list[str], *, to_their_end: bool = False
) -> AsyncIterator[None]:
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
            assert not any(ended), ended
            assert to_their_end or not ended


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


async def _harmed(port: int, args: argparse.Namespace, *, heard: bool) -> dict[str, float]:
    """What the calls lost, and their p99; with a listener on each of them, or without."""
    url = f"http://127.0.0.1:{port}"
    load = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mediaserver", "simulate", f"--url=ws://127.0.0.1:{port}/media"),
        *(f"--calls={args.listeners}", f"--seconds={args.harm_seconds}", "--figures-only"),
        *("--expect-echo", "--json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    async with asyncio.timeout(60 + args.harm_seconds):
        # No event tells of another process's calls.
        while len(ids := await _live(url)) < args.listeners:  # noqa: ASYNC110 (as said above)
            await asyncio.sleep(0.05)
        paths = [f"/live/calls/{quote(each, safe='')}/listen" for each in ids]
        async with _looking(url, paths if heard else [], to_their_end=True):
            told, _ = await load.communicate()
    found = json.loads(told)["summary"]
    return {"lost": found["lost"], "p99_ms": found["round_trip_ms"]["p99"]}


async def harm(port: int, args: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """By turns without listeners and with them."""
    found: dict[str, list[dict[str, float]]] = {"nobody": [], "listeners": []}
    for _ in range(min(HARM_TURNS, args.repeats)):
        found["nobody"].append(await _harmed(port, args, heard=False))
        found["listeners"].append(await _harmed(port, args, heard=True))
    return found


def run_all(args: argparse.Namespace) -> command.Report:
    """All turns against one server."""
    port = servers.free_port()
    line = [sys.executable, "-m", "mediaserver", "serve", f"--port={port}", "--processor=echo"]
    tokens = {"MEDIASERVER_ADMIN_TOKEN": "admin", "MEDIASERVER_LISTEN_TOKEN": TOKEN}
    launch = servers.Launch(line, {**tokens, "MEDIASERVER_LOG_LEVEL": "warning"})
    with servers.serving("server", launch, lambda _: servers.listens(port)) as (pid, _):
        found = asyncio.run(measure(pid, port, args))
    # Another server: the calls of the first are ended behind their grace.
    with servers.serving("server", launch, lambda _: servers.listens(port)):
        harmed = asyncio.run(harm(port, args))
    return {"machine": command.machine(), "percent_of_a_core": found, "harm": harmed}


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
    print("\ncalls with           lost   p99 ms")
    for turn, each in report["harm"].items():
        lost, p99_ms = _lost_and_p99(each)
        print(f"  {turn:<15}{lost:8.0f}{p99_ms:9.2f}")


def _lost_and_p99(turns: list[dict[str, float]]) -> tuple[float, float]:
    p99_ms = statistics.median(turn["p99_ms"] for turn in turns)
    return sum(turn["lost"] for turn in turns), p99_ms


def verdict(report: command.Report) -> list[str]:
    """What ``--check`` finds wrong."""
    more, wrong = _more(report, "one viewer"), []
    if more > VIEWER_MAX:
        wrong.append(f"one viewer costs {more:.1f} % of a core")
    (lost, p99_ms), (lost_alone, p99_alone_ms) = (
        _lost_and_p99(report["harm"][turn]) for turn in ("listeners", "nobody")
    )
    if lost > lost_alone:
        wrong.append(f"listened calls lost {lost:.0f} frames, without listeners {lost_alone:.0f}")
    if p99_ms > max(1.25 * p99_alone_ms, p99_alone_ms + 3):
        wrong.append(f"listened calls: p99 {p99_ms:.1f} ms, without listeners {p99_alone_ms:.1f}")
    return wrong


def main(argv: list[str] | None = None) -> int:
    """Run as the command line says; 0, or 1 if ``--check`` found fault."""
    parser = command.parser(__doc__, SMALLEST)
    command.add_report_flags(
        parser, f"one viewer costs > {VIEWER_MAX} % of a core, or listeners harm calls"
    )
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--listeners", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each turn")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--harm-seconds", type=float, default=HARM_CALLS_S)
    script = command.Script("live", __doc__, run_all, print_report, verdict)
    return command.run(script, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
