"""CPU per frame and call of each form of processor: inline filter, handler, isolated.

  b  a bare uvloop socket echo (the floor)
  f  the built-in echo, a filter, in the server's process
  h  an echo handler, in the server's process
  i  the echo filter isolated, eight calls a processor host
  o  the echo filter isolated, one call a host
  j  the echo handler isolated, eight calls a host

All carry the same paced PCMU load from another process in one run, one after the other; every
reply is verified. CPU is that of the server with all its processes, over the steady window.

What this does NOT show
  - what a processor itself costs: these do nothing but echo;
  - a machine with more cores, where hosts run beside the server and not in its place;
  - absolute figures worth quoting: those are this machine's, today. Compare ratios, and the
    differences within one run.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks import frame_cost
from benchmarks.frame_cost import PATIENT, Variant
from benchmarks.parts import command

SMALLEST = {"sizes": [2], "repeats": 1, "seconds": 0.3, "warmup": 0.3, "only": list("bfhioj")}
MORE_US = 60.0
MORE_P99_MS = 6.0
HANDLER = f"{Path(__file__).resolve().parent / 'parts/echo_handler.py'}:echo"


def _serve(title: str, processor: str, *flags: str) -> Variant:
    def line(port: int) -> list[str]:
        words = ["serve", "--port", str(port), "--processor", processor, "--log-level", "error"]
        return [sys.executable, "-m", "mediaserver", *words, *flags]

    return Variant(title, line, environment=PATIENT)


VARIANTS = {
    "b": frame_cost.VARIANTS["b"],
    "f": _serve("filter", "echo"),
    "h": _serve("handler", HANDLER),
    "i": _serve("filter, isolated", "echo", "--isolate"),
    "o": _serve("filter, a host each", "echo", "--isolate", "--calls-per-host", "1"),
    "j": _serve("handler, isolated", HANDLER, "--isolate"),
}


def measure_all(args: argparse.Namespace) -> dict[str, Any]:
    """Every form at every number of calls, as often as asked for, by turns."""
    table: dict[str, Any] = {}
    for n_calls in args.sizes:
        args.calls = n_calls
        runs: dict[str, list[Any]] = {key: [] for key in args.only}
        for _ in range(args.repeats):
            for key in args.only:
                if key == "o" and n_calls > args.most_hosts:
                    continue
                run = frame_cost.measure(VARIANTS[key], args)
                runs[key].append(run)
                print(
                    f"{n_calls} calls  {VARIANTS[key].title:<22}"
                    f" {run['cpu_us_per_frame']:7.1f} µs/frame"
                    f"  p99 {run['latency_ms']['p99']:.2f} ms"
                    f"  waited for a core {run['waited_for_core']:.0%}",
                    file=sys.stderr,
                )
        table[str(n_calls)] = {
            key: {
                "cpu_us_per_frame": frame_cost.spread([r["cpu_us_per_frame"] for r in found]),
                "p99_ms": frame_cost.spread([r["latency_ms"]["p99"] for r in found]),
            }
            for key, found in runs.items()
            if found
        }
    return {"machine": command.machine(), "table": table}


def show(report: dict[str, Any]) -> None:
    """The table, for people."""
    for n_calls, rows in report["table"].items():
        base = rows.get("f", next(iter(rows.values())))
        print(f"\n{n_calls} calls{'':<18} µs/frame   more than inline   p99 ms   more")
        for key, row in rows.items():
            cost, p99 = row["cpu_us_per_frame"]["median"], row["p99_ms"]["median"]
            more = cost - base["cpu_us_per_frame"]["median"]
            later = p99 - base["p99_ms"]["median"]
            title = VARIANTS[key].title
            print(f"  {title:<24}{cost:9.1f}{more:+19.1f}{p99:9.2f}{later:+7.2f}")


def verdict(report: dict[str, Any]) -> list[str]:
    """What ``--check`` finds wrong, a line each."""
    rows = report["table"].get("100", {})
    if not {"f", "i"} <= set(rows):
        return []
    inline, isolated = rows["f"], rows["i"]
    more = isolated["cpu_us_per_frame"]["median"] - inline["cpu_us_per_frame"]["median"]
    later = isolated["p99_ms"]["median"] - inline["p99_ms"]["median"]
    wrong = []
    if more > MORE_US:
        wrong.append(f"isolation costs {more:.0f} µs a frame, above {MORE_US:.0f}")
    if later > MORE_P99_MS:
        wrong.append(f"isolation adds {later:.1f} ms to p99, above {MORE_P99_MS:.0f}")
    return wrong


def _keys(text: str) -> list[str]:
    chosen = text.split(",")
    if unknown := set(chosen) - set(VARIANTS):
        raise argparse.ArgumentTypeError(f"no form {', '.join(sorted(unknown))}")
    return chosen


def main(argv: list[str] | None = None) -> int:
    """Run as the command line says; 0, or 1 if a reply was wrong or ``--check`` found fault."""
    parser = command.parser(__doc__, SMALLEST)
    command.add_load_flags(parser)
    command.add_report_flags(
        parser, f"isolation costs > {MORE_US:.0f} µs a frame or > {MORE_P99_MS:.0f} ms at 100 calls"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 10, 100, 300])
    parser.add_argument("--only", type=_keys, default=list(VARIANTS), help="such as f,i")
    parser.add_argument("--most-hosts", type=int, default=100, help="calls with a host each")
    parser.set_defaults(server_dir=None, server_python=Path(sys.executable))
    script = command.Script("processors", __doc__, measure_all, show, verdict)
    return command.run(script, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
