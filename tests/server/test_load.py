"""Where there is too much to do, new calls are refused, and live ones are not."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from mediaserver.app import MediaServer
from mediaserver.carrier import CallPlan, place_call
from mediaserver.server import load
from mediaserver.server.calls.watching.blame import busyness
from mediaserver.server.load import Lateness, LoadGuard, LoopLoad, Watermark
from mediaserver.settings import ProcessorSetting, Settings
from mediaserver.tokens import issue
from tests.server.conftest import Serving
from tests.server.workers.crews import PATIENT, call_to, crew, echoes, soon

SLOW = ProcessorSetting(f"{Path(__file__).parent / 'loadbots.py'}:Slow", alias="slow")
SPIN = ProcessorSetting(f"{Path(__file__).parent / 'loadbots.py'}:Spin", alias="spin")
SECRET = "s3cret"


def fed(lateness: Lateness, lags: list[float], at: float, every_s: float = 0.05) -> float:
    """Beats with these lags, so far apart; when the last one was."""
    for lag_s in lags:
        at += every_s + lag_s
        lateness.beat(lag_s, at)
    return at


def late(lateness: Lateness) -> bool:
    """What it says now."""
    return lateness.is_late


def test_a_loop_that_is_late_for_a_second_is_late() -> None:
    """Not before; and then until it has been in time for five seconds."""
    lateness = Lateness(0.05)
    at = fed(lateness, [0.06] * 8, 100.0)
    assert not late(lateness), "0.8 s are not over yet"
    at = fed(lateness, [0.06] * 4, at)
    assert late(lateness)
    at = fed(lateness, [0.0] * 90, at)
    assert late(lateness), "4.5 s are not enough"
    fed(lateness, [0.0] * 40, at)
    assert not late(lateness)


def test_a_single_stall_is_no_lateness() -> None:
    """However long it was: before and behind it the loop was in time."""
    lateness = Lateness(0.05)
    at = fed(lateness, [0.0] * 20, 0.0)
    for stall_s in (0.5, 3.0, 20.0):
        at = fed(lateness, [stall_s], at)
        assert not late(lateness)
        at = fed(lateness, [0.0] * 20, at)
        assert not late(lateness)


def test_a_loop_that_hardly_turns_is_late() -> None:
    """With few beats in a second, too."""
    lateness = Lateness(0.05)
    fed(lateness, [0.0] * 3 + [2.0] * 4, 0.0)
    assert late(lateness)


def test_between_limit_and_half_of_it_nothing_changes() -> None:
    """So that it does not go to and fro."""
    lateness = Lateness(0.05)
    at = fed(lateness, [0.04] * 400, 0.0)
    assert not late(lateness)
    at = fed(lateness, [0.06] * 40, at)
    assert late(lateness)
    fed(lateness, [0.04] * 400, at)
    assert late(lateness)


def test_without_a_limit_nothing_is_late() -> None:
    """None: never."""
    lateness = Lateness(None)
    fed(lateness, [9.0] * 20, 0.0)
    assert not late(lateness)


def test_memory_has_a_watermark() -> None:
    """Above it there is too much, until there is a tenth less."""
    watermark = Watermark(1000)
    told = []
    for value in (1000, 1001, 950, 901, 900, 950, 1001):
        watermark.look(value)
        told.append(watermark.is_over)
    assert told == [False, True, True, True, False, False, True]


class Host:
    """Something whose load is looked at."""

    is_late = False
    resident_bytes = 0

    def __init__(self) -> None:
        self.counts: list[str] = []

    def count(self, name: str) -> None:
        self.counts.append(name)


def test_a_change_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """And what it is about; counted where it begins."""
    host = Host()
    guard = LoadGuard(Settings(shed_memory_mb=10), host)
    guard.look(0.0)
    host.is_late = True
    for second in range(3):
        guard.look(1.0 + second)
    assert (guard.why, host.counts) == ("late", ["overloads"])
    host.is_late, host.resident_bytes = False, 11 << 20
    guard.look(5.0)
    assert guard.why == "memory"
    host.resident_bytes = 1 << 20
    guard.look(7.0)
    assert guard.why == ""
    assert host.counts == ["overloads"]
    assert [record.getMessage() for record in caplog.records] == [
        "new calls are refused: the event loop is late by more than shed_lag_ms (50 ms), or has"
        " no time for more calls",
        "new calls are taken again",
    ]


async def status(server: MediaServer) -> str:
    """What ``/readyz`` says."""
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        answer = await client.get(f"http://127.0.0.1:{server.service.port}/readyz")
        assert (answer.status_code == 200) is (answer.json()["status"] == "ready")
        return str(answer.json()["status"])


async def test_a_late_loop_takes_no_new_calls(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503, and `/readyz` says why; a live call comes back all the same; then all is well again."""
    monkeypatch.setattr(load, "UNDER_S", 1.0)
    token = issue(SECRET, time.time())
    given: dict[str, Any] = {"auth_token": SECRET, "reconnect_grace_s": 60, "shed_lag_ms": 50.0}
    async with serving("echo", offer=(SLOW,), **given) as server:
        service = server.service
        async with call_to(server, token=token) as live:
            assert await echoes(live, 0x11)
            heavy = CallPlan(seconds=60.0, token=SECRET, custom_parameters={"processor": "slow"})
            loading = asyncio.create_task(place_call(server.url, heavy))
            await soon(lambda: service.counters["overloads"] == 1, 60)
            report = await place_call(
                server.url, CallPlan(seconds=0.1, token=issue(SECRET, time.time()))
            )
            assert "503" in str(report.error)
            assert service.counters["refused_overload"] == 1
            assert await status(server) == "overload: late"
            live.cut()
            again = call_to(server, token=token, call_control_id=live.plan.call_control_id)
            async with again:
                assert await echoes(again, 0x12)
                assert service.counters["takeovers"] == 1
                loading.cancel()
                await asyncio.gather(loading, return_exceptions=True)
                await soon(lambda: server.service.n_calls == 1, 60)
                await soon(lambda: server.service.status == "ready", 60)
                assert await status(server) == "ready"
        assert (await place_call(server.url, CallPlan(seconds=0.1, token=SECRET))).problem is None


