"""CPU of a forked packet, beside that of the same frame inbound over a WebSocket.

  w  mediaserver serve: a frame as a media message of a WebSocket
  u  mediaserver fork listen: the same 20 ms of PCMU as an RTP packet over UDP

Both run one filter that counts, and send nothing back. Both carry the same paced load from
another process in one run, interleaved; the filters' counts must be what was sent. The server's
CPU is the scheduler's own account of it, over the steady window only. One track a call.

What this does NOT show
  - loss, reordering and jitter, which cost more on both ways;
  - the cost of processors, other codecs, resampling, recording;
  - the kernel's softirq time, which lands on whoever runs;
  - anything on a busy machine; compare ratios, not figures.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.parts import command, servers
from benchmarks.parts.command import Failed

PARTS = Path(__file__).resolve().parent / "parts"
U_TO_W_MAX = 2.0
SMALLEST = {"calls": 2, "repeats": 1, "seconds": 0.4, "warmup": 0.1}
COUNTED_WITHIN_S = 20.0
TITLES = {"w": "over WebSockets", "u": "forked over UDP"}


def measure(key: str, args: argparse.Namespace) -> float:
    """Microseconds of CPU a frame, of one run against a fresh server.

    Raises:
        Failed: no server, or it has not heard all frames.
    """
    with tempfile.TemporaryDirectory() as folder:
        counts = Path(folder, "counts")
        processor = ["--processor", f"{PARTS}/counts.py:Counts?file={counts}"]
        port = _free_ports(2 * args.calls)
        line = [sys.executable, "-m", "mediaserver"]
        if key == "w":
            line += ["serve", f"--port={port}", *processor]
            ready = "mediaserver ready"
        else:
            ports = f"--fork-ports={port}-{port + 2 * args.calls - 1}"
            line += ["fork", "listen", ports, "--fork-idle-s=1", *processor]
            ready = "receives forks"
        launch = servers.Launch(line, {"MEDIASERVER_LOG_LEVEL": "error"})
        with servers.serving(TITLES[key], launch, lambda text: ready in text or None) as (pid, _):
            client = [sys.executable, str(PARTS / "fork_load.py"), *(["--udp"] * (key == "u"))]
            client += [f"--port={port}", f"--pid={pid}", *command.load_flags(args)]
            done = subprocess.run(client, capture_output=True, text=True, check=False)
            if done.returncode:
                raise Failed(f"{TITLES[key]}: {done.stderr.strip()}")
            run: dict[str, Any] = json.loads(done.stdout)
            _check(counts, args.calls, run["frames"], TITLES[key])
    cost: float = run["cpu_us_per_frame"]
    return cost


def _free_ports(n: int) -> int:
    """The first of some ports in a row that are hardly anybody's; below what Linux gives out."""
    return 12_000 + (servers.free_port() * 7) % (32_000 - 12_000 - n)


def _check(counts: Path, n_calls: int, n_frames: int, title: str) -> None:
    deadline = time.monotonic() + COUNTED_WITHIN_S
    while True:
        found = [int(line) for line in counts.read_text().split()] if counts.exists() else []
        if len(found) >= n_calls and sum(found) == n_frames:
            return
        if time.monotonic() > deadline:
            raise Failed(
                f"{title}: {sum(found)} of {n_frames} frames were heard, of {len(found)} calls"
            )
        time.sleep(0.1)


def run_all(args: argparse.Namespace) -> command.Report:
    """Both ways once per repeat, in turn."""
    about = command.machine()
    costs: dict[str, list[float]] = {"w": [], "u": []}
    for repeat in range(args.repeats):
        for key, found in costs.items():
            found.append(measure(key, args))
            print(
                f"repeat {repeat + 1}/{args.repeats}  {key}  {found[-1]:6.2f} µs/frame",
                file=sys.stderr,
            )
    ratios = [u / w for u, w in zip(costs["u"], costs["w"], strict=True)]
    return {"machine": about, "cpu_us_per_frame": costs, "ratios": ratios}


def print_report(report: command.Report) -> None:
    """The tables, for people."""
    print(f"\nCPU, µs per frame{'':<12}   median      min      max")
    for key, found in report["cpu_us_per_frame"].items():
        print(f"  {key}  {TITLES[key]:<23}" + _spread(found))
    print(f"  u/w, pair by pair{'':<9}" + _spread(report["ratios"]))
    print("\nevery frame was heard")


def _spread(values: list[float]) -> str:
    figures = statistics.median(values), min(values), max(values)
    return "".join(f"{figure:9.2f}" for figure in figures)


def verdict(report: command.Report) -> list[str]:
    """What ``--check`` finds wrong."""
    median = statistics.median(report["ratios"])
    return [f"u/w is {median:.2f}, above {U_TO_W_MAX}"] if median > U_TO_W_MAX else []


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = command.parser(__doc__, SMALLEST)
    command.add_load_flags(parser)
    command.add_report_flags(parser, f"u/w > {U_TO_W_MAX} (median)")
    parser.add_argument("--repeats", type=int, default=5)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run as the command line says; 0, or 1 if a frame was lost or ``--check`` found fault."""
    script = command.Script("fork", __doc__, run_all, print_report, verdict)
    return command.run(script, _arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
