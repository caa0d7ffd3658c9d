"""The report as one HTML file that needs nothing else: no script, no other file, no network."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from mediaserver.bench.figures import Report, Rung
from mediaserver.bench.report import plots, text

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; display: block;
  overflow-x: auto; }
th, td { padding: .15rem .6rem; text-align: right; border-bottom: 1px solid #8884; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; }
dd { margin: 0; overflow-wrap: anywhere; }
figure { margin: 1.5rem 0; max-width: 640px; } figcaption { font-weight: 600; }
svg { width: 100%; height: auto; font: 11px system-ui, sans-serif; }
.grid { stroke: #8884; } .at { stroke: #888; stroke-dasharray: 4 4; }
.knee { font-size: 1.2rem; font-weight: 600; } .failed { color: #c8501e; }
"""


def page(report: Report) -> str:
    """The whole file."""
    best = best_of(report)
    facts = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in text.about(report)
    )
    hidden = "".join(f"<li>{escape(each)}</li>" for each in text.NOT_SHOWN)
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>mediaserver bench: {report.knee.n_calls} calls</title>"
        f"<style>{_STYLE}</style></head>\n<body>\n<h1>How many calls</h1>\n"
        f'<p class="knee">{escape(text.knee_line(report))}</p>\n'
        f"{_plots(report)}\n"
        f"{plots.bars(f'Round trips at {best.n_calls} calls', 'ms, up to', best.histogram)}\n"
        f"<h2>All rungs</h2>\n{_table(report)}\n<p>{escape(text.LEGEND)}</p>\n"
        f"<h2>Where and how</h2>\n<dl>{facts}</dl>\n"
        f"<h2>What this does not show</h2>\n<ul>{hidden}</ul>\n</body>\n</html>\n"
    )


def best_of(report: Report) -> Rung:
    """The largest rung that is good; the baseline, where none is."""
    good = [rung for rung in report.rungs if rung.outcome == "good"]
    return max(good, key=lambda rung: rung.n_calls, default=report.baseline)


def _plots(report: Report) -> str:
    last = {rung.n_calls: rung for rung in [report.baseline, *report.rungs]}
    rungs = [last[n_calls] for n_calls in sorted(last)]
    at = float(report.knee.n_calls)
    latency = [
        plots.Series(name, [(r.n_calls, r.round_trip_ms[name]) for r in rungs])
        for name in ("p50", "p99", "p99.9")
    ]
    cpu = [plots.Series("generator", [(r.n_calls, r.generator_percent) for r in rungs])]
    server = [(r.n_calls, r.server.cpu_percent) for r in rungs]
    frame = [(r.n_calls, r.server.cpu_us_per_frame) for r in rungs]
    cpu = [*_series("server", server), *cpu]
    return "\n".join(
        [
            plots.lines("Round trip, ms", "calls", latency, is_log=True, at=at),
            plots.lines("CPU, % of a core", "calls", cpu, is_log=False, at=at),
            plots.lines("CPU, µs a frame", "calls", _series("server", frame), is_log=False, at=at),
        ]
    )


def _series(name: str, points: Sequence[tuple[int, float | None]]) -> list[plots.Series]:
    known = [(float(x), y) for x, y in points if y is not None]
    return [plots.Series(name, known)] if known else []


def _table(report: Report) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in text.COLUMNS)
    rows = []
    for rung in [report.baseline, *report.rungs]:
        row = "".join(f"<td>{escape(cell)}</td>" for cell in text.cells(rung))
        why = escape("; ".join(rung.why))
        rows.append(f'<tr class="{rung.outcome}" title="{why}">{row}</tr>')
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