async def test_a_loop_without_time_left_takes_no_new_calls(serving: Serving) -> None:
    """Before it is late: here it may be as late as it likes. It takes them again when it has."""
    async with serving("echo", offer=(SPIN,), shed_lag_ms=1e9) as server:
        heavy = CallPlan(seconds=60.0, custom_parameters={"processor": "spin"})
        held: list[asyncio.Task[object]] = []
        while not server.service.counters["overloads"]:
            assert len(held) < 12
            held.append(asyncio.create_task(place_call(server.url, heavy.again(len(held)))))
            with contextlib.suppress(TimeoutError):
                await soon(lambda: server.service.counters["overloads"] == 1, 3)
        assert "503" in str((await place_call(server.url, CallPlan(seconds=0.1))).error)
        for call in held:
            call.cancel()
        await asyncio.gather(*held, return_exceptions=True)
        await soon(lambda: server.service.status == "ready", 60)
        assert (await place_call(server.url, CallPlan(seconds=0.1))).problem is None


def test_how_busy_a_thread_is() -> None:
    """Time in which it waits for a CPU is no rest; where Linux tells nothing, it is not busy."""
    assert busyness(0.05, (1.0, 2.0), (1.01, 2.0)) == pytest.approx(0.2)
    assert busyness(0.05, (1.0, 2.0), (1.01, 2.04)) == pytest.approx(1.0)
    assert busyness(0.05, (0.0, 0.0), (0.0, 0.0)) == 0.0


def run(loads: Iterable[LoopLoad], seconds: float, at: float, busy: float, n_calls: int) -> float:
    """Beats for so long, of a loop that works for that part of the time; when it ends."""
    for _ in range(round(seconds / 0.05)):
        at += 0.05
        for each in loads:
            each.beat(0.0, busy, n_calls, at)
    return at


def test_a_loop_has_room_for_the_calls_for_which_it_has_time() -> None:
    """88 % of it; where it was full, 84 %. Nothing is reckoned while it works for little of it."""
    loop, unlimited = LoopLoad(50.0), LoopLoad(None)
    at = 0.0
    for busy, n_calls, most in (
        (0.59, 200, None),
        (0.7, 200, 251),
        (0.9, 200, 187),
        (0.9, 160, 149),
    ):
        at = run((loop, unlimited), 2.0, at, busy, n_calls)
        assert loop.most_calls == pytest.approx(most, abs=1) if most else loop.most_calls is None
    run((loop,), 0.3, at, 0.2, 10)
    assert loop.most_calls is None, "most have ended"
    unlimited.beat(9.0, 1.0, 200, at)
    assert unlimited.most_calls is None


def test_a_loop_that_works_without_calls_takes_none() -> None:
    """Something else takes its time, and it would share that with every call."""
    loop = LoopLoad(50.0)
    run((loop,), 2.0, 0.0, 0.9, 0)
    assert loop.most_calls == 0


