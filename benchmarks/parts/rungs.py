"""So many calls against one server after the other, in turns, and what that comes to."""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from benchmarks.parts.command import Failed
from benchmarks.parts.servers import free_port
from mediaserver.bench import capacity
from mediaserver.bench.figures import BenchError, Load, Report, Rung
from mediaserver.bench.fleet import Fleet, default_processes
from mediaserver.bench.own_server import Meter, Watched, own_server, serving
from mediaserver.bench.ramp import Ramp
from mediaserver.bench.report.text import knee_line

ROOT = Path(__file__).resolve().parents[2]


class Subject(NamedTuple):
    """What is measured: a server, and the codecs of its calls."""

    title: str
    serve: Callable[[], AbstractContextManager[Watched]]
    mix: tuple[str, ...] = ("PCMU",)
    most: int = 100_000
    """Calls that are worth trying."""
    n_processes: int = 1
    """It shares calls out among so many: each gets as many as others have in all."""


def ours(*flags: str, title: str, mix: Sequence[str] = ("PCMU",), n_processes: int = 1) -> Subject:
    """``mediaserver serve`` with these flags."""
    serve = partial(own_server, list(flags), 1000)
    return Subject(title, serve, tuple(mix), n_processes=n_processes)


def foreign(
    title: str, command: Callable[[int], list[str]], *, scheme: str = "ws", most: int = 100_000
) -> Subject:
    """A server whose command takes a port of loopback."""

    @contextlib.contextmanager
    def serve() -> Iterator[Watched]:
        port = free_port()
        with serving(command(port), port) as pid:
            yield Watched(f"{scheme}://127.0.0.1:{port}/media", title, (pid,))

    return Subject(title, serve, most=most)


def add_flags(to: argparse.ArgumentParser) -> None:
    """Add what shapes the load."""
    to.add_argument("--seconds", type=float, default=5.0, help="counted, of each run")
    to.add_argument("--warmup", type=float, default=1.5, help="seconds before, not counted")
    to.add_argument("--repeats", type=int, default=5, help="of each run with a given load")
    to.add_argument("--frames", choices=("spread", "bunches"), default="spread")
    text = "write the tables there; a page that has a place for them keeps all else"
    to.add_argument("--markdown", type=Path, metavar="FILE", help=text)


def load_of(args: argparse.Namespace, subject: Subject, url: str) -> Load:
    """The load that the flags ask for."""
    return Load(
        url=url, mix=subject.mix, frames=args.frames, warmup_s=args.warmup, seconds=args.seconds
    )


def once(fleet: Fleet, subject: Subject, args: argparse.Namespace, n_calls: int) -> Rung:
    """So many calls against a fresh server, or each of its processes.

    Raises:
        Failed: it did not come up, or what came back was wrong.
    """
    n_calls *= subject.n_processes
    try:
        with subject.serve() as server:
            meter = Meter(server)
            rung = capacity.rung(fleet, load_of(args, subject, server.url), n_calls, meter)
    except BenchError as error:
        raise Failed(f"{subject.title}: {error}") from error
    if rung.wrong or not rung.returned:
        raise Failed(f"{subject.title}: {'; '.join(rung.why)}")
    print(
        f"{n_calls:4} calls  {subject.title:<28} {rung.server.cpu_us_per_frame:7.1f} µs/frame"
        f"  p99 {rung.round_trip_ms['p99']:.1f} ms  lost {rung.lost}"
        f"  waited for a core {rung.server.waited_percent:.0f} %",
        file=sys.stderr,
    )
    return rung


def in_turns(
    subjects: Mapping[str, Subject], args: argparse.Namespace, n_calls: int
) -> dict[str, list[Rung]]:
    """Each once a repeat, one after the other: what slows the machine for a while meets all."""
    found: dict[str, list[Rung]] = {key: [] for key in subjects}
    with Fleet(default_processes()) as fleet:
        for _ in range(args.repeats):
            for key, subject in subjects.items():
                found[key].append(once(fleet, subject, args, n_calls))
    return found


def knee(subject: Subject, args: argparse.Namespace, most: int) -> Report | str:
    """The knee; or why there is none."""

    def tell(event: capacity.Event) -> None:
        if event.rung is not None:
            rung = event.rung
            print(
                f"{subject.title:<28} {event.n_calls:4} calls  {rung.outcome:<8}"
                f" p99 {rung.round_trip_ms['p99']:.1f} ms  {'; '.join(rung.why)}",
                file=sys.stderr,
            )

    try:
        with subject.serve() as server:
            load = load_of(args, subject, server.url)
            ramp = Ramp(min(most, subject.most))
            return capacity.find(server, load, ramp, default_processes(), tell)
    except BenchError as error:
        return str(error)


