"""What is shown and written of the calls."""

from __future__ import annotations

import json
import wave
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from mediaserver.carrier import CallReport, Summary
from mediaserver.carrier.report import COLUMNS, figure, rows
from telephony_codecs import Int16Array

# One row per call up to here; of more calls, only the failed ones.
MAX_ROWS = 20
TURN_COLUMNS = (
    *("#", "in", "out", "said s", "heard s", "first", "keys", "marks", "end s", "ended by"),
    "",
)


def record(reports: Sequence[CallReport], folder: Path) -> None:
    """Write what came back for each caller, gaps as silence, as ``call-N.wav``."""
    for number, report in enumerate(reports, 1):
        heard = report.heard
        if heard is not None and heard.runs:
            write_wav(folder / f"call-{number}.wav", heard.between(0, heard.end_s), heard.rate_hz)


def listen(report: CallReport, file: Path) -> None:
    """Write what the caller heard from ``start`` to the end of the call, sample by sample."""
    heard, ended_s = report.heard, report.ended_s or 0.0
    samples = np.zeros(0, np.int16) if heard is None else heard.between(0, ended_s)
    write_wav(file, samples, 8000 if heard is None else heard.rate_hz)


def write_wav(path: Path, samples: Int16Array, rate_hz: int) -> None:
    """Write int16 samples, shape ``(n,)``, as a mono file."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(samples.astype("<i2").tobytes())


def show_json(
    reports: Sequence[CallReport], summary: Summary, too_slow: str | None, *, expect_echo: bool
) -> None:
    """Print summary and calls as one JSON object."""
    calls = [report.as_json(expect_echo=expect_echo) for report in reports]
    figures = summary.as_json() | {"too_slow": too_slow}
    if reports[0].plan.turns is not None:
        for name in ("lost", "round_trip_ms", "snr_db"):
            del figures[name]
    print(json.dumps({"summary": figures, "calls": calls}, indent=2))


def show_table(
    reports: Sequence[CallReport], summary: Summary, too_slow: str | None, *, expect_echo: bool
) -> None:
    """Print a row per call, of very many calls only those that failed, and a summary."""
    takes_turns = reports[0].plan.turns is not None
    columns = TURN_COLUMNS if takes_turns else COLUMNS
    all_rows = turn_rows(reports) if takes_turns else rows(reports, expect_echo=expect_echo)
    table = Table(*columns, box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for row in all_rows:
        if len(reports) <= MAX_ROWS or row[-1] == "failed":
            table.add_row(*row)
    console = Console()
    console.print(table)
    if takes_turns and len(reports) <= MAX_ROWS:
        for number, report in enumerate(reports, 1):
            line = f"{number}: {'; '.join(story(report))}"
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(turn_line(reports, summary) if takes_turns else summary_line(summary))
    for problem, times in summary.problems.items():
        console.print(f"{times} × {problem}", markup=False)
    if too_slow is not None:
        console.print(too_slow, markup=False)


def turn_rows(reports: Sequence[CallReport]) -> list[tuple[str, ...]]:
    """Return one row of text per call with a bot, as ``TURN_COLUMNS`` names them."""
    return [_turn_row(number, report) for number, report in enumerate(reports, 1)]


def _turn_row(number: int, report: CallReport) -> tuple[str, ...]:
    heard = report.heard_at_s
    return (
        str(number),
        f"{report.plan.codec} {report.plan.in_rate_hz / 1000:g}k",
        f"{report.plan.out_codec} {report.plan.out_rate_hz / 1000:g}k",
        figure(_length([(from_s, to_s) for _, from_s, to_s in report.taken])),
        figure(_length(heard)),
        figure(heard[0][0] if heard else None),
        report.dtmf or "–",
        str(report.marks),
        figure(report.ended_s),
        ended_by(report),
        "failed" if report.problem else "ok",
    )


def ended_by(report: CallReport) -> str:
    """Return who ended the call."""
    if report.bot_hung_up:
        return "the bot"
    return "the caller" if report.hung_up else "a fault"


def story(report: CallReport) -> Iterator[str]:
    """Yield what was heard, said and pressed when, in seconds since ``start``."""
    if report.heard_at_s:
        times = ", ".join(f"{a:.2f}–{b:.2f}" for a, b in report.heard_at_s)
        yield f"heard {times} s"
    else:
        yield "nothing was heard"
    for name, from_s, to_s in report.taken:
        yield f"{name} {from_s:.2f}–{to_s:.2f} s"
    if report.ended_s is not None:
        yield f"ended by {ended_by(report)} at {report.ended_s:.2f} s"


def turn_line(reports: Sequence[CallReport], summary: Summary) -> str:
    """Return the figures of all calls with a bot in one line."""
    heard_s = sum(_length(report.heard_at_s) for report in reports)
    parts = [
        f"{summary.calls} calls, {summary.failed} failed",
        f"heard {heard_s:.1f} s, hung up by the bot {sum(r.bot_hung_up for r in reports)}",
    ]
    if first := [report.heard_at_s[0][0] for report in reports if report.heard_at_s]:
        parts.append(f"first heard after p50 {np.median(first):.2f}, max {max(first):.2f} s")
    return "; ".join(parts + _lateness(summary))


def summary_line(summary: Summary) -> str:
    """Return the figures of all calls in one line."""
    parts = [
        f"{summary.calls} calls, {summary.failed} failed",
        f"sent {summary.sent}, returned {summary.returned}, lost {summary.lost}",
    ]
    if trip := summary.round_trip_ms:
        parts.append(f"round trip p50 {trip.p50:.1f}, p99 {trip.p99:.1f}, max {trip.max:.1f} ms")
    return "; ".join(parts + _lateness(summary))


def _lateness(summary: Summary) -> list[str]:
    return [f"sent late p99 {summary.late_ms.p99:.1f} ms"] if summary.late_ms else []


def _length(stretches: Sequence[tuple[float, float]]) -> float:
    return sum(to_s - from_s for from_s, to_s in stretches)
