"""An ended call is freed at once: none of its objects waits for the garbage collector.

A full collection stops all calls for as long as it takes to look at every container of all of
them: 40 to 130 ms with 400 calls.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from mediaserver.app import MediaServer
from mediaserver.carrier import CallPlan, FakeCall
from mediaserver.carrier.plan import new_call_control_id, new_stream_id
from mediaserver.settings import ProcessorSetting, Settings

BOTS = Path(__file__).parent / "circlebots.py"
OURS = ("mediaserver.server.", "mediaserver.media.", "mediaserver.processors.", "mediaserver.wire.")
ECHO = ProcessorSetting("echo")


def bot(name: str) -> ProcessorSetting:
    return ProcessorSetting(f"{BOTS}:{name}")


CHAINS = {
    "echo": (ECHO,),
    "vad": (ProcessorSetting("vad"), ECHO),
    "barge_in": (ProcessorSetting("barge_in"), ECHO),
    "talker": (bot("talker"),),
    "fails_late": (bot("fails_late"),),
    "never_ends": (bot("never_ends"),),
    "FailsInFrame": (bot("FailsInFrame"), ECHO),
    "isolated": (ProcessorSetting("echo", isolate="process"),),
}
PLANS = {
    "hangs up": CallPlan(seconds=0.6, dtmf=((0.2, "5"),)),
    "connects again": CallPlan(seconds=0.6, reconnect_at_s=0.3),
    "converts": CallPlan(seconds=0.4, codec="OPUS", send_codec="L16", send_rate_hz=16000),
}


def left_in_circles() -> Counter[str]:
    """What of ours only the collector can free, by type."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        kinds = [type(each) for each in gc.garbage]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
    return Counter(k.__qualname__ for k in kinds if k.__module__.startswith(OURS))


async def circles_of(settings: Settings, plan: CallPlan) -> Counter[str]:
    """What two calls leave, one after the other, in a server that has had one."""
    async with MediaServer(settings) as server:
        for n in range(3):
            async with FakeCall.connect(server.url, plan_of(plan)) as call:
                await call.speak()
            while server.service.n_calls:  # noqa: ASYNC110  # no event tells of it
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            if n == 0:
                gc.collect()
        return left_in_circles()


def plan_of(plan: CallPlan) -> CallPlan:
    """The same for another call."""
    return dataclasses.replace(
        plan, call_control_id=new_call_control_id(), stream_id=new_stream_id()
    )


@pytest.fixture(autouse=True)
def _no_collections() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("chain", CHAINS)
async def test_an_ended_call_leaves_nothing_to_collect(chain: str) -> None:
    settings = Settings(port=0, processors=CHAINS[chain], handler_grace_s=0.2)
    assert await circles_of(settings, PLANS["hangs up"]) == Counter()


@pytest.mark.parametrize("plan", PLANS)
async def test_however_it_went(plan: str) -> None:
    settings = Settings(port=0, processors=(ECHO,), handler_grace_s=0.2)
    assert await circles_of(settings, PLANS[plan]) == Counter()


async def test_nor_does_a_recorded_one(tmp_path: Path) -> None:
    recorded = ProcessorSetting("record", {"directory": str(tmp_path)})
    settings = Settings(port=0, processors=(recorded, ECHO), handler_grace_s=2.0)
    assert await circles_of(settings, PLANS["hangs up"]) == Counter()
