"""Ends that come at odd moments: together, twice, cancelled from within, never."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from mediaserver.app.relations import Relations
from mediaserver.carrier import CallPlan, FakeCall, place_call
from mediaserver.control import RestartLimits, RetryPolicy, TelnyxClient
from mediaserver.observer import CallSummary, StreamRequest
from mediaserver.server.calls.hangups import HangUps
from mediaserver.server.service import SingleProcessService
from mediaserver.settings import Settings
from tests.server.calls.audio.test_sources import Heard, outbound
from tests.server.conftest import Serving, bot
from tests.server.watching import seen, soon


@pytest.mark.parametrize(("name", "n_errors"), [("leaves_on_key", 0), ("fails_on_key", 2)])
async def test_the_last_of_two_that_end_together(
    serving: Serving, name: str, n_errors: int
) -> None:
    """Two handlers end on the same event: the call is hung up all the same."""
    settings = {"on_return": "hangup", "on_error": "auto"}
    async with serving(bot(name), bot(name), **settings) as server:
        async with FakeCall(server.url, CallPlan(seconds=60.0)) as call:
            await soon(lambda: server.service.n_calls == 1)
            await call.press("1")
            await asyncio.wait_for(call.closed.wait(), 5)
        assert server.service.counters["processor_errors"] == n_errors


async def test_a_cancellation_of_ones_own_is_a_failure(serving: Serving) -> None:
    """A handler that waits for a task it has cancelled has failed, and that has its answer."""
    async with serving(bot("cancels_itself")) as server:
        async with FakeCall(server.url, CallPlan(seconds=60.0)) as call:
            await asyncio.wait_for(call.closed.wait(), 5)
        assert server.service.counters["processor_errors"] == 1


async def test_a_task_group_that_ends_with_the_call_has_not_failed(serving: Serving) -> None:
    """``CallEndedError`` in a group is the end of the call, too."""
    async with serving(bot("plays_in_a_group")) as server:
        await place_call(server.url, CallPlan(seconds=0.3))
        assert server.service.counters["processor_errors"] == 0


async def test_a_handler_that_does_not_end_is_left_alone(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    """It is named and counted, and its call ends without it."""
    plan = CallPlan(seconds=0.2)
    async with serving(bot("swallows"), handler_grace_s=0.2) as server:
        await place_call(server.url, plan)
        await soon(lambda: server.service.n_calls == 0)
        assert server.service.counters["abandoned_handlers"] == 1
    assert "does not end: it is left alone" in caplog.text
    seen(plan)[0].set()  # so that it ends after all
    await soon(lambda: seen(plan)[1:] == ["ended"])


async def test_the_grace_of_a_session_that_was_replaced(serving: Serving) -> None:
    """A newer session of the same call takes its place, not its handlers' time."""
    first = CallPlan(seconds=0.2)
    again = CallPlan(seconds=0.2, call_control_id=first.call_control_id)
    async with serving(bot("works_on"), handler_grace_s=5) as server:
        await asyncio.gather(place_call(server.url, first), _later(server.url, again))
    assert seen(first) == ["finished", "finished"]


async def _later(url: str, plan: CallPlan) -> None:
    await asyncio.sleep(1.0)  # the first has stopped, and its handler works on
    await place_call(url, plan)


async def test_a_source_whose_own_task_was_cancelled_fails_its_play() -> None:
    """The queue behind it goes on."""

    async def source() -> AsyncIterator[Any]:
        yield np.zeros(160, np.int16)
        task = asyncio.ensure_future(asyncio.sleep(10))
        task.cancel()
        await task

    sink = Heard()
    half = outbound(sink)
    play = await half.play(source(), 8000)
    behind = await half.play(np.ones(1600, np.int16), 8000)
    async with asyncio.timeout(2):
        while play._play.is_open:  # noqa: ASYNC110  # a flag has no event
            await asyncio.sleep(0.001)
    assert behind.state == "playing"
    half.end()
    assert (play.state, behind.state) == ("failed", "cleared")


async def test_a_source_cleans_up_in_peace() -> None:
    """Cleared twice, or ended while it cleans up, it is stopped once."""
    cleaned: list[str] = []

    async def source() -> AsyncIterator[Any]:
        try:
            while True:
                yield np.zeros(16000, np.int16)
        finally:
            await asyncio.sleep(0.05)
            cleaned.append("whole")

    half = outbound(Heard())
    await half.play(source(), 8000)
    await asyncio.sleep(0.01)
    half.clear_now()
    await asyncio.sleep(0.01)
    half.clear_now()
    half.end()
    await half.closed()
    assert cleaned == ["whole"]


