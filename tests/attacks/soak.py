"""Soak: calls of all codecs that end in every way, for long, and what the server holds of them.

    python -m tests.attacks.soak --minutes 30 --calls 60

The server is a process of its own, started by its command line, with workers; the fake Telnyx
and the callers are here. Every few seconds each process of the server writes down what it
holds, behind a garbage collection and ``malloc_trim``. Judged are

- the slope of the memory that Python and C code hold, over the last two thirds of the time;
- descriptors, threads, tasks and the objects of a call, which must be behind the last call
  what they were before the first.

The slope of resident memory is told beside it. What it has more is free space between objects:
it is as large as the busiest moment made it, grows by arenas of 1 MiB, and goes up when the
machine gives the server more time, and so more calls at once.

``--trace 8`` has tracemalloc name the lines that grow; it makes all slower and larger, so its
slopes are not the server's.

What this does not show: latency, and anything about how many calls a core carries.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from mediaserver.carrier.line import CONNECT_ERRORS
from mediaserver.carrier.rest.api import FakeTelnyx
from mediaserver.carrier.rest.faults import RateLimit
from mediaserver.carrier.rest.habits import Habits
from mediaserver.carrier.rest.webhooks import WebhookFaults
from tests.attacks.soakcalls import KINDS, SECRET, World, plan_for
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
ALLOWED_MB_PER_MIN = 0.05
JUDGED_FROM_MIN = 6.0
"""A shorter run ends before the memory has found its level: its slope is told, not judged."""
WARM_UP_S = 6.0
QUIET_WITHIN_S = 90.0
LOOK_WITHIN_S = 300.0  # tracemalloc's snapshots take long
POOLED_MOST = 32
"""What the control client's pool may keep of connections that Telnyx has closed: httpx has 20."""
SAME = ("tasks", "descriptors", "threads", "objects")

Census = dict[str, Any]


