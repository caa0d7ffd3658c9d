"""Barge-in against the bot's own echo: false interruptions, misses, delay until silence.

Real speech through our own codecs at 8 kHz, in seeded conversations of which
`benchmarks/parts/talk.py` says what is in them. The listeners are driven in simulated time,
faster than real time, all of them with the same conversations:

  barge_in   the built-in
  vad        whatever Silero takes for speech, for 160 ms
  gate       the same, but louder than half of what was sent within 1.5 s
  level      the loudness alone, without Silero

Seeds with an even number are for development; those with an odd one are left alone until a
listener is finished, and are the ones that count.

A caller's short word ("back-channel") is their voice: whether it interrupts is a matter of the
policy, so it is counted apart, neither as false nor as missed. Silence at the ear is counted
where Telnyx plays: 20 ms each way, the rest of a frame, the wait for a tick and 5 ms of work
are in it; what lies between Telnyx and the phone is not, since nothing can be cleared there.

What this does NOT show
  - echo of a real phone network: the echo path is synthetic, and the bot has one voice;
  - other people who speak near the caller, or music: the noise is steady;
  - how callers react to a bot that falls silent;
  - cost: see `benchmarks/hearing.py`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.parts import command, speech
from benchmarks.parts.talk import WINDOW_S, Conversation, Score
from mediaserver.processors.builtin.hearing.barge_in import BargeIn
from mediaserver.processors.builtin.hearing.engines import Silero

SMALLEST = {"conversations": 2, "turns": 2, "half": ["develop"]}
AFTER_S = 0.160
MOST_FALSE_PER_10_MIN, MOST_MISSED, MOST_DELAY_S = 1.0, 0.03, 0.400

Bools = npt.NDArray[np.bool_]


class Listener(Protocol):
    """Hears many calls window by window."""

    def hear(
        self, windows: npt.NDArray[np.int16], sent: npt.NDArray[np.int16], speaks: Bools
    ) -> Bools:
        """Which calls to interrupt now.

        Args:
            windows: callers' tracks, int16 ``(calls, 256)``, 8 kHz.
            sent: what was at the ear meanwhile by the playout clock, of the same shape.
            speaks: whose bot speaks.
        """


class Level:
    """Speech is what is louder than half of what was sent within 1.5 s."""

    def __init__(self, n_calls: int) -> None:
        self._levels = np.zeros((n_calls, round(1.5 / WINDOW_S)))
        self._run_s = np.zeros(n_calls)

    def is_louder(self, windows: npt.NDArray[np.int16], sent: npt.NDArray[np.int16]) -> Bools:
        """Which windows are."""
        self._levels = np.roll(self._levels, -1, axis=1)
        self._levels[:, -1] = _rms(sent)
        least = np.maximum(0.5 * self._levels.max(axis=1), 100.0)
        louder: Bools = _rms(windows) > least
        return louder

    def hear(
        self, windows: npt.NDArray[np.int16], sent: npt.NDArray[np.int16], speaks: Bools
    ) -> Bools:
        """See ``Listener``."""
        self._run_s = np.where(self.is_louder(windows, sent), self._run_s + WINDOW_S, 0.0)
        return self._run_s >= AFTER_S


def _rms(windows: npt.NDArray[np.int16]) -> npt.NDArray[np.float64]:
    found: npt.NDArray[np.float64] = np.sqrt(np.mean(windows.astype(np.float64) ** 2, axis=1))
    return found


class PlainVad:
    """Speech is what Silero takes for it."""

    def __init__(self, n_calls: int) -> None:
        self._engine = Silero(speech.RATE_HZ)
        self._state = zeros(self._engine.state, n_calls)
        self._run_s = np.zeros(n_calls)

    def is_speech(self, windows: npt.NDArray[np.int16]) -> Bools:
        """Which windows are."""
        owns = [None] * len(windows)
        found: Bools = self._engine.probabilities(windows, owns, self._state) > 0.5
        return found

    def hear(
        self, windows: npt.NDArray[np.int16], sent: npt.NDArray[np.int16], speaks: Bools
    ) -> Bools:
        """See ``Listener``."""
        self._run_s = np.where(self.is_speech(windows), self._run_s + WINDOW_S, 0.0)
        return self._run_s >= AFTER_S


class Gate(PlainVad):
    """Speech is what Silero takes for it, if it is loud enough."""

    def __init__(self, n_calls: int) -> None:
        super().__init__(n_calls)
        self._level = Level(n_calls)

    def hear(
        self, windows: npt.NDArray[np.int16], sent: npt.NDArray[np.int16], speaks: Bools
    ) -> Bools:
        """See ``Listener``."""
        is_near = self._level.is_louder(windows, sent) & self.is_speech(windows)
        self._run_s = np.where(is_near, self._run_s + WINDOW_S, 0.0)
        return self._run_s >= AFTER_S


class Built:
    """The built-in, with the windows of all calls at once."""

    def __init__(self, n_calls: int, after_ms: float = 160.0, least_db: float = 3.0) -> None:
        self._barge_in = BargeIn(after_ms, least_db)
        self._state = zeros(self._barge_in.state, n_calls)
        n_levels = round(after_ms / self._barge_in.frame_ms)
        self._levels = [deque([0.0] * n_levels, n_levels) for _ in range(n_calls)]

    def hear(
        self, windows: npt.NDArray[np.int16], sent: npt.NDArray[np.int16], speaks: Bools
    ) -> Bools:
        """See ``Listener``."""
        owns = [None] * len(windows)
        found = self._barge_in.levels(windows, sent, owns, self._state)
        for levels, level in zip(self._levels, np.where(speaks, found, 0.0).tolist(), strict=True):
            levels.append(level)
        return np.array([self._barge_in.is_interruption(levels) for levels in self._levels])


def zeros(
    declared: Mapping[str, tuple[tuple[int, ...], str]], n_calls: int
) -> dict[str, npt.NDArray[Any]]:
    """The state of so many new calls."""
    return {name: np.zeros((n_calls, *shape), kind) for name, (shape, kind) in declared.items()}


LISTENERS: dict[str, Callable[[int], Listener]] = {
    "barge_in": Built,
    "vad": PlainVad,
    "gate": Gate,
    "level": Level,
}
# What a longer or a stricter decision costs: printed as a curve.
CURVE: dict[str, Callable[[int], Listener]] = {
    f"barge_in {least_db:.1f} dB{', 700 ms' if after_ms == 700 else ''}": partial(
        Built, after_ms=after_ms, least_db=least_db
    )
    for after_ms, least_db in ((160.0, 2.0), (160.0, 4.0), (700.0, 3.0))
}


def score_of(listener: Listener, conversations: list[Conversation]) -> Score:
    """Let a listener hear all of them, in step."""
    while not all(each.is_over for each in conversations):
        steps = [each.step() for each in conversations]
        windows, sent = (np.stack([step[n] for step in steps]) for n in (0, 1))
        taken = listener.hear(windows, sent, np.array([step[2] for step in steps]))
        for each in np.flatnonzero(taken):
            conversations[each].interrupt()
    whole = Score()
    for each in conversations:
        whole.add(each.score)
    return whole


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Every listener with each half of the seeds."""
    if not speech.is_here():
        raise command.Failed(f"the speech is missing: apt-get install {speech.PACKAGES}")
    table: dict[str, Any] = {}
    curve = CURVE if args.curve else {}
    for half in args.half:
        odd = half == "untouched"
        seeds = range(odd, 2 * args.conversations, 2)
        for name, make in {**{n: LISTENERS[n] for n in args.only}, **curve}.items():
            began = time.perf_counter()
            talks = [Conversation(seed, args.turns) for seed in seeds]
            score = score_of(make(len(talks)), talks)
            table[f"{half} {name}"] = figures(score, time.perf_counter() - began)
    return {"machine": command.machine(), "table": table}


