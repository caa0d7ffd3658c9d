"""What does a call take of memory? PSS of the server with many calls, beside that without.

The calls connect in groups. Each group has its frames at the ordinary pace for some seconds; from
then on each call has one frame a second, so that many can be held by one load process. All features
are on, as they are by default. PSS counts memory that several processes share once.

What this does NOT show
  - memory of the kernel: buffers of sockets;
  - what processors keep: the server echoes PCMU;
  - what is left when the calls have gone: `make soak` shows whether it grows;
  - the size of a process by itself: some MB that it takes with its first calls are in the figure,
    so it is smaller with many calls.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import uvloop

from benchmarks.parts import command
from benchmarks.parts.command import Failed
from mediaserver.bench import accounting
from mediaserver.bench.figures import BenchError
from mediaserver.bench.load.calls import Address, BenchCall, Tally, address_of
from mediaserver.bench.load.pacer import Pacer, offsets_s
from mediaserver.bench.load.voices import voice
from mediaserver.bench.own_server import own_server

KB_MAX = 28.0
CONNECT_S, REST_S = 10.0, 3.0
SMALLEST = {"calls": 20, "group": 10, "seconds": 0.3}
_AT_ONCE = 25


async def _connect(address: Address, numbers: Sequence[int], tally: Tally) -> list[BenchCall]:
    loop, said = asyncio.get_running_loop(), voice("PCMU")
    calls = []
    for number in numbers:
        call = BenchCall(number, number * 17, said, address, tally, keeps=False)
        await loop.create_connection(lambda call=call: call, address.host, address.port)
        await asyncio.wait_for(call.settled, CONNECT_S)
        calls.append(call)
    return calls


async def _trickle(calls: list[BenchCall]) -> None:
    """One frame a second for each of the calls that are in the list by then."""
    while True:
        began_s = time.monotonic()
        for at in range(0, len(calls), _AT_ONCE):
            for call in calls[at : at + _AT_ONCE]:
                if call.is_up:
                    call.send(time.monotonic())
            await asyncio.sleep(0.9 * _AT_ONCE / len(calls))
        await asyncio.sleep(max(0.05, began_s + 1.0 - time.monotonic()))


async def _hold(url: str, pid: int, args: argparse.Namespace) -> tuple[int, Tally, int]:
    """The memory with all calls, what they counted, and how many are up."""
    address, tally = address_of(url), Tally()
    tally.begin_s = 0.0
    calls: list[BenchCall] = []
    trickle = asyncio.create_task(_trickle(calls))
    for first in range(0, args.calls, args.group):
        numbers = range(first, min(first + args.group, args.calls))
        group = await _connect(address, numbers, tally)
        pacer = Pacer(
            group, offsets_s(range(len(group)), len(group), "spread"), time.monotonic() + 0.02
        )
        await asyncio.sleep(args.seconds)
        pacer.close()
        calls += group
        print(f"{len(calls):5} calls  {accounting.pss_bytes(pid) / 2**20:.1f} MiB", file=sys.stderr)
    await asyncio.sleep(REST_S if args.seconds >= 1 else 0.2)
    found = accounting.pss_bytes(pid)
    n_up = sum(call.is_up for call in calls)
    trickle.cancel()
    for call in calls:
        call.abort()
    return found, tally, n_up


def measure(args: argparse.Namespace) -> command.Report:
    """Memory without calls, and with all of them.

    Raises:
        Failed: a call was not held, or a reply was wrong.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    about = command.machine()
    try:
        with own_server([], args.calls) as server:
            (pid,) = server.pids
            idle = accounting.pss_bytes(pid)
            full, tally, n_up = uvloop.run(_hold(server.url, pid, args))
    except (BenchError, OSError) as error:
        raise Failed(str(error)) from error
    if n_up < args.calls or tally.wrong or tally.problems:
        raise Failed(
            f"{n_up} of {args.calls} calls are up, {tally.refused} were refused;"
            f" {dict(tally.problems)}"
        )
    return {
        "machine": about,
        "calls": args.calls,
        "idle_mib": idle / 2**20,
        "full_mib": full / 2**20,
        "kb_per_call": (full - idle) / 1024 / args.calls,
    }


def show(report: command.Report) -> None:
    """The figures, for people."""
    print(f"\n  without calls  {report['idle_mib']:8.1f} MiB")
    print(f"  {report['calls']:5} calls    {report['full_mib']:8.1f} MiB")
    print(f"  a call         {report['kb_per_call']:8.1f} KiB")


def verdict(report: command.Report) -> list[str]:
    """What ``--check`` finds wrong."""
    found = report["kb_per_call"]
    return [f"a call takes {found:.1f} KiB, above {KB_MAX}"] if found > KB_MAX else []


def main(argv: list[str] | None = None) -> int:
    """Run as the command line says; 0, or 1 if the run is void or ``--check`` found fault."""
    parser = command.parser(__doc__, SMALLEST)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--group", type=int, default=100, help="calls at the ordinary pace at once")
    parser.add_argument("--seconds", type=float, default=5.0, help="of that pace, for each group")
    command.add_report_flags(parser, f"a call takes more than {KB_MAX} KiB")
    script = command.Script("memory", __doc__, measure, show, verdict)
    return command.run(script, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