async def test_a_blocked_playout_is_not_looked_at_all_the_time() -> None:
    """Chunks that sum to a hair over what is pulled ahead cost no loop turns."""
    half = outbound(Heard())
    half.block(True)

    async def source() -> AsyncIterator[Any]:
        while True:
            yield np.zeros(160, np.int16)

    await half.play(source(), 8000)
    await asyncio.sleep(0.05)
    turns = 0
    ends = asyncio.get_running_loop().time() + 0.3
    while asyncio.get_running_loop().time() < ends:
        await asyncio.sleep(0.05)
        turns = max(turns, len(getattr(asyncio.get_running_loop(), "_ready", ())))
    assert turns <= 2
    half.end()
    await half.closed()


async def test_a_cancelled_play_is_not_resumed() -> None:
    """What was cancelled before the socket went does not come back on the next one."""
    first, second = Heard(), Heard()
    half = outbound(first, lead_s=0.5)
    kept = await half.play(np.full(1600, 5, np.int16), 8000, resume=True)
    play = await half.play(np.full(16000, 7, np.int16), 8000, resume=True)
    play.cancel()
    held = {kept: "kept", play: "cancelled"}
    half.renew(outbound(second).playout)
    assert b"\x05\x00" in second.media
    assert b"\x07\x00" not in second.media
    assert held[kept] == "kept", "a play is known by what it was"
    assert play.state in ("cleared", "playing")
    half.end()
    assert half.tally.plays["played"] == 0


async def test_a_call_is_hung_up_once(caplog: pytest.LogCaptureFixture) -> None:
    """Asked for twice, one command goes out; its failure is said once, with the call's id."""
    commands: list[str] = []

    async def command(call_id: str) -> None:
        commands.append(call_id)
        await asyncio.sleep(0.02)
        raise OSError("no network")

    class Call:
        call_id = "c-1"
        is_hung_up = False
        outbound: Any = None

        def end(self, reason: str) -> None:
            """Already over."""

    hangups = HangUps(command)
    with caplog.at_level(logging.ERROR):
        hangups.start(Call(), after_playout=False, reason="hangup")
        hangups.start(Call(), after_playout=False, reason="hangup")
        waiting = asyncio.ensure_future(
            hangups.hang_up(Call(), after_playout=False, reason="hangup")
        )
        await asyncio.sleep(0.01)
        waiting.cancel()
        await hangups.closed()
    assert commands == ["c-1"]
    assert [record.getMessage() for record in caplog.records] == [
        "call c-1 could not be hung up: no network"
    ]


async def test_a_call_that_is_given_up_is_forgotten() -> None:
    """A lost call whose stream cannot be started leaves nothing in what is followed."""
    async with TelnyxClient(
        "key",
        base_url="http://127.0.0.1:9/v2",
        public_url="https://media.example.com",
        policy=RetryPolicy(deadline_s=0.2),
    ) as client:
        limits = RestartLimits(grace_s=0.0, max_tries=1, base_s=0.01)
        relations = Relations(client, None, limits)
        relations.opened("x", StreamRequest("PCMU", 8000, "rtp"), lambda _: None)
        relations.lost("x")
        relations.closed(CallSummary(call_id="x", reason="lost"))
        assert list(relations._followed) == ["x"]
        await soon(lambda: not relations._followed, 20)
        await relations.aclose()


async def test_without_a_grace_a_lost_socket_is_told() -> None:
    """The observer hears of the loss before the end, as with a grace."""
    noted: list[str] = []

    class Observer:
        def opened(self, call_id: str, request: StreamRequest, webhook: object) -> None:
            noted.append("opened")

        def lost(self, call_id: str) -> None:
            noted.append("lost")

        def closed(self, summary: CallSummary) -> None:
            noted.append(f"closed {summary.reason}")

    service = SingleProcessService(Settings(port=0, reconnect_grace_s=0), observer=Observer())
    await service.start()
    async with FakeCall(f"ws://127.0.0.1:{service.port}/media", CallPlan(seconds=9)) as call:
        await soon(lambda: service.n_calls == 1)
        call.cut()
        await soon(lambda: service.n_calls == 0)
    assert noted == ["opened", "lost", "closed lost"]
    await service.close()
