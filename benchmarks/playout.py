"""Barge-in and playout truth on real sockets: how soon silence comes, how true ``heard`` is.

A bot in a server process plays a long clip, interrupts it at a random moment, and plays the
next one; a fake Telnyx in this process hears it. Both read one monotonic clock.

  clear 100, 200, 400   ``call.clear()``, audio sent at most so many ms ahead of the ear
  cancel 200            ``play.cancel()``: what one has who stops sending and cannot clear

  barge-in     from the bot's word to the last audible sample
  heard error  ``play.heard`` just before it, less what the ear had heard at that moment
  lead         most audio that waited at the far end, call by call

Verified: each interruption took effect once, nothing of an interrupted clip is heard behind
it, clips are heard pure and in their order, no message was refused.

What this does NOT show
  - a real network and Telnyx's own buffers: both add to every figure of a real call. One-way
    time over loopback is far below a millisecond, and is counted in, not taken off;
  - how long a bot needs to notice that the caller speaks: usually far longer;
  - a busy server (frame_cost has that) or other codecs than PCMU;
  - anything on a busy machine: see the fake's own lateness, which is in every figure.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.parts import command, servers
from benchmarks.parts.command import Failed
from mediaserver.carrier import CallPlan, FakeCall
from mediaserver.carrier.ear import Run
from mediaserver.processors.api import Call, processor
from telephony_codecs import codec

BARGE_IN_P95_MAX_MS = 40.0
RATE_HZ = 8000
CLIP_S = 4.0
LISTEN_S = (0.4, 0.9)
SILENCE_S = 0.2
MAX_ROUNDS = 20
# Longest a round may take: as long as one listens, what plays on after a cancel, the silence.
ROUND_S = LISTEN_S[1] + SILENCE_S + 0.5


class Variant(NamedTuple):
    """One row."""

    how: str
    lead_ms: int

    @property
    def title(self) -> str:
        """As the tables call it."""
        return f"{self.how} {self.lead_ms}"


VARIANTS = [Variant("clear", 100), Variant("clear", 200), Variant("clear", 400)]
VARIANTS.append(Variant("cancel", 200))
REFERENCE = "clear 200"
SMALLEST = {"calls": 1, "rounds": 1, "only": [Variant("clear", 200), Variant("cancel", 200)]}

Summary = dict[str, float]


def level_of(round_: int) -> int:
    """The one value of which a round's clip consists; PCMU carries it as it is."""
    law = codec("PCMU")
    wanted = np.full(1, 2000 + 1000 * round_, np.int16)
    return int(law.decoder().decode(law.encoder().encode(wanted))[0])


# In the server: the bot.


@processor
async def barge(call: Call, log: Path, rounds: int, how: str) -> None:
    """Plays, interrupts itself, plays on; notes when, and what it thought was heard."""
    dice, noted = random.Random(call.id), []
    for round_ in range(rounds):
        clip = np.full(round(CLIP_S * RATE_HZ), level_of(round_), np.int16)
        play = await call.play(clip, rate=RATE_HZ)
        await asyncio.sleep(dice.uniform(*LISTEN_S))
        heard_s, at_s = play.heard, time.monotonic()
        if how == "clear":
            await call.clear()
        else:
            play.cancel()
        noted.append((at_s, heard_s))
        await play.finished()
        await asyncio.sleep(SILENCE_S)
    with log.open("a") as file:
        file.write(json.dumps({"call": call.id, "noted": noted}) + "\n")
    await call.hangup()


@contextlib.contextmanager
def serving(variant: Variant, rounds: int, log: Path) -> Iterator[str]:
    """The media URL of a fresh server with the bot, ended on leaving."""
    bot = f"{Path(__file__).resolve()}:barge?log={log}&rounds={rounds}&how={variant.how}"
    line = [sys.executable, "-m", "mediaserver", "serve", "--port", "0", "--processor", bot]
    launch = servers.Launch(line, {"MEDIASERVER_LEAD_MS": str(variant.lead_ms)})
    with servers.serving(variant.title, launch, _media_url) as (_, url):
        yield url


def _media_url(said: str) -> str | None:
    """Where the server says it is ready; None if it does not yet."""
    _, found, rest = said.partition("ready on ")
    return rest.partition("\n")[0] if found and "\n" in rest else None


