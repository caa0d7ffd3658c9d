"""What becomes of calls whose processor host is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mediaserver.app import MediaServer
from mediaserver.carrier import CallPlan, CallReport, place_call
from mediaserver.server.isolation.pool import HostPool
from mediaserver.server.service import SingleProcessService
from mediaserver.settings import ProcessorSetting
from tests.server.conftest import Serving
from tests.server.following import Followed
from tests.server.isolation.test_parity import bot, noted
from tests.server.watching import soon


def pool_of(server: MediaServer) -> HostPool:
    service = server.service
    assert isinstance(service, SingleProcessService)
    pool = service.runners
    assert isinstance(pool, HostPool)
    return pool


def pids(server: MediaServer) -> list[int]:
    """Of the hosts that have calls."""
    return [host.pid for host in pool_of(server).hosts if host.n_calls]


async def call_with(
    server: MediaServer, plan: CallPlan, kills: int = 1
) -> tuple[CallReport, list[int]]:
    """A call whose host is killed so often while it runs."""
    killed = []
    task = asyncio.create_task(place_call(server.url, plan))
    for _ in range(kills):
        await soon(lambda: any(pid not in killed and pid for pid in pids(server)), 10)
        await asyncio.sleep(0.4)
        (pid,) = pids(server)
        os.kill(pid, signal.SIGKILL)
        killed.append(pid)
    return await task, killed


async def test_a_lost_chain_starts_again(serving: Serving, tmp_path: Path) -> None:
    """In another process, with an event that says so, and the rest of the call is whole."""
    plan = CallPlan(seconds=2.5)
    chain = (ProcessorSetting("echo", isolate="process"), bot("events", "process", tmp_path))
    async with serving(*chain) as server:
        report, _ = await call_with(server, plan)
        assert server.service.counters["lost_hosts"] == 1
    assert report.problem is None
    assert report.returned > 20
    kinds = [kind for kind, *_ in noted(tmp_path, plan)]
    assert kinds == ["ProcessorRestarted", "Stop"]


async def test_a_task_hears_of_the_new_start(serving: Serving, tmp_path: Path) -> None:
    """The handler's own first step only starts the task that reads events."""
    plan = CallPlan(seconds=2.5)
    async with serving(bot("events_of_a_task", "process", tmp_path)) as server:
        await call_with(server, plan)
    assert noted(tmp_path, plan) == [["ProcessorRestarted"], ["Stop"]]


@pytest.mark.parametrize("by", ["source", "closing", "task", "spawn", "callback"])
async def test_what_wants_to_end_the_program_ends_no_host(
    serving: Serving, tmp_path: Path, by: str
) -> None:
    """As in the server itself: the play or the task has failed, and the calls go on."""
    plans = [CallPlan(seconds=1.0), CallPlan(seconds=1.0)]
    async with serving(bot("exits", "process", tmp_path, by=by)) as server:
        reports = await asyncio.gather(*(place_call(server.url, plan) for plan in plans))
        assert server.service.counters["lost_hosts"] == 0
    assert [report.problem for report in reports] == [None, None]
    assert noted(tmp_path, plans[0]) == noted(tmp_path, plans[1]) != []


async def test_a_group_of_processes_is_one_hosts(serving: Serving, tmp_path: Path) -> None:
    """A signal to the group does not reach the server; a host's programs end with it."""
    plan = CallPlan(seconds=2.5)
    async with serving(bot("starts_programs", "process", tmp_path)) as server:
        _, (killed,) = await call_with(server, plan)
        assert killed != os.getpgid(0)
        first, *_ = noted(tmp_path, plan)
        await soon(lambda: not Path(f"/proc/{first[0]}/root").exists(), 5)
        assert (await place_call(server.url, CallPlan(seconds=0.3))).problem is None


async def test_three_losses_in_a_minute_are_enough(serving: Serving, tmp_path: Path) -> None:
    """Then the call follows `on_error`."""
    plan = CallPlan(seconds=20.0)
    async with serving(ProcessorSetting("echo", isolate="process"), on_error="end") as server:
        report, killed = await call_with(server, plan, kills=3)
        await soon(lambda: server.service.n_calls == 0)
        assert server.service.counters["lost_hosts"] == 3
    assert len(set(killed)) == 3
    assert not report.hung_up


@pytest.mark.parametrize(("word", "ends"), [("end", True), ("hangup", True), ("bypass", False)])
async def test_on_host_loss_may_say_otherwise(serving: Serving, word: str, ends: bool) -> None:
    """Without another try."""
    plan = CallPlan(seconds=1.5)
    async with serving(ProcessorSetting("echo", isolate="process"), on_host_loss=word) as server:
        report, _ = await call_with(server, plan)
        await soon(lambda: server.service.n_calls == 0)
    assert report.hung_up != ends


