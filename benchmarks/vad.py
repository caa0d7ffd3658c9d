"""Speech detection against labels: how many stretches are found with both ends within 150 ms.

Single phrases of real speech at known times, in silence and in noise, through PCMU at 8 kHz.
The label is the energy envelope of the clean clip; `benchmarks/parts/speech.py` says how.

  vad        the built-in, with Silero
  webrtc     the built-in, with webrtcvad
  energy     the built-in, by energy alone
  level      for comparison: RMS of 20 ms above -40 dBFS, gaps up to 0.2 s closed

What this does NOT show
  - people who whisper, sing, or speak over each other; noise that is not steady;
  - other languages: the clips are English, most of them of one speaker.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.parts import command, speech
from benchmarks.parts.speech import Int16, Span
from mediaserver import BatchCall, Call, SpeechStopped
from mediaserver.processors.batch import Collector, Rows
from mediaserver.processors.builtin.hearing.engines import EngineName
from mediaserver.processors.builtin.hearing.vad import Vad

SMALLEST = {"segments": 8}
SNRS: tuple[tuple[str, float | None], ...] = (("silence", None), ("20 dB", 20.0), ("10 dB", 10.0))
LEAST_FOUND = 0.95

Detector = Callable[[Int16], list[Span]]


def by_level(samples: Int16) -> list[Span]:
    """Where it is loud."""
    loud = speech.envelope(samples.astype(np.float32) / 32768)
    return speech.spans(loud > 10 ** (-40 / 20))


def by_vad(engine: EngineName, samples: Int16) -> list[Span]:
    """What the built-in processor says."""
    vad = Vad(engine=engine)
    collector, rows = Collector(vad.n_samples, vad.rate), Rows(vad.state)
    member = BatchCall("bench")
    vad.joined(cast(Call, SimpleNamespace(state={})), member)
    row = collector.join()
    rows.clear([row], collector.n_rows)
    found: list[Span] = []
    for first in range(0, len(samples), 160):
        collector.push(row, samples[first : first + 160], first / speech.RATE_HZ)
        while (taken := collector.take()) is not None:
            member.at = taken.at[0]
            state = rows.gather([row])
            (result,) = vad.process(taken.windows, [member], state)
            rows.scatter([row], state)
            stopped = (each for each in result or () if isinstance(each, SpeechStopped))
            found += [(each.at - each.duration, each.at) for each in stopped]
    return found


DETECTORS: dict[str, Detector] = {
    "vad": partial(by_vad, "silero"),
    "webrtc": partial(by_vad, "webrtc"),
    "energy": partial(by_vad, "energy"),
    "level": by_level,
}


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Every detector in silence and in noise, with the same phrases."""
    if not speech.is_here():
        raise command.Failed(f"the speech is missing: apt-get install {speech.PACKAGES}")
    rng = np.random.default_rng([20261128, args.seed])
    # Every other speaker's phrases, and as many prompts as are asked for.
    others = [clip for clip in speech.phrases() if clip.speaker != "Allison"]
    prompts = [clip for clip in speech.phrases() if clip.speaker == "Allison"]
    chosen = [prompts[n] for n in rng.permutation(len(prompts))][: args.segments] + others
    table: dict[str, Any] = {name: {} for name in args.only}
    for title, snr_db in SNRS:
        pieces = [chosen[at : at + 20] for at in range(0, len(chosen), 20)]
        tracks = [speech.placed(piece, snr_db, rng) for piece in pieces]
        n = sum(len(labels) for _, labels in tracks)
        for name in args.only:
            found = [(labels, DETECTORS[name](samples)) for samples, labels in tracks]
            table[name][title] = {
                "segments": n,
                "matched": sum(speech.n_matched(*each) for each in found) / n,
                "started": sum(speech.n_matched(*_starts(*each)) for each in found) / n,
                "found": sum(len(each[1]) for each in found),
            }
    return {"machine": command.machine(), "table": table}


def _starts(labels: list[Span], found: list[Span]) -> tuple[list[Span], list[Span]]:
    """The same with their starts alone."""
    return [(start, start) for start, _ in labels], [(start, start) for start, _ in found]


def show(report: dict[str, Any]) -> None:
    """The table, for people."""
    print(f"\n{'':<22}segments  both within 150 ms %  start %  stretches found")
    for name, rows in report["table"].items():
        for title, row in rows.items():
            print(
                f"  {name:<10}{title:<10}{row['segments']:8d}{100 * row['matched']:22.1f}"
                f"{100 * row['started']:9.1f}{row['found']:17d}"
            )


def verdict(report: dict[str, Any]) -> list[str]:
    """What ``--check`` finds wrong, a line each."""
    rows = report["table"].get("vad", {})
    return [
        f"{title}: {row['matched']:.1%} have both ends within 150 ms, not {LEAST_FOUND:.0%}"
        for title, row in rows.items()
        if row["matched"] < LEAST_FOUND
    ]


def main(argv: list[str] | None = None) -> int:
    """Run as the command line says; 0, or 1 if it cannot or ``--check`` found fault."""
    parser = command.parser(__doc__, SMALLEST)
    command.add_report_flags(parser, f"vad finds fewer than {LEAST_FOUND:.0%} anywhere")
    parser.add_argument("--segments", type=int, default=300, help="prompts; others come on top")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=list(DETECTORS), default=list(DETECTORS))
    script = command.Script("vad", __doc__, measure, show, verdict)
    return command.run(script, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
