"""Figures of processes that come and go, added up so that nothing falls."""

from __future__ import annotations

from mediaserver.figures.figures import Figures, Measured
from mediaserver.monitor.gathered import Gathered


def said(pid: int, number: int, sent: float, hosts: int = 0, lag_s: float = 0.0) -> Measured:
    """What one process says."""
    figures = Figures({("frames_total", "out", "PCMU", "sent"): sent})
    figures.observe("loop_lag_seconds", lag_s, "calls")
    figures.set("processor_hosts", hosts)
    return Measured(pid, number, figures)


def frames(figures: Figures) -> float:
    (value,) = figures.sums.values()
    return value


def test_processes_add_up() -> None:
    """Sums, histograms and levels of all that answer."""
    figures = Gathered().heard([(0, said(10, 0, 5, 1)), (1, said(11, 0, 7, 2))])
    assert frames(figures) == 12
    assert figures.levels == {("processor_hosts",): 3}
    assert sum(figures.histograms["loop_lag_seconds", "calls"][:-1]) == 2


def test_one_that_does_not_answer_keeps_its_sums() -> None:
    """What it said last stays true; its levels are not known."""
    gathered = Gathered()
    gathered.heard([(0, said(10, 0, 5, 1)), (1, said(11, 0, 7, 2))])
    figures = gathered.heard([(1, said(11, 1, 8, 2))])
    assert frames(figures) == 13
    assert figures.levels == {("processor_hosts",): 2}


def test_one_that_died_keeps_its_sums() -> None:
    """The next one in its place begins at 0, and so does the one behind that."""
    gathered = Gathered()
    gathered.heard([(0, said(10, 4, 5))])
    assert frames(gathered.heard([(0, said(20, 0, 1))])) == 6
    assert frames(gathered.heard([(0, said(20, 1, 2))])) == 7
    assert frames(gathered.heard([(0, said(30, 0, 4))])) == 11


def test_an_older_answer_that_comes_later_changes_nothing() -> None:
    """Two were asked for at once."""
    gathered = Gathered()
    gathered.heard([(0, said(10, 2, 9))])
    assert frames(gathered.heard([(0, said(10, 1, 5))])) == 9


def test_the_order_of_fractions_makes_nothing_fall() -> None:
    """0.1 + 0.2 + 0.3 is more than 0.3 + 0.2 + 0.1."""
    gathered = Gathered()
    before = gathered.heard(
        [(n, said(n + 1, 0, 0, lag_s=s)) for n, s in enumerate((0.1, 0.2, 0.3))]
    )
    # The second and third are replaced: what they said is added first from now on.
    now = gathered.heard([(1, said(8, 0, 0)), (2, said(9, 0, 0))])
    assert (
        now.histograms["loop_lag_seconds", "calls"][-1]
        >= before.histograms["loop_lag_seconds", "calls"][-1]
    )
    assert frames(now) == 0