async def test_a_tap_outlives_its_chains_host(serving: Serving, tmp_path: Path) -> None:
    """A recording goes on, for it is made in the server."""
    plan = CallPlan(seconds=2.0)
    record: dict[str, Any] = {"directory": str(tmp_path / "wav")}
    async with serving(
        ProcessorSetting("record", record), ProcessorSetting("echo"), isolate=True
    ) as server:
        await call_with(server, plan)
        await soon(lambda: server.service.n_calls == 0)
    (file,) = (tmp_path / "wav").glob("*.wav")
    with wave.open(str(file)) as recording:
        heard = np.frombuffer(recording.readframes(10**6), "<i2").reshape(-1, 2)
    assert len(heard) >= 16_000
    assert heard[15_000:16_000, 0].any()


async def test_neighbours_of_a_criminal_come_back(serving: Serving) -> None:
    """Each in a host of its own, so that the criminal takes none of them with it twice."""
    crimes = Path(__file__).parents[3] / "benchmarks/parts/crimes.py"
    plans = [CallPlan(seconds=4.0, linger_s=5) for _ in range(3)]
    async with serving(
        ProcessorSetting("echo", isolate="process"),
        offer=(ProcessorSetting(f"{crimes}:Exits", alias="crime", isolate="process"),),
        on_error="end",
    ) as server:
        others = [asyncio.create_task(place_call(server.url, plan)) for plan in plans]
        await soon(lambda: server.service.n_calls == 3)
        await place_call(f"{server.url}?processor=crime", CallPlan(seconds=4.0))
        reports = await asyncio.gather(*others)
        assert server.service.counters["lost_hosts"] == 3 + 3
    for report in reports:
        assert report.problem is None
        assert report.returned > 60


async def test_a_host_with_leftovers_takes_no_new_calls(serving: Serving) -> None:
    """A handler that does not end is left there; the host ends with its last call."""
    crimes = Path(__file__).parents[3] / "benchmarks/parts/crimes.py"
    setting = ProcessorSetting(f"{crimes}:never_returns", isolate="process")
    async with serving(setting, handler_grace_s=0.1) as server:
        await place_call(server.url, CallPlan(seconds=0.3))
        await soon(lambda: server.service.n_calls == 0, 10)
        pool = pool_of(server)
        (tainted,) = [host for host in pool.hosts if host.tainted]
        assert server.service.counters["abandoned_handlers"] == 1
        await place_call(server.url, CallPlan(seconds=0.3))
        await soon(lambda: tainted not in pool.hosts, 10)


async def test_workers_have_hosts_of_their_own(serving: Serving, tmp_path: Path) -> None:
    """Two workers; a call looks as with one process."""
    plans = [CallPlan(seconds=0.5) for _ in range(4)]
    async with serving(bot("pid", "process", tmp_path), workers=2) as server:
        for report in await asyncio.gather(*(place_call(server.url, plan) for plan in plans)):
            assert report.problem is None
    found = {noted(tmp_path, plan)[0][0] for plan in plans}
    assert len(found) == 2


async def test_live_audio_that_a_full_link_drops_is_counted(
    serving: Serving, tmp_path: Path, followed: Followed, caplog: pytest.LogCaptureFixture
) -> None:
    """The bot sees it in its figures at once, the call's summary has it, and a hint says so."""
    plan = CallPlan(seconds=2.5)
    async with serving(bot("blurts", "process", tmp_path)) as server:
        await place_call(server.url, plan)
    ((at_once, later),) = noted(tmp_path, plan)
    assert at_once > 400
    assert later >= at_once
    assert followed.summary(plan.call_control_id).dropped_s >= at_once
    assert any("did not get from its processor host" in r.getMessage() for r in caplog.records)


async def test_calls_leave_nothing_behind(serving: Serving) -> None:
    """Forty short calls: no more hosts, descriptors or threads than before."""
    async with serving(ProcessorSetting("echo", isolate="process"), calls_per_host=4) as server:
        await place_call(server.url, CallPlan(seconds=0.1))
        before = len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
        for _ in range(4):
            plans = [CallPlan(seconds=0.1) for _ in range(10)]
            await asyncio.gather(*(place_call(server.url, plan) for plan in plans))
        await soon(lambda: len(pool_of(server).hosts) == 1, 10)
        await soon(lambda: len(os.listdir("/proc/self/fd")) <= before[0], 10)
        assert len(os.listdir("/proc/self/task")) <= before[1]


async def test_a_processor_that_cannot_be_loaded_stops_the_start(serving: Serving) -> None:
    """With the reason, as without isolation."""
    with pytest.raises(Exception, match="no_such_module"):
        async with serving(ProcessorSetting("no_such_module:thing", isolate="process")):
            pass