@pytest.mark.parametrize("a_second", [60, 200, 400])
@pytest.mark.parametrize("holds", [200, 300, 700])
def test_calls_that_come_fast_are_taken_while_there_is_room(holds: int, a_second: int) -> None:
    """What their beginning costs is not taken for what they cost later: 1.6 ms each here."""
    loop, random = LoopLoad(50.0), np.random.default_rng(7)

    def taken(n_asked: int, at: float) -> int:
        n_calls = n_refused = 0
        for _ in range(240):
            n_new = 0
            for _ in range(min(a_second // 20, n_asked - n_calls - n_refused)):
                if loop.most_calls is None or n_calls < loop.most_calls:
                    n_calls, n_new = n_calls + 1, n_new + 1
                else:
                    n_refused += 1
            busy = 0.03 + 0.85 * n_calls / holds + n_new * 1.6 / 50 + random.normal(0, 0.05)
            at += 0.05
            loop.beat(0.0, min(1.0, max(0.0, busy)), n_calls, at)
        return n_calls

    if a_second / 20 * 1.6 / 50 < 0.5:  # else the loop has no time for them, as they come
        assert taken(round(0.6 * holds), 0.0) == round(0.6 * holds)
    at_most = max(1.15 * holds, holds + 0.1 * a_second)
    assert 0.7 * holds < taken(2 * holds, 20.0) < at_most


def test_many_that_hang_up_at_once_teach_nothing_about_beginnings() -> None:
    """An end costs little. While five hundred come, ten a beat, it is known how many there may be.

    730 here: 88 % of the time, by 0.12 % for a call. That they come takes another 20 %.
    """
    loop, random, at = LoopLoad(50.0), np.random.default_rng(7), 0.0
    for _ in range(4):
        for n_calls in range(10, 510, 10):
            at += 0.05
            busy = 0.0012 * n_calls + 0.2 + random.normal(0, 0.05)
            loop.beat(0.0, min(1.0, max(0.0, busy)), n_calls, at)
        assert loop.most_calls == pytest.approx(730, rel=0.15)
        loop.beat(0.05, 0.8, 100, at + 0.1)
        at = run((loop,), 2.0, at + 0.1, 0.03, 0)


def test_of_few_calls_nothing_is_reckoned() -> None:
    """Three that begin and load something are no rule; a second without time left is one."""
    loop = LoopLoad(50.0)
    at = run((loop,), 3.0, 0.0, 0.8, 3)
    assert loop.most_calls is None
    at = run((loop,), 0.4, at, 1.0, 3)
    assert loop.most_calls is None
    at = run((loop,), 1.0, at, 0.9, 3)
    assert loop.most_calls == 3
    at = run((loop,), 3.0, at, 0.86, 3)
    assert loop.most_calls == 3
    run((loop,), 2.0, at, 0.7, 3)
    assert loop.most_calls is None


def test_a_single_stall_leaves_room() -> None:
    """However busy the loop was while it lasted."""
    loop = LoopLoad(50.0)
    at = run((loop,), 2.0, 0.0, 0.65, 200)
    loop.beat(0.2, 1.0, 200, at + 0.25)
    assert loop.most_calls is not None
    assert loop.most_calls > 230


def test_a_late_loop_has_room_again_when_calls_have_ended() -> None:
    """A fifth of those that it had when it was late last; else after five seconds in time."""
    loop, at = LoopLoad(50.0), 0.0
    for _ in range(30):
        at += 0.12
        loop.beat(0.07, 0.3, 100, at)
    assert loop.most_calls == 80
    for _ in range(60):
        at += 0.05
        loop.beat(0.0, 0.2, 60, at)
    assert loop.most_calls == 80
    at = run((loop,), 3.0, at, 0.2, 60)
    assert loop.most_calls is None


async def test_one_worker_in_time_is_enough(serving: Serving) -> None:
    """Only where all are late new calls are refused."""
    heavy = CallPlan(seconds=60.0, custom_parameters={"processor": "slow"})
    async with serving("echo", offer=(SLOW,), workers=2, limits=PATIENT, shed_lag_ms=20) as server:
        first = asyncio.create_task(place_call(server.url, heavy))
        await soon(lambda: "late" in server.service.worker_states, 60)
        assert await status(server) == "ready"
        assert (await place_call(server.url, CallPlan(seconds=0.2))).problem is None
        await soon(lambda: server.service.n_calls == 1)
        second = asyncio.create_task(place_call(server.url, heavy.again(1)))
        await soon(lambda: server.service.worker_states == ["late", "late"], 60)
        await soon(lambda: server.service.counters["overloads"] == 1)
        assert await status(server) == "overload: late"
        assert "503" in str((await place_call(server.url, CallPlan(seconds=0.1))).error)
        for call in (first, second):
            call.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        await soon(lambda: server.service.n_calls == 0, 60)
        assert all(worker.is_able for worker in crew(server).workers)


@pytest.mark.parametrize("workers", [1, 2])
async def test_memory_above_the_watermark_takes_no_new_calls(
    serving: Serving, workers: int
) -> None:
    """The memory of all processes together."""
    async with serving("echo", shed_memory_mb=1, workers=workers) as server:
        await soon(lambda: server.service.counters["overloads"] == 1)
        assert await status(server) == "overload: memory"
        assert "503" in str((await place_call(server.url, CallPlan(seconds=0.1))).error)
        assert bytes_of(server) > workers * (10 << 20)


def bytes_of(server: MediaServer) -> int:
    """Memory as the server counts it."""
    return int(server.service.resident_bytes)  # type: ignore[attr-defined]  # of both services
