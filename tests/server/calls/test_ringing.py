"""Sockets of calls that ring: a short limit until ``connected``, a long one until ``start``."""

from __future__ import annotations

import asyncio
import logging

import pytest

from mediaserver.carrier import CallPlan, FakeCall, place_call
from mediaserver.server.calls.starting import StartLimits
from mediaserver.settings import Settings
from tests.server.conftest import Serving
from tests.server.watching import soon

TOKEN = "the shared secret"


def test_the_limits_are_those_of_a_ringing_call() -> None:
    """10 s until ``connected``; 660 s until ``start`` with a token, 30 s where there is none."""
    assert StartLimits.of(Settings(), needs_token=True) == (10, 660, True)
    assert StartLimits.of(Settings(), needs_token=False) == (10, 30, False)


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_call_may_ring_for_longer_than_the_first_limit(
    serving: Serving, workers: int
) -> None:
    """``connected`` in time is enough: ``start`` may come long after it."""
    plan = CallPlan(seconds=0.2, ring_s=1.0, token=TOKEN)
    limits = {"connected_within_s": 0.5, "start_within_s": 5.0}
    async with serving("echo", auth_token=TOKEN, workers=workers, **limits) as server:
        report = await place_call(server.url, plan)
        assert report.problem is None
        assert report.returned == 10
        await soon(lambda: server.service.n_calls == 0)
        assert server.service.counters["start_missing"] == 0
        assert server.service.counters["unanswered"] == 0


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_call_nobody_answers_is_no_fault(
    serving: Serving, workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Its abrupt close is counted as ``unanswered``, told at info, and is nobody's fault."""
    plan = CallPlan(ring_s=0.1, answer="never", token=TOKEN)
    with caplog.at_level(logging.INFO, "mediaserver.server"):
        async with serving("echo", auth_token=TOKEN, workers=workers) as server:
            await place_call(server.url, plan)
            await soon(lambda: server.service.counters["unanswered"] == 1)
            counters = dict(server.service.counters)
    assert counters.get("calls", 0) == 0
    assert not [name for name, n in counters.items() if n and name.startswith("closed.")]
    told = [r for r in caplog.records if "not answered" in r.message]
    assert [r.levelno for r in told] == [logging.INFO]
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("settings", "token", "greets"),
    [
        ({"connected_within_s": 0.2}, None, False),
        ({"connected_within_s": 0.2, "auth_token": TOKEN}, TOKEN, False),
        ({"start_within_s": 0.2, "auth_token": TOKEN}, TOKEN, True),
        ({"start_without_token_s": 0.2}, None, True),
    ],
)
async def test_a_peer_that_says_too_little_is_closed(
    serving: Serving, settings: dict[str, object], token: str | None, greets: bool
) -> None:
    """Without ``connected`` in the short limit, without ``start`` in the long one: 1002."""
    plan = CallPlan(ring_s=60, token=token)
    async with serving("echo", **settings) as server:
        async with FakeCall.connect(server.url, plan, greet=greets) as call:
            async with asyncio.timeout(5):
                await call.closed.wait()
            missing = "start" if greets else "connected"
            assert call.record.close_code == 1002
            assert call.record.close_reason == f"no {missing} message came"
        assert server.service.counters["start_missing"] == 1
        assert server.service.counters["unanswered"] == 0


async def test_who_brings_no_token_gets_no_time_to_ring(serving: Serving) -> None:
    """Its ``start`` may still bring one, and soon."""
    plan = CallPlan(ring_s=60)
    async with serving("echo", auth_token=TOKEN, connected_within_s=0.3) as server:
        async with FakeCall.connect(server.url, plan) as call:
            async with asyncio.timeout(5):
                await call.closed.wait()
            assert call.record.close_code == 1002
        assert server.service.counters["unanswered"] == 0


async def test_a_socket_that_goes_before_connected_is_a_fault(serving: Serving) -> None:
    """What was never a call is counted by its close code, as before."""
    async with serving("echo") as server:
        async with FakeCall.connect(server.url, CallPlan(), greet=False) as call:
            call.cut()
            await call.closed.wait()
        await soon(lambda: server.service.counters["closed.1006"] == 1)
        assert server.service.counters["unanswered"] == 0
