"""A processor that holds up its host is noted in the calls beside it there, and in its own."""

from __future__ import annotations

import asyncio
from pathlib import Path

from mediaserver.carrier import CallPlan, place_call
from mediaserver.settings import ProcessorSetting
from tests.server.conftest import Serving
from tests.server.following import Followed

BOTS = Path(__file__).parents[2] / "app/plantedbots.py"


async def test_calls_of_one_host_know_who_held_them_up(
    serving: Serving, followed: Followed
) -> None:
    """The neighbour by name; a call without a processor there is not concerned."""
    offer = (ProcessorSetting("echo"), ProcessorSetting(f"{BOTS}:blocks", alias="blocks"))
    async with serving(offer=offer, isolate=True, calls_per_host=8) as server:
        plans = [
            CallPlan(seconds=3, custom_parameters={"processor": name})
            for name in ("echo", "blocks")
        ]
        beside = CallPlan(seconds=3)  # no processor: nothing of it is in a host
        await asyncio.gather(*(place_call(server.url, plan) for plan in (*plans, beside)))
    echo, culprit = (followed.summary(plan.call_control_id) for plan in plans)
    assert f"of call {culprit.call_id} at " in echo.troubles["blocked"]
    assert culprit.troubles["blocks"]
    assert "blocked" not in culprit.troubles
    assert not followed.summary(beside.call_control_id).held_up_s