@dataclass
class Soak:
    """What is run.

    Attributes:
        minutes: how long.
        calls: at once.
        workers: of the server.
        trace: frames that tracemalloc keeps of each allocation; 0: it is off.
        every_s: between two looks.
        pace: how long calls are, as a part of what they are in a long run.
        folder: for what the server and its processes write.
    """

    folder: Path
    minutes: float = 30.0
    calls: int = 60
    workers: int = 2
    trace: int = 0
    every_s: float = 15.0
    pace: float = 1.0
    samples: dict[int, list[tuple[float, Census]]] = field(default_factory=dict)
    done: Counter[str] = field(default_factory=Counter)

    async def run(self) -> dict[str, Any]:
        """Run it; the report, in which ``failures`` is empty if all is well."""
        port = free_port()
        habits = Habits(plan_for=plan_for, answer_after_s=0.05)
        faults = WebhookFaults(copies=2, scatter_s=0.05)
        limit = RateLimit(limit=100_000)
        async with AsyncExitStack() as stack:
            fake = FakeTelnyx(habits=habits, webhook_faults=faults, rate_limit=limit)
            await stack.enter_async_context(fake)
            fake.webhook_url = f"http://127.0.0.1:{port}/webhooks/telnyx"
            server = await self._start(port, fake)
            stack.push_async_callback(_end, server)
            world = World(fake, f"ws://127.0.0.1:{port}/media", self.pace)
            await self._churn(world, WARM_UP_S, "warm-up")
            before = await self._quiet(port, server.pid)
            self.samples.clear()
            await self._churn(world, self.minutes * 60, "soak", watch=server.pid)
            after = await self._quiet(port, server.pid, before)
        return self._report(before, after)

    async def _start(self, port: int, fake: FakeTelnyx) -> asyncio.subprocess.Process:
        config = self.folder / "soak.toml"
        config.write_text(_config(self, port, fake))
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "SOAK_FOLDER": str(self.folder),
            "SOAK_TRACE": str(self.trace),
        }
        command = (sys.executable, "-m", "tests.attacks.soak_server", "serve", "--config")
        log = (self.folder / "server.log").open("wb")
        server = await asyncio.create_subprocess_exec(
            *command, str(config), cwd=ROOT, env=environment, stdout=log, stderr=log
        )
        log.close()
        async with asyncio.timeout(60):
            while await _calls(port) is None:
                if server.returncode is not None:
                    raise RuntimeError((self.folder / "server.log").read_text()[-2000:])
                await asyncio.sleep(0.1)
        return server

    async def _churn(
        self, world: World, seconds: float, seed: str, *, watch: int | None = None
    ) -> None:
        """So many calls at once, each followed by another, until the time is over."""
        until = time.monotonic() + seconds
        slots = [
            asyncio.create_task(self._slot(world, until, f"{seed} {number}"))
            for number in range(self.calls)
        ]
        began = time.monotonic()
        while watch is not None and time.monotonic() < until:
            await asyncio.sleep(min(self.every_s, max(0.0, until - time.monotonic())))
            for pid, found in (await self._look(watch)).items():
                self.samples.setdefault(pid, []).append((time.monotonic() - began, found))
                _tell(pid, time.monotonic() - began, found)
            for file in self.folder.glob("recordings/*"):
                file.unlink(missing_ok=True)
        await asyncio.gather(*slots)

    async def _slot(self, world: World, until: float, seed: str) -> None:
        dice = random.Random(seed)
        await asyncio.sleep(dice.uniform(0, 1))
        kinds = list(KINDS)
        dice.shuffle(kinds)
        for kind in itertools.cycle(kinds):
            if time.monotonic() >= until:
                return
            try:
                await KINDS[kind](world, dice)
                self.done[kind] += 1
            except (*CONNECT_ERRORS, TimeoutError) as error:  # a call that has ended: 401
                self.done[f"{kind}: {type(error).__name__}"] += 1

    async def _look(self, parent: int) -> dict[int, Census]:
        """A census of each process of the server."""
        pids = [parent, *_workers(parent)]
        for pid in pids:
            os.kill(pid, signal.SIGUSR1)
        found: dict[int, Census] = {}
        async with asyncio.timeout(LOOK_WITHIN_S):
            while len(found) < len(pids):
                for file in self.folder.glob("*-*.json"):
                    found[int(file.stem.partition("-")[0])] = json.loads(file.read_text())
                    file.unlink()
                await asyncio.sleep(0.05)
        return found

    async def _quiet(
        self, port: int, parent: int, as_before: dict[int, Census] | None = None
    ) -> dict[int, Census]:
        """What is held once no call is left, and then, if that can be, what was held before."""
        until = time.monotonic() + QUIET_WITHIN_S
        while (await _calls(port)) != 0 and time.monotonic() < until:  # noqa: ASYNC110  # it is asked
            await asyncio.sleep(0.2)
        found = await self._look(parent)
        while time.monotonic() < until and (
            _differences(as_before, found)
            if as_before is not None
            else any(any(each["objects"].values()) for each in found.values())
        ):
            await asyncio.sleep(2.0)
            found = await self._look(parent)
        return found

    def _report(self, before: dict[int, Census], after: dict[int, Census]) -> dict[str, Any]:
        resident = {pid: _slope(samples, "rss_kib") for pid, samples in self.samples.items()}
        held = {pid: _slope(samples, "held_kib") for pid, samples in self.samples.items()}
        failures = _differences(before, after)
        if self.minutes >= JUDGED_FROM_MIN and not self.trace:
            failures += [
                f"{pid} holds {slope:.3f} MB/min more"
                for pid, slope in held.items()
                if slope >= ALLOWED_MB_PER_MIN
            ]
        return {
            "minutes": self.minutes,
            "calls": dict(sorted(self.done.items())),
            "n_calls": sum(self.done.values()),
            "held_mb_per_min": {pid: round(slope, 4) for pid, slope in held.items()},
            "resident_mb_per_min": {pid: round(slope, 4) for pid, slope in resident.items()},
            "rss_kib": {
                p: [before[p]["rss_kib"], after[p]["rss_kib"]] for p in after if p in before
            },
            "grown_types": {pid: _grown(before.get(pid), each) for pid, each in after.items()},
            "grown_lines": {pid: each["traced"] for pid, each in after.items() if each["traced"]},
            "failures": failures,
        }


