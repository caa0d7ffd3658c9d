"""What a caller hears when a service is down; the clip is heard in ``tests/examples``."""

from __future__ import annotations

import asyncio

import pytest

from mediaserver import Call, ProcessorSetting, processor
from mediaserver.bridges import Realtime, RealtimeSession, ServiceDownError, on_service_down
from mediaserver.carrier.rest.faults import RestFault
from tests.bridges.on_call import QUICK, on_call
from tests.control.test_end_to_end import world
from tests.examples.agents import heard_s, tone


async def test_without_a_clip_there_are_three_tones() -> None:
    """What the bot was saying is cut, and the call is over behind the last one."""

    async def handle(call: Call) -> None:
        async with on_service_down(call):
            await call.play(tone(20.0, 8000), 8000)
            async for _ in call.frames():
                if heard_s(on.call, 300) > 0.2:
                    raise ServiceDownError("a service", "it is gone")

    async with on_call(handle) as on:
        await asyncio.wait_for(on.call.closed.wait(), 20)
        await on.result()
        assert heard_s(on.call, 300) < 2.0
        assert all(0.2 < heard_s(on.call, hertz) < 0.5 for hertz in (950, 1400, 1800))


@pytest.mark.parametrize("fails", [False, True])
async def test_the_caller_is_put_through_or_hung_up(fails: bool) -> None:
    """Where the transfer fails, the call is not left in silence."""

    @processor
    async def bot(call: Call) -> None:
        async with on_service_down(call, transfer_to="+1999"):
            raise ServiceDownError("a service", "it is gone")

    async with world(ProcessorSetting(bot), echo=False) as w:
        if fails:
            w.fake.faults.add(RestFault("status", "transfer", status=422, code="90034"))
        call = await w.dialled()
        await w.actions.start_streaming(call)
        await w.until_event("call.hangup" if fails else "call.bridged")
        commands = [c.command for c in w.fake.commanded if c.call_control_id == call]
        assert commands == ["streaming_start", "transfer", *(["hangup"] if fails else [])]


async def test_tasks_of_a_group_are_seen_through() -> None:
    """Two services that are down in one group are one reason to hang up; another error is none."""

    async def handle(call: Call, other: Exception | None = None) -> None:
        async with on_service_down(call), asyncio.TaskGroup() as group:
            for error in (
                ServiceDownError("one", "gone"),
                other or ServiceDownError("two", "gone"),
            ):
                group.create_task(fail(error))

    async def fail(error: Exception) -> None:
        raise error

    async with on_call(handle) as on:
        await on.caller.until_over()
        assert await on.result() is None
    async with on_call(lambda call: handle(call, KeyError("mine"))) as on:
        with pytest.raises(ExceptionGroup):
            await on.result()


async def test_behind_a_dead_service_nothing_of_it_is_left() -> None:
    """Where the call goes on, no reader of its audio falls behind."""

    async def handle(call: Call) -> int:
        try:
            async with Realtime(call, RealtimeSession(url="ws://127.0.0.1:9/"), QUICK) as bot:
                await bot.finished()
        except ServiceDownError:
            await asyncio.sleep(0.3)
        return call.stats.queued_frames

    async with on_call(handle) as on:
        assert await on.result() == 0
