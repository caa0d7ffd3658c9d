"""Whoever holds up the loop is named, with file and line."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from mediaserver.carrier import CallPlan, place_call
from mediaserver.settings import ProcessorSetting
from tests.server.conftest import Serving
from tests.server.watching import soon

BOTS = Path(__file__).parent / "blamebots.py"


def bot(name: str) -> ProcessorSetting:
    return ProcessorSetting(f"{BOTS}:{name}", alias=name)


def line_of(text: str) -> int:
    lines = BOTS.read_text().splitlines()
    return next(n for n, line in enumerate(lines, 1) if text in line)


@pytest.mark.parametrize(
    ("name", "function", "text"),
    [
        ("Sleepy", "rest", "# the line"),
        ("busy", "busy", ""),
        ("child", "rest", "# the line"),
        ("spawned", "in_a_library", "# the task's line"),
        ("sourced", "source", "# the source's line"),
        ("later", "act", "# the callback's line"),
        ("Opening", "__init__", "# the filter's line"),
    ],
)
async def test_a_processor_is_named_with_its_call_and_line(
    serving: Serving, caplog: pytest.LogCaptureFixture, name: str, function: str, text: str
) -> None:
    """A filter, a handler, and what a handler has started: tasks, sources, callbacks."""
    caplog.set_level(logging.INFO)
    plan = CallPlan(seconds=1.0)
    async with serving(bot(name)) as server:
        await place_call(server.url, plan)
        await soon(lambda: server.service.counters["loop_blocked"] >= 1)
    lines = [r.getMessage() for r in caplog.records if "held up, " in r.getMessage()]
    # On a busy machine it may first have had no CPU.
    said = next(line for line in lines if plan.call_control_id in line)
    assert f"in {function}" in said
    found = re.search(rf"{re.escape(str(BOTS))}:(\d+) in", said)
    assert found is not None
    if text:
        assert int(found[1]) == line_of(text)
    assert f"processor {BOTS}:{name} of call" in said


@pytest.mark.parametrize(("name", "word"), [("collecting", "garbage"), ("in_c", "in C")])
async def test_what_is_no_python_line_is_told_apart(
    serving: Serving, caplog: pytest.LogCaptureFixture, name: str, word: str
) -> None:
    """A garbage collection, and code in C that lets nobody look."""
    caplog.set_level(logging.INFO)
    plan = CallPlan(seconds=3.0)
    async with serving(bot(name)) as server:
        await place_call(server.url, plan)
        counters = server.service.counters
        await soon(lambda: counters["loop_blocked"] + counters["loop_gc"] >= 1)
    said = [r.getMessage() for r in caplog.records if "held up" in r.getMessage()]
    assert any(word in line for line in said) or any(f"in {name}" in line for line in said), said


@pytest.mark.parametrize(("word", "ends"), [("warn", False), ("end", True), ("bypass", False)])
async def test_a_filter_over_its_budget_is_said_once(
    serving: Serving, caplog: pytest.LogCaptureFixture, word: str, ends: bool
) -> None:
    """It follows `on_budget`."""
    plan = CallPlan(seconds=1.5)
    async with serving(bot("Slow"), "echo", on_budget=word) as server:
        report = await place_call(server.url, plan)
        overruns = server.service.counters["budget_overruns"]
    said = [r.getMessage() for r in caplog.records if "its budget is 5.0 ms" in r.getMessage()]
    assert len(said) == 1
    assert "Slow takes up to" in said[0]
    assert overruns >= 1
    assert report.hung_up != ends
    if word == "bypass":
        assert overruns == 1
