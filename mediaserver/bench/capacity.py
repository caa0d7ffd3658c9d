"""How many calls a server carries. A rung is a run with a fixed number of calls.

a rung is   if
good        all calls came up, all audio came back, and its p99 is not more than 20 ms above
            that of a few calls
failed      it is not good, and the generator was in time
unknown     it is not good, and the generator was late or had no CPU time left: the delay
            may be its own
"""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import msgspec

from mediaserver.bench.figures import (
    LATE_MS,
    BenchError,
    Load,
    Outcome,
    Report,
    Rung,
    ServerCost,
    Window,
)
from mediaserver.bench.fleet import Fleet, Found
from mediaserver.bench.own_server import Meter, Watched
from mediaserver.bench.ramp import Climb

MORE_MS = 20.0
"""So much p99 may rise above the baseline."""
GENERATOR_LATE_MS = 5.0
GENERATOR_BUSY = 0.9
BASELINE_CALLS = 8
"""A few."""
BASELINE_S = 10.0
REST_S = 1.0
"""Between two rungs, so that what is left of the first is over."""
RECOVERY_S = 6.5
"""The same behind one that was too much: a server that sheds load takes calls again after 5 s."""
CPUINFO = Path("/proc/cpuinfo")
PACKAGES = ("mediaserver", "uvloop", "websockets", "msgspec", "numpy")


class Event(NamedTuple):
    """So many calls are being measured, as the n-th rung; 0 is the baseline."""

    n_calls: int
    number: int
    rung: Rung | None
    """Set when it is over."""


Tell = Callable[[Event], None]


class BaselineError(BenchError):
    """Not even a few calls are served well; the text says what is wrong."""


def find(server: Watched, load: Load, climb: Climb, n_processes: int, tell: Tell) -> Report:
    """Find the knee of a server.

    Args:
        server: to be measured; it has no other calls.
        load: each rung's.
        climb: says how many calls; a few come before.
        n_processes: of the generator.
        tell: told when a rung begins, and when it has ended.

    Raises:
        BaselineError: there is nothing to compare with.
        GeneratorError: the generator broke.
    """
    began_s = time.monotonic()
    with Fleet(n_processes) as fleet:
        few = min(BASELINE_CALLS, climb.next_calls or 1)
        short = msgspec.structs.replace(load, seconds=min(BASELINE_S, load.seconds))
        warm = msgspec.structs.replace(load, seconds=min(1.0, load.seconds))
        rung(fleet, warm, few, None)  # what is loaded once is loaded now
        tell(Event(few, 0, None))
        meter = Meter(server)
        baseline = rung(fleet, short, few, meter)
        if baseline.outcome != "good":
            raise BaselineError(
                f"a few calls ({few}) are not served well: {'; '.join(baseline.why)}"
            )
        tell(Event(few, 0, baseline))
        rungs = _climb(fleet, load, climb, meter, baseline, tell)
    return Report(
        machine=machine(),
        load=msgspec.structs.replace(load, token=None),
        server=server.title,
        baseline=baseline,
        rungs=rungs,
        knee=climb.knee,
        took_s=time.monotonic() - began_s,
    )


def _climb(
    fleet: Fleet, load: Load, climb: Climb, meter: Meter, baseline: Rung, tell: Tell
) -> list[Rung]:
    measured: list[Rung] = []
    base_ms = baseline.round_trip_ms["p99"]
    while (n_calls := climb.next_calls) is not None:
        tell(Event(n_calls, len(measured) + 1, None))
        time.sleep(REST_S if all(each.outcome == "good" for each in measured[-1:]) else RECOVERY_S)
        measured.append(rung(fleet, load, n_calls, meter, base_ms))
        climb.note(measured[-1].outcome)
        tell(Event(n_calls, len(measured), measured[-1]))
    return measured


def rung(
    fleet: Fleet,
    load: Load,
    n_calls: int,
    meter: Meter | None,
    base_ms: float | None = None,
) -> Rung:
    """Hold so many calls, and judge them; without ``base_ms`` p99 is not judged."""

    def in_window(window: Window) -> None:
        time.sleep(max(0.0, window.begin_s - time.monotonic()))
        if meter is not None:
            meter.begin()
        time.sleep(max(0.0, window.end_s - time.monotonic()))
        if meter is not None:
            meter.end()

    found = fleet.run(load, n_calls, in_window)
    cost = meter.cost(found.returned, found.n_up) if meter is not None else None
    return _judged(found, n_calls, cost, base_ms)


def _judged(found: Found, n_calls: int, cost: ServerCost | None, base_ms: float | None) -> Rung:
    round_trip, lateness = found.round_trips.percentiles_ms(), found.lateness.percentiles_ms()
    wrong = faults(found, n_calls)
    if base_ms is not None and round_trip["p99"] > base_ms + MORE_MS:
        more = round_trip["p99"] - base_ms
        wrong.append(f"p99 is {more:.0f} ms above that of a few calls, more than {MORE_MS:.0f}")
    outcome: Outcome = "good"
    if wrong:
        slow = too_slow(lateness["p99"], found.cpu_share)
        outcome = "unknown" if slow else "failed"
        wrong += slow
    return Rung(
        n_calls=n_calls,
        n_up=found.n_up,
        outcome=outcome,
        why=wrong,
        sent=found.sent,
        returned=found.returned,
        wrong=found.wrong,
        refused=found.refused,
        late=found.round_trips.above(LATE_MS),
        problems=found.problems,
        round_trip_ms=round_trip,
        lateness_ms=lateness,
        generator_percent=100 * found.cpu_share,
        server=cost or ServerCost(),
        histogram=found.round_trips.buckets_ms(),
    )


def faults(found: Found, n_calls: int) -> list[str]:
    """What is wrong with what came back, a few words each."""
    lost = found.sent - found.returned
    wrong = [
        *([f"{lost} of {found.sent} frames lost"] if lost else []),
        *([f"{found.wrong} replies wrong"] if found.wrong else []),
        *([f"{found.refused} calls refused"] if found.refused else []),
        *(f"{times} × {problem}" for problem, times in found.problems.items()),
    ]
    if found.n_up < n_calls and not wrong:
        wrong.append(f"{n_calls - found.n_up} calls did not come up")
    if not found.sent:
        wrong.append("nothing was sent")
    return wrong


def too_slow(late_p99_ms: float, cpu_share: float) -> list[str]:
    """Why the generator may have measured itself; empty: it did not."""
    late = f"the generator was late (p99 {late_p99_ms:.1f} ms)"
    busy = f"the generator used {cpu_share:.0%} of its core"
    return [
        *([late] if late_p99_ms > GENERATOR_LATE_MS else []),
        *([busy] if cpu_share > GENERATOR_BUSY else []),
    ]


def machine() -> dict[str, str]:
    """What figures depend on: processor, system, versions, and the commit of a checkout."""
    lines = CPUINFO.read_text().splitlines() if CPUINFO.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "unknown"
    return {
        "date": time.strftime("%Y-%m-%d %H:%M %Z"),
        "cpu": next(models, platform.machine()),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_before": f"{os.getloadavg()[0]:.2f}",
        **versions,
        "commit": commit_of(Path(__file__).resolve().parents[2]),
    }


def commit_of(folder: Path) -> str:
    """The commit a checkout is at, with ``-dirty`` if files were changed; or "none"."""
    if not (folder / ".git").exists():
        return "none"
    line = ["git", "-C", str(folder), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(line, capture_output=True, text=True, check=False)
    except OSError:
        return "none"
    return done.stdout.strip() or "none"
