"""Faults of the API and of webhooks: what a client makes of them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from mediaserver.carrier.rest.faults import RateLimit, RestFault
from mediaserver.carrier.rest.habits import Habits
from mediaserver.carrier.rest.webhooks import WebhookFaults
from mediaserver.control import RetryPolicy, TelnyxClient
from mediaserver.control.errors import CommandTimeoutError, NetworkError
from tests.carrier.rest.world import world


@pytest.mark.parametrize(
    ("kind", "status"), [("status", 503), ("status", 429), ("cut", 0), ("cut_after", 0)]
)
async def test_a_command_in_trouble_is_carried_out_once(kind: Any, status: int) -> None:
    """Through errors and cut connections the client's retries do the command exactly once."""
    async with world(RetryPolicy(base_s=0.01)) as w:
        call = await w.dialled()
        soon = {"x-ratelimit-reset": "0"}
        fault = RestFault(kind, "streaming_start", times=2, status=status, headers=soon)
        w.fake.faults.add(fault)
        await w.actions.start_streaming(call, stream_url=w.media_url)
        await w.until_event("streaming.started")
        tries = [c for c in w.fake.commanded if c.command == "streaming_start"]
        assert len(tries) == 3
        assert len({c.body["command_id"] for c in tries}) == 1
        await w.actions.stop_streaming(call)
        await w.until_event("streaming.stopped")
        assert w.types().count("streaming.started") == 1


async def test_a_dial_that_was_cut_is_not_repeated() -> None:
    """A dial whose answer was lost is reported as such: the phone rings once."""
    async with world(RetryPolicy(base_s=0.01)) as w:
        w.fake.faults.add(RestFault("cut_after", "dial"))
        with pytest.raises(NetworkError) as caught:
            await w.client.calls.dial(connection_id="c", from_="+1", to="+2")
        assert caught.value.sent
        assert len(w.fake.calls) == 1


async def test_a_slow_answer_ends_at_the_deadline() -> None:
    """A command that gets no answer in time fails with a timeout."""
    async with world(RetryPolicy(deadline_s=0.1)) as w:
        w.fake.faults.add(RestFault("slow", "hangup", times=9, delay_s=0.5))
        with pytest.raises(CommandTimeoutError):
            await w.actions.hangup("v3:a")


async def test_the_rate_limit_is_told_and_kept() -> None:
    """Beyond the limit the answer is 429 with headers, and the client waits for the reset."""
    async with world(rate_limit=RateLimit(limit=1, window_s=0.5)) as w:
        slept: list[float] = []

        async def sleep(delay_s: float) -> None:
            slept.append(delay_s)
            await asyncio.sleep(0.5)

        async with TelnyxClient(w.fake.api_key, base_url=w.fake.base_url, sleep=sleep) as client:
            for _ in range(2):
                await client.calls.dial(connection_id="c", from_="+1", to="+2")
        assert [c.status for c in w.fake.commanded] == [200, 429, 200]
        assert slept[0] >= 1


async def test_webhooks_may_be_doubled_and_shuffled() -> None:
    """Copies and overtaking on the way change nothing in what is handled."""
    faults = WebhookFaults(copies=3, delay_s=0.01, scatter_s=0.05, seed=1)
    async with world(webhook_faults=faults) as w:
        call = await w.dialled(stream_url=w.media_url)
        await w.until_event("streaming.started")
        await w.actions.hangup(call)
        await w.until(lambda: {"call.hangup", "streaming.stopped"} <= set(w.types()))
        await w.fake.webhooks.flush()
        assert len(w.fake.webhooks.deliveries) == 15
        assert sorted(w.types()) == sorted(set(w.types()))
        assert len(w.types()) == 5


async def test_a_webhook_nobody_takes_is_tried_three_times() -> None:
    """A delivery that is not answered 2xx is repeated with a higher attempt."""
    async with world() as w:
        for path in ("/nowhere", None):
            w.fake.webhook_url = w.fake.base_url + path if path else "http://127.0.0.1:1/"
            w.fake.webhooks.retry_s = 0.01
            w.fake.ring()
        await w.fake.webhooks.flush()
        attempts = [(d.attempt, d.status) for d in w.fake.webhooks.deliveries]
        assert attempts == [(1, 404), (2, 404), (3, 404), (1, None), (2, None), (3, None)]
        w.fake.webhook_url = None
        w.fake.ring()
        await w.fake.webhooks.flush()
        assert len(w.fake.webhooks.deliveries) == 6


async def test_a_key_is_pressed_while_the_stream_connects_again() -> None:
    """The webhook tells of it; a stream without a connection does not, and nothing breaks."""
    failed: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))
    habits = Habits(answer_after_s=0.0, second_stream="reconnect", reconnect_for_s=0.5)

    async def cut(socket: ServerConnection) -> None:
        async for _ in socket:
            socket.transport.abort()

    async with world(habits=habits) as w:
        async with serve(cut, "127.0.0.1", 0) as media:
            port = next(iter(media.sockets)).getsockname()[1]
            call = w.fake.calls[await w.dialled(stream_url=f"ws://127.0.0.1:{port}/")]
            await w.until_event("streaming.started")
        while "streaming.failed" not in w.types():
            call.press("5")
            await asyncio.sleep(0.02)
        await w.fake.webhooks.flush()
        assert w.types().count("call.dtmf.received") > 5
    assert not failed