def _config(soak: Soak, port: int, fake: FakeTelnyx) -> str:
    """The server's settings file; what it holds are strings, numbers and truth values."""
    values: dict[str, Any] = {
        "port": port,
        "public_url": f"http://127.0.0.1:{port}",
        "workers": soak.workers,
        "auth_token": SECRET,
        "api_key": fake.api_key,
        "api_base_url": fake.base_url,
        "public_keys": fake.public_key,
        "answer": True,
        "auto_restart": True,
        "state_file": str(soak.folder / "state.sqlite"),
        "reconnect_grace_s": 1.0,
        "handler_grace_s": 1.0,
        "on_error": "hangup",
        "log_level": "error",
        "processors": "tests.attacks.soakbots:restless",
    }
    bots = ROOT / "tests/server/bots.py"
    offers = [
        ("echo", "echo", {}),
        ("record", "record", {"directory": str(soak.folder / "recordings")}),
        ("swallows", "tests.attacks.soakbots:swallows", {}),
        ("Faulty", f"{bots}:Faulty", {}),
        ("Unmade", f"{bots}:Unmade", {}),
    ]
    lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    for alias, name, parameters in offers:
        lines += ["[[offer]]", f'alias = "{alias}"', f"name = {json.dumps(name)}"]
        lines += [f"parameters.{key} = {json.dumps(value)}" for key, value in parameters.items()]
    return "\n".join(lines) + "\n"


async def _calls(port: int) -> int | None:
    """Live calls, as the server's health says; None where it does not answer."""
    with suppress(httpx.HTTPError):
        async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
            answer = await client.get(f"http://127.0.0.1:{port}/healthz")
            calls: int = answer.json()["calls"]
            return calls
    return None


async def _end(server: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        server.terminate()
        with suppress(TimeoutError):
            await asyncio.wait_for(server.wait(), 30)
            return
        server.kill()
    await server.wait()


def _workers(pid: int) -> list[int]:
    """The child processes."""
    found: list[int] = []
    for each in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # that thread has ended meanwhile
            found += map(int, each.read_text().split())
    return sorted(found)


def _slope(samples: list[tuple[float, Census]], of: str) -> float:
    """MB a minute over the last two thirds of the samples; 0 for fewer than four.

    It is the median of the slopes between any two of them (Theil and Sen): what grows steadily
    has it, and a step, as a moment of a busy machine makes it, does not move it.
    """
    judged = [(at / 60, each[of] / 1024) for at, each in samples if at >= samples[-1][0] / 3]
    if len(judged) < 4:
        return 0.0
    return statistics.median(
        (more - less) / (later - sooner)
        for (sooner, less), (later, more) in itertools.combinations(judged, 2)
    )


def _differences(before: dict[int, Census], after: dict[int, Census]) -> list[str]:
    """Of what there is more than before, process by process."""
    if before.keys() != after.keys():
        return [f"processes were {sorted(before)} and are {sorted(after)}"]
    left = [
        f"{pid}: {each['left_by_peer']} connections left by their peers"
        for pid, each in after.items()
        if each["left_by_peer"] > POOLED_MOST
    ]
    return left + [
        f"{pid}: {what} were {before[pid][what]} and are {after[pid][what]}"
        for pid in before
        for what in SAME
        if _is_more(before[pid][what], after[pid][what])
    ]


def _is_more(before: Any, after: Any) -> bool:
    """Whether there is more of anything; connections that idled before may have gone since."""
    if isinstance(after, int):
        return bool(after > before)
    return bool(Counter(after) - Counter(before))


def _grown(before: Census | None, after: Census) -> dict[str, int]:
    """The types of which there are most more than before."""
    then = (before or {}).get("types", {})
    more = Counter({name: n - then.get(name, 0) for name, n in after["types"].items()})
    return {name: n for name, n in more.most_common(10) if n > 0}


def _tell(pid: int, at_s: float, found: Census) -> None:
    n_tasks = sum(found["tasks"].values())
    print(
        f"{at_s:7.1f} s  {pid}  rss {found['rss_kib'] / 1024:7.2f} MB"
        f"  held {found['held_kib'] / 1024:6.2f} MB  blocks {found['blocks']}"
        f"  descriptors {found['descriptors']}  tasks {n_tasks}  threads {len(found['threads'])}",
        flush=True,
    )


def main() -> int:
    """Run it by the command line; 1 where something grows or stays."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--calls", type=int, default=60, help="at once")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--trace", type=int, default=0, help="frames that tracemalloc keeps")
    parser.add_argument("--every", type=float, default=15.0, help="seconds between two looks")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(
            Path(folder), given.minutes, given.calls, given.workers, given.trace, given.every
        )
        report = asyncio.run(soak.run())
    print(json.dumps(report, indent=1))
    return 1 if report["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
