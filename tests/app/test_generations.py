"""Two generations in one process: what the newer one does for the calls of the older one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from mediaserver.app import MediaServer
from mediaserver.carrier import CallPlan, FakeCall, place_call
from mediaserver.processors.api import Reconnected, Webhook
from mediaserver.settings import Settings
from tests.control.webhooks.deliveries import KEY, envelope, headers, public
from tests.server.conftest import bot
from tests.server.watching import seen, soon

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere a server that drains is not found"
)
FRAME = b"\xff" * 160


@contextlib.asynccontextmanager
async def two(plan: CallPlan, older: dict[str, Any], newer: dict[str, Any]) -> AsyncIterator[Any]:
    """A call of a server that drains, and the server that listens in its place."""
    common: dict[str, Any] = {"processors": (bot("events"),), "public_keys": public(KEY)}
    async with MediaServer(Settings(port=0, **{**common, **older})) as first:
        ready = asyncio.Event()
        running = asyncio.create_task(first.run(ready.set))
        await ready.wait()
        async with FakeCall.connect(first.url, plan) as call:
            await call.send_payload(FRAME)
            await soon(lambda: first.service.n_calls == 1, 30)
            os.kill(os.getpid(), signal.SIGTERM)
            await soon(lambda: first.service.draining, 30)
            given = Settings(port=first.service.port, **{**common, **newer})
            async with MediaServer(given) as second:
                yield first, call, second
        await asyncio.wait_for(running, 60)


async def test_webhooks_of_an_older_call_reach_it() -> None:
    """They are verified by the newer one, and heard by the bot of the older one, once."""
    plan = CallPlan()
    async with two(plan, {}, {}) as (first, _, second):
        body = envelope("call.recording.saved", call_control_id=plan.call_control_id)
        url = second.url.replace("ws://", "http://").replace("/media", "/webhooks/telnyx")
        async with httpx.AsyncClient() as client:
            for _ in range(2):
                answer = await client.post(
                    url, content=body, headers=dict(headers(body, int(time.time())))
                )
                assert answer.status_code == 200
        await soon(lambda: any(isinstance(each, Webhook) for each in seen(plan)), 30)
        assert first.service.n_calls == 1
        assert second.service.n_calls == 0
    assert sum(isinstance(each, Webhook) for each in seen(plan)) == 1


@pytest.mark.parametrize("secret", ["old", "new"])
async def test_a_call_comes_back_with_the_token_that_it_had(secret: str) -> None:
    """Also where the newer server asks for another; a new call may not have the old one then."""
    plan = CallPlan(token="old")
    async with two(plan, {"auth_token": "old"}, {"auth_token": secret}) as (first, call, second):
        await call.reconnect()
        assert call.record.error is None
        await call.send_payload(FRAME)
        await soon(lambda: any(isinstance(each, Reconnected) for each in seen(plan)), 30)
        assert second.service.counters["passed_on"] == 1
        report = await place_call(second.url, CallPlan(seconds=0.1, token="old"))
        assert (report.error is None and report.close_code == 1000) == (secret == "old")
        assert first.service.n_calls == 1


async def test_calls_of_both_are_counted() -> None:
    """The newer one is full by the older one's calls, and has room when they are over."""
    async with two(CallPlan(), {}, {"max_calls": 1}) as (first, call, second):
        refused = await place_call(second.url, CallPlan(seconds=0.1))
        assert refused.close_code == 1013 or "503" in str(refused.error)
        await call.hang_up()
        await soon(lambda: first.service.n_calls == 0, 30)
        for _ in range(100):
            report = await place_call(second.url, CallPlan(seconds=0.1))
            if report.error is None and report.close_code == 1000:
                break
            await asyncio.sleep(0.1)  # the end has not been told yet
        else:
            raise AssertionError(report)
