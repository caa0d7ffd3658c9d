"""More calls than a server can serve: what becomes of those that it took, and how soon is it over?

  before    0.6 of the knee: how a frame is served, and what it costs
  overload  1.5 of the knee are placed, for half a minute; the server refuses what it would not
            serve well (503), with its default settings
  after     0.6 of the knee again, at once, on the same server

Without ``--knee`` the knee is looked for first; that takes about two minutes.

What this does NOT show
  - an overload by calls that were taken long ago, whose processors begin to do more;
  - another machine: the load has one of its cores, the server the other;
  - anything on a busy machine.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.parts import command, rungs
from benchmarks.parts.command import Failed
from mediaserver.bench import capacity
from mediaserver.bench.figures import BenchError, Rung
from mediaserver.bench.fleet import Fleet, default_processes
from mediaserver.bench.own_server import Meter, own_server

P99_MAX_MS = 100.0
AFTER_P99_MORE_MS, AFTER_COST_RATIO = 5.0, 1.1
LITTLE, MUCH = 0.6, 1.5
SMALLEST = {"knee": 6, "overload_seconds": 0.3, "seconds": 0.3, "warmup": 0.1}


def measure(args: argparse.Namespace) -> command.Report:
    """Before, overload, after, on one server.

    Raises:
        Failed: there is no server, or no knee.
    """
    about = capacity.machine()
    flags = [word for name in args.processor for word in ("--processor", name)]
    ours = rungs.ours(*flags, title="mediaserver")
    knee = args.knee or rungs.knee_of(rungs.knee(ours, args, args.max_calls))
    if not knee:
        raise Failed("no knee was found")
    turns = {
        "before": (LITTLE, args.seconds),
        "overload": (MUCH, args.overload_seconds),
        "after": (LITTLE, args.seconds),
    }
    found: dict[str, Rung] = {}
    try:
        with own_server(flags, 10 * knee) as server, Fleet(default_processes()) as fleet:
            load = rungs.load_of(args, ours, server.url)
            for turn, (part, seconds) in turns.items():
                asked = msgspec.structs.replace(load, seconds=seconds)
                found[turn] = capacity.rung(fleet, asked, round(part * knee), Meter(server))
    except BenchError as error:
        raise Failed(str(error)) from error
    return {
        "machine": about,
        "knee": knee,
        "turns": {turn: msgspec.to_builtins(rung) for turn, rung in found.items()},
        "wrong": wrong(found),
    }


def wrong(found: dict[str, Rung]) -> list[str]:
    """What ``--check`` finds wrong, a line each."""
    before, overload, after = found["before"], found["overload"], found["after"]
    said = []
    if overload.round_trip_ms["p99"] > P99_MAX_MS:
        p99_ms = overload.round_trip_ms["p99"]
        said.append(f"the calls that were taken have p99 {p99_ms:.0f} ms, above {P99_MAX_MS:.0f}")
    if after.refused:
        said.append(f"{after.refused} calls were refused after it")
    more_ms = after.round_trip_ms["p99"] - before.round_trip_ms["p99"]
    if more_ms > AFTER_P99_MORE_MS:
        said.append(f"p99 is {more_ms:.1f} ms more than before")
    costs = after.server.cpu_us_per_frame, before.server.cpu_us_per_frame
    if costs[0] and costs[1] and costs[0] > AFTER_COST_RATIO * costs[1]:
        said.append(f"a frame costs {costs[0] / costs[1]:.2f} times as much as before")
    return said


def show(report: command.Report) -> None:
    """The table, for people."""
    print(f"\nthe knee: {report['knee']} calls")
    head = ("placed", "taken", "refused", "lost", "p50 ms", "p99 ms", "max ms", "µs/frame", "CPU %")
    print(f"{'':<10}" + "".join(f"{title:>9}" for title in (*head, "gen p99")))
    for turn, each in report["turns"].items():
        trip, server = each["round_trip_ms"], each["server"]
        lost, cost = each["sent"] - each["returned"], server["cpu_us_per_frame"] or 0.0
        counts = (each["n_calls"], each["n_up"], each["refused"], lost)
        figures = (trip["p50"], trip["p99"], trip["max"], cost, server["cpu_percent"] or 0.0)
        row = "".join(f"{count:9}" for count in counts)
        row += "".join(f"{figure:9.1f}" for figure in (*figures, each["lateness_ms"]["p99"]))
        print(f"{turn:<10}{row}")


def main(argv: list[str] | None = None) -> int:
    """Run as the command line says; 0, or 1 if the run is void or ``--check`` found fault."""
    parser = command.parser(__doc__, SMALLEST)
    parser.set_defaults(frames="spread")
    parser.add_argument("--seconds", type=float, default=5.0, help="counted, before and after")
    parser.add_argument("--warmup", type=float, default=1.0, help="seconds before, not counted")
    command.add_report_flags(
        parser, f"p99 is above {P99_MAX_MS:.0f} ms in the overload, or things are worse after it"
    )
    text = "one of the chain (echo alone): one that costs more, where the generator is the limit"
    parser.add_argument("--processor", action="append", default=[], metavar="NAME", help=text)
    parser.add_argument("--knee", type=int, default=0, help="look for none")
    parser.add_argument("--max-calls", type=int, default=700, help="to look for it")
    parser.add_argument("--overload-seconds", type=float, default=30.0)
    script = command.Script(
        "overload", __doc__, measure, show, lambda report: list(report["wrong"])
    )
    return command.run(script, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
