"""What hearing costs: µs per call and window, one inference for all calls against one each.

  single     bare Silero, one call an inference: what each bot does for itself
  vad        the built-in: frames in, windows collected, state gathered, one inference, state
             put back, hysteresis
  barge_in   the built-in in the same way, with its echo model, and a bot that speaks
  beep       beep_detect in the same way

What this does NOT show
  - the wait for the thread and for the interpreter's lock, where frames are carried meanwhile;
  - a machine with more cores: the model runs in one thread, so that the cores stay the calls';
  - absolute figures worth quoting: compare ratios.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.parts import command
from mediaserver import BatchCall, BatchProcessor, Call
from mediaserver.processors.batch import Collector, Rows
from mediaserver.processors.builtin.hearing.barge_in import BargeIn
from mediaserver.processors.builtin.hearing.beep import BeepDetect
from mediaserver.processors.builtin.hearing.engines import Silero
from mediaserver.processors.builtin.hearing.vad import Vad

SMALLEST = {"sizes": [1, 3], "repeats": 1, "windows": 4}
LEAST_RATIO = {8000: 2.0, 16000: 1.6}
FRAME_S = 0.02


def single(rate_hz: int, n_windows: int) -> float:
    """µs of one bare inference."""
    engine = Silero(rate_hz)
    rows = Rows(engine.state)
    rows.clear([0], 1)
    state = rows.gather([0])
    windows = _audio(1, n_windows * round(engine.frame_ms * rate_hz / 1000)).reshape(n_windows, -1)
    engine.probabilities(windows[:1], [None], state)
    began = perf_counter()
    for n in range(n_windows):
        engine.probabilities(windows[n : n + 1], [None], state)
    return (perf_counter() - began) / n_windows * 1e6


def together(make: Callable[[], BatchProcessor], n_calls: int, n_windows: int) -> float:
    """µs for each call and window with so many calls, all steps included."""
    processor = make()
    collector, rows = Collector(processor.n_samples, processor.rate), Rows(processor.state)
    members = [BatchCall(str(n)) for n in range(n_calls)]
    for member in members:
        processor.joined(cast(Call, FakeCall()), member)
    numbers = [collector.join() for _ in members]
    rows.clear(numbers, collector.n_rows)
    n_frame = round(processor.rate * FRAME_S)
    n_frames = -(-(n_windows + 2) * processor.n_samples // n_frame)
    audio = _audio(n_calls, n_frames * n_frame)
    n_heard, took_s = 0, 0.0
    for frame in range(n_frames):
        piece = audio[:, frame * n_frame : (frame + 1) * n_frame]
        began = perf_counter()
        for number, samples in zip(numbers, piece, strict=True):
            collector.push(number, samples, frame * FRAME_S)
        taken = collector.take()
        if taken is not None:
            calls = []
            for number, at in zip(taken.rows, taken.at, strict=True):
                members[number].at = at
                calls.append(members[number])
            state = rows.gather(taken.rows)
            processor.process(taken.windows, calls, state)
            rows.scatter(taken.rows, state)
            n_heard += len(calls)
        if frame == 2:  # what is slow once only is not counted
            n_heard, took_s = 0, 0.0
        else:
            took_s += perf_counter() - began
    return took_s / max(n_heard, 1) * 1e6


class FakeCall:
    """A call whose bot speaks all the time."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}
        self.stats = SimpleNamespace(send_mode="rtp")

    def listen(self, listener: Any) -> None:
        """Fill its ear for the run."""
        from time import monotonic

        listener.sent(_audio(1, 8000 * 30)[0], 8000, monotonic() - 1)


def _audio(n_calls: int, n_samples: int) -> np.ndarray[Any, np.dtype[np.int16]]:
    rng = np.random.default_rng(n_calls)
    return rng.normal(0, 2000, (n_calls, n_samples)).astype(np.int16)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Every form at every number of calls, by turns."""
    table: dict[str, Any] = {}
    for rate_hz in (8000, 16000):
        base = [single(rate_hz, args.windows * 4) for _ in range(args.repeats)]
        table[f"single {rate_hz}"] = {"1": statistics.median(base)}
    forms: dict[str, Callable[[], BatchProcessor]] = {
        "vad 8000": lambda: Vad(rate=8000, engine="silero"),
        "vad 16000": lambda: Vad(rate=16000, engine="silero"),
        "barge_in 8000": BargeIn,
        "beep 8000": BeepDetect,
    }
    for name, make in forms.items():
        table[name] = {
            str(n): statistics.median(together(make, n, args.windows) for _ in range(args.repeats))
            for n in args.sizes
        }
    return {"machine": command.machine(), "table": table}


def show(report: dict[str, Any]) -> None:
    """The table, for people."""
    table = report["table"]
    sizes = list(table["vad 8000"])
    print(
        f"\nµs/call and window{'':<4}" + "".join(f"{n + ' calls':>12}" for n in sizes) + "   ratio"
    )
    for name, row in table.items():
        figures = "".join(f"{row[n]:12.2f}" if n in row else f"{'':12}" for n in sizes)
        rate = name.split()[1]
        ratio = table[f"single {rate}"]["1"] / row[sizes[-1]] if sizes[-1] in row else 1.0
        print(f"  {name:<20}{figures}{ratio:8.2f}")


def verdict(report: dict[str, Any]) -> list[str]:
    """What ``--check`` finds wrong, a line each."""
    wrong = []
    for rate_hz, least in LEAST_RATIO.items():
        base = report["table"][f"single {rate_hz}"]["1"]
        for n, cost in report["table"][f"vad {rate_hz}"].items():
            if int(n) >= 50 and base / cost < least:
                wrong.append(f"{n} calls at {rate_hz} Hz: {base / cost:.2f}, below {least}")
    return wrong


def main(argv: list[str] | None = None) -> int:
    """Run as the command line says; 0, or 1 if it cannot or ``--check`` found fault."""
    parser = command.parser(__doc__, SMALLEST)
    command.add_report_flags(parser, "a batch of 50 calls or more saves less than it must")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 50, 200])
    parser.add_argument("--windows", type=int, default=60, help="of each call")
    parser.add_argument("--repeats", type=int, default=5)
    script = command.Script("hearing", __doc__, measure, show, verdict)
    return command.run(script, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
