"""What becomes of the phone call is said by a setting, never by accident."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from mediaserver.settings import ProcessorSetting
from tests.control.test_end_to_end import World, world
from tests.server.workers.crews import soon

BOTS = Path(__file__).parents[1] / "server/bots.py"
RAISES = ProcessorSetting(f"{BOTS}:raises")
FAULTY = ProcessorSetting(f"{BOTS}:Faulty")
STUBBORN = ProcessorSetting(f"{BOTS}:stubborn")


async def streamed(w: World) -> str:
    """A call that is up and streams."""
    call = await w.dialled()
    await w.actions.start_streaming(call)
    await w.until_event("streaming.started")
    await soon(lambda: w.server.service.counters["calls"] == 1)
    return call


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("chain", "on_error", "state"),
    [
        ((RAISES,), "auto", "ended"),
        ((FAULTY,), "auto", "answered"),
        ((RAISES, STUBBORN), "auto", "answered"),
        ((FAULTY,), "hangup", "ended"),
        ((RAISES,), "bypass", "answered"),
        ((RAISES,), "end", "answered"),
    ],
    ids=["last handler", "filter", "not the last", "any", "bypassed", "stream only"],
)
async def test_a_failed_processor_and_the_phone_call(
    chain: tuple[ProcessorSetting, ...], on_error: str, state: str, workers: int
) -> None:
    """``on_error`` decides, in one process and in workers."""
    async with world(
        *chain, workers=workers, echo=False, on_error=on_error, handler_grace_s=0.2
    ) as w:
        call = await streamed(w)
        await soon(lambda: w.server.service.counters["processor_errors"] == 1)
        if state == "ended":
            await w.until_event("call.hangup")
        if state == "ended" or on_error == "end":
            await soon(lambda: w.server.service.n_calls == 0)
        else:
            await asyncio.sleep(0.2)  # for a hang-up that must not come
            assert w.server.service.n_calls == 1
        assert w.fake.calls[call].state == state


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(("drain_end", "state"), [("hangup", "ended"), ("leave", "answered")])
async def test_the_drains_end_and_the_phone_call(drain_end: str, state: str, workers: int) -> None:
    """When the time to drain is over, calls are hung up, or left."""
    async with world(workers=workers, drain_s=0.2, drain_end=drain_end) as w:
        call = await streamed(w)
        w.server.service.drain()
        await w.server.service.drained()
        if state == "ended":
            await w.until_event("call.hangup")
        assert w.fake.calls[call].state == state


async def test_without_a_key_the_phone_call_is_said_to_live_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One line says that nobody can hang it up."""
    from mediaserver.app import MediaServer
    from mediaserver.carrier import CallPlan, place_call
    from mediaserver.settings import Settings

    async with MediaServer(Settings(port=0, processors=(RAISES,), reconnect_grace_s=0)) as server:
        with caplog.at_level(logging.WARNING):
            report = await place_call(server.url, CallPlan(seconds=2.0))
        assert report.close_code == 1000
        assert report.sent < 90
    lines = [r.getMessage() for r in caplog.records if "phone call stays up" in r.getMessage()]
    assert len(lines) == 1