# Here: the fake Telnyx.


class Told(NamedTuple):
    """What one call's ear has to tell; times on the monotonic clock."""

    call_id: str
    origin_s: float
    runs: list[Run]
    n_cuts: int
    lead_s: float
    late_ms: float


async def listen(url: str, limit_s: float, number: int) -> Told:
    """Hold one call until the bot hangs up.

    Raises:
        Failed: it did not, or a message was refused.
    """
    await asyncio.sleep(number * 0.0073)  # the calls' phases spread over the 20 ms
    plan = CallPlan(seconds=limit_s)
    async with FakeCall.connect(url, plan) as call:
        origin_s = time.monotonic() - call.now()
        await call.speak()
        report = call.report()
        if call.record.hung_up or report.close_code != 1000 or report.errors or report.silent:
            raise Failed(f"the call ended wrongly: {report.problem} {report.errors}")
        ear, arrivals = call.intake.ear, call.intake.arrivals
        lengths = [len(samples) / RATE_HZ for samples in arrivals.samples]
        lead_s = _lead_s(list(arrivals.at_s), lengths, [cut.at_s for cut in ear.cuts])
        late_ms = float(np.percentile(report.late_ms, 99))
        return Told(plan.call_control_id, origin_s, ear.runs, len(ear.cuts), lead_s, late_ms)


def _lead_s(at_s: list[float], lengths_s: list[float], cuts_s: list[float]) -> float:
    """The most audio that ever waited at the far end when a message had come."""
    end_s = most_s = 0.0
    cuts = iter([*cuts_s, float("inf")])
    cut_s = next(cuts)
    for now, length_s in zip(at_s, lengths_s, strict=True):
        while cut_s <= now:
            end_s, cut_s = min(end_s, cut_s), next(cuts)
        end_s = max(end_s, now) + length_s
        most_s = max(most_s, end_s - now)
    return most_s


class Case(NamedTuple):
    """One interruption, in ms; and how often its clip broke off while it was heard."""

    barge_in: float
    heard_error: float
    gaps: int


def cases_of(told: Told, noted: list[tuple[float, float]], how: str) -> list[Case]:
    """What each interruption of a call came to.

    Raises:
        Failed: something was heard that should not have been, or not as it should.
    """
    if told.n_cuts != (len(noted) if how == "clear" else 0):
        raise Failed(f"{told.n_cuts} clears came for {len(noted)} interruptions")
    clips = _clips(told.runs)
    if len(clips) != len(noted):
        raise Failed(f"{len(clips)} clips were heard for {len(noted)} interruptions")
    cases = []
    for runs, (at_s, heard_s) in zip(clips, noted, strict=True):
        at_s -= told.origin_s
        truth_s = sum(max(min(at_s, run.end_s) - run.start_s, 0.0) for run in runs)
        barge_in_s = runs[-1].end_s - at_s
        cases.append(Case(1000 * barge_in_s, 1000 * (heard_s - truth_s), len(runs) - 1))
    return cases


def _clips(runs: list[Run]) -> list[list[Run]]:
    """The runs of each clip, clips in their order; raises Failed if one is not pure."""
    clips: list[list[Run]] = []
    for run in runs:
        if not run.n_samples:
            continue
        heard = run.samples
        if clips and heard[0] == level_of(len(clips) - 1):
            clips[-1].append(run)
        else:
            clips.append([run])
        if (heard != level_of(len(clips) - 1)).any():
            raise Failed(f"clip {len(clips)} is heard mixed with another")
    return clips


def measure(variant: Variant, args: argparse.Namespace) -> dict[str, Any]:
    """One variant against a fresh server; raises Failed."""
    limit_s = args.rounds * ROUND_S + 2.0
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "noted.jsonl"
        with serving(variant, args.rounds, log) as url:
            told = asyncio.run(_listen_all(url, limit_s, args.calls))
        lines = map(json.loads, log.read_text().splitlines())
        noted = {line["call"]: line["noted"] for line in lines}
    found = [case for each in told for case in cases_of(each, noted[each.call_id], variant.how)]
    if len(found) != args.calls * args.rounds:
        raise Failed(f"{len(found)} interruptions of {args.calls * args.rounds}")
    return {
        "interruptions": len(found),
        "barge_in_ms": spread([case.barge_in for case in found]),
        "heard_error_ms": spread([abs(case.heard_error) for case in found]),
        "lead_ms": spread([1000 * each.lead_s for each in told]),
        "late_ms": max(each.late_ms for each in told),
        "gaps": sum(case.gaps for case in found),
    }


