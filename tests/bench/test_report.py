"""What is told of a run, on the terminal and on the page."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import msgspec
import pytest

from mediaserver.bench.figures import Knee, Load, Outcome, Report, Rung, ServerCost
from mediaserver.bench.report import page, plots, text


def rung(n_calls: int, p99: float, outcome: Outcome = "good", why: str = "") -> Rung:
    ranks = dict(
        zip(("p50", "p95", "p99", "p99.9", "max"), (1.0, 2.0, p99, 2 * p99, 99.0), strict=True)
    )
    return Rung(
        n_calls=n_calls,
        n_up=n_calls,
        outcome=outcome,
        why=[why] if why else [],
        sent=50 * n_calls,
        returned=50 * n_calls - bool(why),
        wrong=0,
        refused=0,
        late=0,
        problems={},
        round_trip_ms=ranks,
        lateness_ms=ranks,
        generator_percent=12.0,
        server=ServerCost(cpu_us_per_frame=22.5, cpu_percent=40.0),
        histogram=[(1.0, 5), (1.26, 40), (1.58, 0), (2.0, 3)],
    )


@pytest.fixture
def report() -> Report:
    return Report(
        machine={"cpu": "<fast & cheap>", "commit": "abc1234"},
        load=Load(url="ws://x", mix=("PCMU", "OPUS")),
        server="mediaserver serve --processor echo",
        baseline=rung(2, 1.5),
        rungs=[rung(50, 3.0), rung(100, 44.0, "failed", "1 of 5000 frames lost")],
        knee=Knee(50, "server"),
        took_s=12.0,
    )


def test_the_text_has_each_rung_and_ends_with_the_knee(report: Report) -> None:
    """What is not good says why; what it does not show is said."""
    said = list(text.lines(report))
    assert said[-1].startswith("knee: 50 calls (more are not served well)")
    assert "above the 1.5 ms of 2 calls" in said[-1]
    assert "100 calls: 1 of 5000 frames lost" in said
    assert any(line.startswith("Not shown: ") for line in said)
    assert sum(line.endswith(("good", "failed")) for line in said) == 3


@pytest.mark.parametrize(
    ("knee", "words"),
    [
        (Knee(50, "generator"), "at least 50 calls (the generator was the limit"),
        (Knee(50, "asked"), "at least 50 calls (all that were asked for"),
    ],
)
def test_a_knee_that_is_none_of_the_server_is_a_lower_bound(
    report: Report, knee: Knee, words: str
) -> None:
    """It is said what kept it from being found."""
    assert words in text.knee_line(msgspec.structs.replace(report, knee=knee))


def test_the_page_needs_nothing_else(report: Report) -> None:
    """No script, no other file; four plots that are well-formed; texts are escaped."""
    made = page.page(report)
    assert not re.search(r"<script|src=|href=|url\(|@import|https?:", made)
    assert "&lt;fast &amp; cheap&gt;" in made
    assert "abc1234" in made
    assert "What this does not show" in made
    drawn = re.findall(r"<svg.*?</svg>", made, re.DOTALL)
    assert len(drawn) == 4
    for each in drawn:
        ET.fromstring(each)


def test_a_figure_that_is_not_known_leaves_its_plot_out(report: Report) -> None:
    """As of a server on another machine."""
    unknown = msgspec.structs.replace(rung(50, 3.0), server=ServerCost())
    made = page.page(msgspec.structs.replace(report, baseline=unknown, rungs=[unknown]))
    assert "CPU, µs a frame" not in made
    assert "–" in "".join(text.cells(unknown))


def test_points_are_where_their_values_are() -> None:
    """Twice the value is twice as high; on a logarithmic scale ten times is one step."""
    series = [plots.Series("a", [(0.0, 0.0), (5.0, 5.0), (10.0, 10.0)])]
    drawn = plots.lines("t", "x", series, is_log=False)
    ys = [float(y) for y in re.findall(r'<circle cx="\S+" cy="(\S+)"', drawn)]
    assert ys[0] - ys[1] == pytest.approx(ys[1] - ys[2])
    series = [plots.Series("a", [(1.0, 1.0), (2.0, 10.0), (3.0, 100.0)])]
    drawn = plots.lines("t", "x", series, is_log=True)
    ys = [float(y) for y in re.findall(r'<circle cx="\S+" cy="(\S+)"', drawn)]
    assert ys[0] - ys[1] == pytest.approx(ys[1] - ys[2], abs=0.2)
    assert plots.lines("t", "x", [], is_log=True) == plots.bars("t", "x", []) == ""


@pytest.mark.parametrize(
    ("value", "top"), [(0, 1), (0.9, 1), (1, 1), (1.1, 2), (3, 5), (700, 1000)]
)
def test_axes_end_at_round_numbers(value: float, top: float) -> None:
    """1, 2, 5 and their tens."""
    assert plots.nice(value) == pytest.approx(top)
