"""What processors log about their calls: with its id, and not without end."""

from __future__ import annotations

import logging

import pytest

from mediaserver.logs import CallLogger
from mediaserver.logs.calls import CALL_LINES

LOGGER = logging.getLogger("mediaserver.call")


@pytest.fixture(autouse=True)
def _all_levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mediaserver.call")


def test_each_line_has_the_call(caplog: pytest.LogCaptureFixture) -> None:
    """In its text, and for formatters; from whichever place in the user's code it comes."""
    log = CallLogger(LOGGER, "v3:100%s\n")
    log.info("all %d of it", 7, extra={"customer": 8})
    log.warning("100 %, no arguments")
    log.debug("nobody would see it")
    try:
        raise ValueError("why")
    except ValueError:
        log.exception("it failed")
    assert [r.getMessage() for r in caplog.records] == [
        "call v3:100%s\\n: all 7 of it",
        "call v3:100%s\\n: 100 %, no arguments",
        "call v3:100%s\\n: it failed",
    ]
    first = caplog.records[0]
    assert (first.call_id, first.event, first.customer) == ("v3:100%s\n", "call_log", 8)
    assert {r.funcName for r in caplog.records} == {"test_each_line_has_the_call"}
    assert caplog.records[2].exc_info is not None


def test_a_flood_leaves_some_lines(caplog: pytest.LogCaptureFixture) -> None:
    """Of each processor of a call; another one is not concerned."""
    one, other = CallLogger(LOGGER, "c1"), CallLogger(LOGGER, "c2")
    for n in range(CALL_LINES + 300):
        one.info("line %d", n)
    other.info("mine")
    texts = [r.getMessage() for r in caplog.records]
    assert len(texts) == CALL_LINES + 1
    assert texts[-1] == "call c2: mine"


async def test_how_many_more_is_said_with_the_call(caplog: pytest.LogCaptureFixture) -> None:
    """When the time is over."""
    log = CallLogger(LOGGER, "c1")
    for n in range(CALL_LINES + 300):
        log.info("line %d", n)
    log._limit._tell(float("inf"))
    last = caplog.records[-1]
    assert last.getMessage() == "call c1: call.log: and 300 more"
    assert (last.event, last.call_id, last.fields) == ("call_log", "c1", {"left_out": 300})
    log._limit.forget()