def figures(score: Score, took_s: float) -> dict[str, Any]:
    """A score as JSON-ready figures."""
    n = score.hits + len(score.misses)
    delays = score.delays or [float("nan")]
    return {
        "bot_min": score.bot_s / 60,
        "interruptions": n,
        "false_per_10_min": len(score.false_at) / score.bot_s * 600,
        "missed": len(score.misses) / n if n else 0.0,
        "delay_p50_s": float(np.percentile(delays, 50)),
        "delay_p95_s": float(np.percentile(delays, 95)),
        "words": score.words,
        "words_taken": score.words_taken,
        "false_at": score.false_at,
        "missed_at": score.misses,
        "took_s": took_s,
    }


def show(report: dict[str, Any]) -> None:
    """The table, for people."""
    print(f"\n{'':<26}bot min  interr.  false/10 min  missed %  ms p50   p95  words taken")
    for name, row in report["table"].items():
        print(
            f"  {name:<24}{row['bot_min']:7.1f}{row['interruptions']:9d}"
            f"{row['false_per_10_min']:14.2f}{100 * row['missed']:10.2f}"
            f"{1000 * row['delay_p50_s']:8.0f}{1000 * row['delay_p95_s']:6.0f}"
            f"{row['words_taken']:6d} of {row['words']}"
        )


def verdict(report: dict[str, Any]) -> list[str]:
    """What ``--check`` finds wrong, a line each."""
    row = report["table"].get("untouched barge_in")
    if row is None:
        return []
    wrong = []
    if row["false_per_10_min"] > MOST_FALSE_PER_10_MIN:
        wrong.append(f"{row['false_per_10_min']:.2f} false interruptions in 10 minutes")
    if row["missed"] > MOST_MISSED:
        wrong.append(f"{row['missed']:.1%} of the interruptions were missed")
    if row["delay_p95_s"] > MOST_DELAY_S:
        wrong.append(f"silence after {1000 * row['delay_p95_s']:.0f} ms (p95)")
    return wrong


def main(argv: list[str] | None = None) -> int:
    """Run as the command line says; 0, or 1 if it cannot or ``--check`` found fault."""
    parser = command.parser(__doc__, SMALLEST)
    command.add_report_flags(
        parser,
        f"of the untouched seeds there are > {MOST_FALSE_PER_10_MIN:.0f} false interruptions in"
        f" 10 minutes, > {MOST_MISSED:.0%} misses, or > {1000 * MOST_DELAY_S:.0f} ms (p95)",
    )
    parser.add_argument("--conversations", type=int, default=40, help="of each half")
    parser.add_argument("--turns", type=int, default=12, help="of the bot, in each")
    parser.add_argument(
        "--half", nargs="+", choices=["develop", "untouched"], default=["develop", "untouched"]
    )
    parser.add_argument("--only", nargs="+", choices=list(LISTENERS), default=list(LISTENERS))
    parser.add_argument("--curve", action="store_true", help="barge_in with other figures as well")
    script = command.Script("barge_in", __doc__, measure, show, verdict)
    return command.run(script, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
