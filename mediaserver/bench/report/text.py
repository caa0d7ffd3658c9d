"""The report for a terminal, and the sentences that all forms of it share."""

from __future__ import annotations

from collections.abc import Iterator

from mediaserver.bench.capacity import MORE_MS
from mediaserver.bench.figures import LATE_MS, Report, Rung

COLUMNS = (
    "calls",
    *("p50", "p95", "p99", "p99.9", "max"),
    *("lost", "late"),
    *("CPU %", "µs/frame", "KB/call", "lag"),
    *("gen %", "gen p99"),
    "",
)
LEGEND = (
    "p50 to max: round trip in ms, from when a frame was due to when its audio was back. lost:"
    f" frames that did not come back within 3 s. late: later than {LATE_MS:.0f} ms. CPU %: of one"
    " core, all processes of the server. KB/call: PSS beyond that without calls. lag: p99 of the"
    " server's event loop in ms, rounded up. gen: CPU and lateness of the generator itself, which"
    " is part of the round trips."
)
NOT_SHOWN = (
    "a real network: loss, jitter, and the way to Telnyx and back",
    "what your processors cost: the server echoes",
    "what else runs on your machine; the generator itself uses a core of this one",
    "kernel time of loopback TCP that lands on whoever runs at that moment",
    "calls that talk for hours: see `make soak`",
)
LIMITS = {
    "server": "more are not served well",
    "generator": "the generator was the limit, so the server may carry more; use more cores, or"
    " another machine for it",
    "asked": "all that were asked for; the server may carry more, see --max-calls",
}


def knee_line(report: Report) -> str:
    """The result, in one sentence."""
    knee, base = report.knee, report.baseline
    sign = "" if knee.limit == "server" else "at least "
    return (
        f"knee: {sign}{knee.n_calls} calls ({LIMITS[knee.limit]}). Served well means: all audio"
        f" back, and p99 at most {MORE_MS:.0f} ms above the {base.round_trip_ms['p99']:.1f} ms of"
        f" {base.n_calls} calls."
    )


def cells(rung: Rung) -> list[str]:
    """A rung as the cells of ``COLUMNS``."""
    cost = rung.server
    return [
        str(rung.n_calls),
        *(f"{value:.1f}" for value in rung.round_trip_ms.values()),
        *(str(rung.lost), str(rung.late)),
        _figure(cost.cpu_percent, 0),
        _figure(cost.cpu_us_per_frame, 1),
        _figure(cost.memory_kb_per_call, 0),
        _figure(cost.loop_lag_ms, 0),
        *(f"{rung.generator_percent:.0f}", f"{rung.lateness_ms['p99']:.1f}"),
        rung.outcome if rung.outcome != "unknown" else "no verdict",
    ]


def _figure(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def about(report: Report) -> Iterator[tuple[str, str]]:
    """What the figures depend on, as names and values."""
    load = report.load
    yield "server", report.server
    yield "codecs", ", ".join(load.mix)
    yield "frames", f"{load.frames}; calls begin by {load.arrivals}, {load.rate:g} a second"
    yield "counted", f"{load.seconds:g} s of each rung, after {load.warmup_s:g} s"
    yield from report.machine.items()
    yield "took", f"{report.took_s:.0f} s"


def lines(report: Report) -> Iterator[str]:
    """The whole report."""
    yield from (f"{name}: {value}" for name, value in about(report))
    yield ""
    table = [list(COLUMNS), *map(cells, [report.baseline, *report.rungs])]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        yield "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    for rung in report.rungs:
        if rung.why:
            yield f"{rung.n_calls} calls: {'; '.join(rung.why)}"
    yield ""
    yield LEGEND
    yield f"Not shown: {'; '.join(NOT_SHOWN)}."
    yield ""
    yield knee_line(report)