async def _listen_all(url: str, limit_s: float, n_calls: int) -> list[Told]:
    return await asyncio.gather(*(listen(url, limit_s, number) for number in range(n_calls)))


def spread(values: list[float]) -> Summary:
    """Percentiles and the worst."""
    p50, p95, p99 = np.percentile(values, (50, 95, 99))
    return {"p50": float(p50), "p95": float(p95), "p99": float(p99), "max": max(values)}


def run_all(args: argparse.Namespace) -> dict[str, Any]:
    """Every variant in turn; the report as JSON-ready data."""
    about = command.machine()
    results = {}
    for variant in args.only:
        results[variant.title] = measure(variant, args)
        print(f"{variant.title}: done", file=sys.stderr)
    base = results.get(REFERENCE)
    ratios = {
        title: result["barge_in_ms"]["p50"] / base["barge_in_ms"]["p50"]
        for title, result in results.items()
        if base is not None and title != REFERENCE
    }
    settings = {name: getattr(args, name) for name in ("calls", "rounds")}
    return {"machine": about, "settings": settings, "results": results, "ratios": ratios}


def print_report(report: dict[str, Any]) -> None:
    """The tables, for people."""
    for name, title in (
        ("barge_in_ms", "barge-in, ms"),
        ("heard_error_ms", "heard error, ms"),
        ("lead_ms", "lead, ms"),
    ):
        print(f"\n{title:<18}" + "".join(f"{rank:>9}" for rank in ("p50", "p95", "p99", "max")))
        for variant, result in report["results"].items():
            print(f"  {variant:<16}" + "".join(f"{each:9.2f}" for each in result[name].values()))
    if report["ratios"]:
        print(f"\nmedian barge-in over that of {REFERENCE}")
        for variant, ratio in report["ratios"].items():
            print(f"  {variant:<16}{ratio:9.2f}")
    print(
        "\nwas the machine quiet? the fake's own lateness (p99 of the worst call, ms), gaps heard"
    )
    for variant, result in report["results"].items():
        print(f"  {variant:<16}{result['late_ms']:9.2f}{result['gaps']:9}")
    n_cases = sum(result["interruptions"] for result in report["results"].values())
    print(f"\n{n_cases} interruptions, every one verified")


def verdict(report: dict[str, Any]) -> list[str]:
    """What ``--check`` finds wrong, a line each."""
    return [
        f"{title}: p95 of barge-in is {result['barge_in_ms']['p95']:.1f} ms"
        for title, result in report["results"].items()
        if title.startswith("clear") and result["barge_in_ms"]["p95"] >= BARGE_IN_P95_MAX_MS
    ]


def _variants(text: str) -> list[Variant]:
    """From the command line: ``clear:200,cancel:200``."""
    found = []
    for part in text.split(","):
        how, _, lead_ms = part.partition(":")
        if how not in ("clear", "cancel") or not lead_ms.isdecimal():
            raise argparse.ArgumentTypeError(f"{part!r} is no variant such as clear:200")
        found.append(Variant(how, int(lead_ms)))
    return found


def _rounds(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_ROUNDS:
        raise argparse.ArgumentTypeError(f"rounds are 1 to {MAX_ROUNDS}")
    return int(text)


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = command.parser(__doc__, SMALLEST)
    limit = f"barge-in by clear has a p95 of {BARGE_IN_P95_MAX_MS:g} ms or more"
    command.add_report_flags(parser, limit)
    parser.add_argument("--calls", type=int, default=30)
    parser.add_argument("--rounds", type=_rounds, default=8, help="interruptions of each call")
    parser.add_argument("--only", type=_variants, default=VARIANTS, help="such as clear:200")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run as the command line says; 0, or 1 if something was heard wrongly or ``--check``."""
    script = command.Script("playout", __doc__, run_all, print_report, verdict)
    return command.run(script, _arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
