"""Log lines about what comes from outside: few of a kind, then how many more."""

from __future__ import annotations

import asyncio
import logging

import pytest

from mediaserver.logs import LimitedLog, LineLimit, address, forget_all

LOGGER = logging.getLogger("mediaserver.tests")


def test_call_over_and_then_take_before_each_line() -> None:
    """The first lines of a period are written, the others counted and told when it is over."""
    limit = LineLimit(burst=2, period_s=10)
    assert limit.next_at is None
    assert [limit.take("a", now) for now in (100, 101, 102, 103)] == [True, True, False, False]
    assert limit.take("b", 103), "each kind has its own"
    assert limit.next_at == 110
    assert list(limit.over(109.9)) == []
    assert list(limit.over(110)) == [("a", 2)]
    assert (limit.next_at, list(limit.over(120))) == (None, []), "each is told once"
    assert limit.take("a", 121), "a new period begins with the next line"


def test_the_next_line_tells_where_no_loop_runs(caplog: pytest.LogCaptureFixture) -> None:
    """Of lines from a thread nobody wakes up: what is left out waits for the next one."""
    log = LimitedLog(LOGGER, LineLimit(burst=1, period_s=0))
    log.warning("things", "one of %s", "them")
    log.warning("things", "one more")  # the period is over at once
    assert [r.getMessage() for r in caplog.records] == ["one of them", "one more"]
    caplog.clear()
    log = LimitedLog(LOGGER, LineLimit(burst=1, period_s=60))
    for _ in range(4):
        log.error("things", "bad")
    assert [r.getMessage() for r in caplog.records] == ["bad"]


async def test_what_was_left_out_is_told_though_nothing_more_comes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """At the end of the period, with the level of its kind; after that it begins anew."""
    log = LimitedLog(LOGGER, LineLimit(burst=1, period_s=0.1))
    try:
        raise ValueError("why")
    except ValueError as exc:
        log.error("bad things", "one", exc_info=exc)
    for _ in range(312):
        log.error("bad things", "another")
        log.warning("odd things", "odd")
    async with asyncio.timeout(10):
        while len(caplog.records) < 4:  # noqa: ASYNC110  # no event tells of it
            await asyncio.sleep(0.01)
    said = [(r.levelname, r.getMessage()) for r in caplog.records]
    assert said[:2] == [("ERROR", "one"), ("WARNING", "odd")]
    assert sorted(said[2:]) == [
        ("ERROR", "bad things: and 312 more"),
        ("WARNING", "odd things: and 311 more"),
    ]
    assert caplog.records[0].exc_text is None or "why" in caplog.records[0].exc_text
    log.error("bad things", "again")
    assert caplog.records[-1].getMessage() == "again"
    log.error("bad things", "left out")
    forget_all()
    log.error("bad things", "as if nothing had been")
    assert caplog.records[-1].getMessage() == "as if nothing had been"


@pytest.mark.parametrize(
    ("peername", "shown"),
    [
        (("192.0.2.7", 5060), "192.0.2.7:5060"),
        (("2001:db8::7", 5060, 0, 0), "[2001:db8::7]:5060"),
        ("", "an unknown address"),
        (None, "an unknown address"),
    ],
)
def test_addresses(peername: object, shown: str) -> None:
    """Of both families; a Unix socket and a connection that is gone have none."""
    assert address(peername) == shown