def spread(values: Sequence[float | None]) -> dict[str, float] | None:
    """Median and quartiles; None: nothing is known."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    quartiles = (
        statistics.quantiles(known, n=4, method="inclusive") if len(known) > 1 else known * 3
    )
    return {"median": statistics.median(known), "q1": quartiles[0], "q3": quartiles[2]}


def summary(rungs: Sequence[Rung]) -> dict[str, Any]:
    """What the repeats of one server come to."""
    return {
        "cpu_us_per_frame": spread([rung.server.cpu_us_per_frame for rung in rungs]),
        "p99_ms": spread([rung.round_trip_ms["p99"] for rung in rungs]),
        "memory_kb_per_call": spread([rung.server.memory_kb_per_call for rung in rungs]),
        "waited_percent": max(rung.server.waited_percent or 0.0 for rung in rungs),
        "lost": sum(rung.lost for rung in rungs),
    }


def ratio(top: Sequence[Rung], base: Sequence[Rung]) -> dict[str, float] | None:
    """CPU per frame, pair by pair."""
    pairs = zip(top, base, strict=True)
    costs = [(a.server.cpu_us_per_frame, b.server.cpu_us_per_frame) for a, b in pairs]
    return spread([a / b if a and b else None for a, b in costs])


def cell(values: Mapping[str, float] | None, digits: int = 1) -> str:
    """Median with its quartiles."""
    if values is None:
        return "–"
    low, high = values["q1"], values["q3"]
    return f"{values['median']:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def knee_cell(report: Report | str | None) -> str:
    """The knee, with a sign where the server was not the limit."""
    if not isinstance(report, Report):
        return "–" if report is None else f"none: {report}"
    sign = "" if report.knee.limit == "server" else "≥ "
    return f"{sign}{report.knee.n_calls}"


def knee_of(report: Report | str | None) -> int:
    """Calls that are served well; 0 where nothing is known."""
    return report.knee.n_calls if isinstance(report, Report) else 0


def told(report: Report | str) -> str:
    """One line on it."""
    return report if isinstance(report, str) else knee_line(report)


def as_data(report: Report | str) -> object:
    """JSON-ready."""
    return report if isinstance(report, str) else msgspec.to_builtins(report)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in Markdown, its columns aligned for the reader of the text."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        both = zip(cells, widths, strict=True)
        return "| " + " | ".join(text.ljust(width) for text, width in both) + " |"

    return [line(head), line(["-" * width for width in widths]), *map(line, rows)]


def origin(about: Mapping[str, str], command_line: str) -> str:
    """Where figures come from: what a table must be headed by."""
    return (
        f"{about['date']}, commit {about['commit']}, {about['cpu']}, {about['cores']} cores,"
        f" {about['system']}, Python {about['python']}, load before {about['load_before']}:"
        f" `{command_line}`"
    )


def repeat_by(script: str, given: Sequence[str]) -> str:
    """The command that measures it again; where its table went is left out."""
    kept, words = [], iter(given)
    for word in words:
        if word == "--markdown":
            next(words, None)
        elif not word.startswith("--markdown="):
            kept.append(word)
    return " ".join(["python", f"benchmarks/{script}.py", *kept])


def closing(found: Iterable[Sequence[Rung]]) -> str:
    """How to read the figures, and whether the machine was quiet."""
    waited = max(
        (rung.server.waited_percent or 0.0 for each in found for rung in each), default=0.0
    )
    return (
        "Medians, quartiles in brackets. So much of the time a server waited for a core, at the"
        f" worst: {waited:.0f} %."
    )


def show(script: str, lines: Sequence[str], markdown: Path | None) -> None:
    """Print the lines, and write them where that is asked for."""
    print("\n".join(["", *lines]))
    if markdown is not None:
        before = markdown.read_text(encoding="utf-8") if markdown.exists() else ""
        markdown.write_text(filled(before, script, lines), encoding="utf-8")


def filled(page: str, script: str, lines: Sequence[str]) -> str:
    """The page with the lines in the script's place; without such a place, the lines alone.

    The place is between ``<!-- measured by benchmarks/NAME.py -->`` and ``<!-- end of NAME -->``.
    """
    text = "\n".join([*lines, ""])
    begin, end = f"<!-- measured by benchmarks/{script}.py -->\n", f"<!-- end of {script} -->"
    if begin not in page or end not in page:
        return text
    before, _, rest = page.partition(begin)
    return f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}"
