"""Twelve crimes, each committed by the plugin of one call: the others do not notice.

The small version, one call a host; `benchmarks/processors.py` has the table, shared as well.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from benchmarks.parts.crimes import CRIMES
from mediaserver.carrier import CallPlan, place_call, place_calls
from mediaserver.settings import ProcessorSetting
from tests.server.conftest import Serving
from tests.server.watching import soon

CRIMES_FILE = Path(__file__).parents[3] / "benchmarks/parts/crimes.py"
SECONDS = 2.5


def echo() -> ProcessorSetting:
    return ProcessorSetting("echo", isolate="process")


def crime(name: str) -> ProcessorSetting:
    return ProcessorSetting(f"{CRIMES_FILE}:{name}", alias=name, isolate="process")


@pytest.mark.long
@pytest.mark.parametrize("name", CRIMES)
async def test_a_crime_harms_its_own_call_alone(serving: Serving, name: str) -> None:
    """Eleven calls beside it lose nothing, and are what they were, sample by sample."""
    plans = [CallPlan(seconds=SECONDS, linger_s=20) for _ in range(11)]
    culprit = CallPlan(seconds=SECONDS)
    async with serving(
        echo(),
        offer=(crime(name),),
        calls_per_host=1,
        host_silent_s=1.5,
        host_memory_mb=256,
        handler_grace_s=0.3,
    ) as server:
        task = asyncio.create_task(place_call(f"{server.url}?processor={name}", culprit))
        reports = await place_calls(server.url, plans)
        await task
        await soon(lambda: server.service.n_calls == 0, 15)
        lost = server.service.counters["lost_hosts"]
    assert [(r.problem, r.bit_exact, r.lost) for r in reports] == [(None, True, 0)] * 11
    fatal = ("Exits", "Crashes", "Allocates", "Spins", "ClosesDescriptors")
    assert bool(lost) == (name in fatal) or name in ("Floods", "Patches", "LeaksThreads")
