"""What a bad worker harms."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest

from mediaserver.carrier import CallPlan, FakeCall, place_call
from mediaserver.control.events import Event
from mediaserver.observer import CallSummary, StreamRequest
from mediaserver.server.workers import messages, placement
from mediaserver.server.workers import process as crew_module
from mediaserver.server.workers.process import WorkerLimits
from tests.server.conftest import Serving, bot
from tests.server.workers.crews import (
    IMPATIENT,
    PATIENT,
    call_to,
    crew,
    echoes,
    soon,
    status,
    worker_of,
)


async def test_a_killed_worker_harms_no_other(serving: Serving) -> None:
    """Calls of the others go on bit for bit; its own are over; another one takes its place."""
    async with serving("echo", workers=2, reconnect_grace_s=5, limits=IMPATIENT) as server:
        ends: list[CallSummary] = []
        observed = server._relations.closed
        server._relations.closed = lambda end: (ends.append(end), observed(end))[1]  # type: ignore[method-assign, func-returns-value]  # listens in on the real one
        async with call_to(server) as first, call_to(server) as second:
            assert await echoes(first, 0x61)
            assert await echoes(second, 0x62)
            victim = worker_of(server, first)
            os.kill(victim.pid, signal.SIGKILL)
            await asyncio.wait_for(first.closed.wait(), 10)
            for code in range(0x63, 0x68):
                assert await echoes(second, code)
            await soon(lambda: server.service.n_calls == 1)
            (end,) = ends
            assert (end.call_id, end.reason) == (first.plan.call_control_id, "worker")
            assert end.worker == victim.index
            await soon(lambda: sum(w.is_able for w in crew(server).workers) == 2)
            assert victim.pid not in {w.pid for w in crew(server).workers}
            # The same call comes back, to the new worker: it has fewest calls.
            async with call_to(server, call_control_id=first.plan.call_control_id) as again:
                assert await echoes(again, 0x6A)
                assert worker_of(server, again) is not worker_of(server, second)
        assert server.service.counters["lost_with_worker"] == 1


async def test_a_worker_cannot_harm_anothers_call(serving: Serving) -> None:
    """What it reports of a call that it does not have is refused, and changes nothing."""
    async with serving("echo", workers=2, limits=PATIENT) as server:
        async with call_to(server) as first, call_to(server) as second:
            assert await echoes(first, 0x11)
            assert await echoes(second, 0x12)
            broken, call_id = worker_of(server, second), first.plan.call_control_id
            for message in (
                messages.CallClosed(CallSummary(call_id=call_id, reason="stop"), True),
                messages.HandedOver(call_id),
                messages.SocketLost(call_id),
                messages.CallOpened("nobody's", StreamRequest("PCMU", 8000, "rtp")),
            ):
                with pytest.raises(LookupError, match="reports a call that it does not have"):
                    crew(server).message_received(broken, message)
            # An old session of a call may end when the call itself is over already.
            crew(server).message_received(
                broken, messages.CallClosed(CallSummary(call_id=call_id, reason="stop"), False)
            )
            for _ in range(3):
                crew(server).message_received(broken, messages.SocketClosed())
            assert server.service.n_calls == 2
            assert crew(server).n_connections == 1
            assert await echoes(first, 0x13)
            assert await echoes(second, 0x14)


async def test_a_worker_that_sends_garbage_harms_nobody(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    """Its messages are dropped and counted; calls go on, its own too."""
    async with serving(bot("babbles"), "echo", workers=2, limits=IMPATIENT) as server:
        async with call_to(server) as bad, call_to(server) as good:
            assert await echoes(bad, 0x15)
            assert await echoes(good, 0x16)
            worker = worker_of(server, bad)
            await bad.send(
                {
                    "event": "dtmf",
                    "stream_id": bad.plan.stream_id,
                    "dtmf": {"digit": "1"},
                    "occurred_at": "2026-01-01T00:00:00Z",
                }
            )
            await soon(lambda: worker.channel.n_malformed == 2)
            assert await echoes(bad, 0x17)
            assert await echoes(good, 0x18)
            assert len(crew(server).workers) == 2
    assert caplog.text.count("message 1 is malformed") == 1


async def test_a_webhook_that_no_message_can_carry_is_counted(serving: Serving) -> None:
    """It is not told to the call; everything else goes on."""
    async with serving("echo", workers=2) as server:
        webhooks: list[Callable[[Any], None]] = []
        opened = server._relations.opened
        server._relations.opened = lambda *call: (webhooks.append(call[2]), opened(*call))[1]  # type: ignore[method-assign, func-returns-value]  # listens in on the real one
        async with call_to(server) as call:
            assert await echoes(call, 0x19)
            deep: list[Any] = []
            for _ in range(100_000):
                deep = [deep]
            for payload in (deep, "\udcff"):
                webhooks[0](Event(id="e", event_type="call.transcription", payload=payload))
            assert server.service.counters["webhook_not_told"] == 2
            assert await echoes(call, 0x1A)
            while deep:  # else freeing it recurses as deep
                deep = deep[0]


async def test_a_hanging_worker_is_killed(serving: Serving) -> None:
    """While it hangs it gets no calls; then it is killed and replaced; others notice nothing."""
    async with serving(bot("hangs"), "echo", workers=2, limits=IMPATIENT) as server:
        async with call_to(server) as bad, call_to(server) as good:
            assert await echoes(bad, 0x71)
            assert await echoes(good, 0x72)
            hung = worker_of(server, bad)
            await bad.send(
                {
                    "event": "dtmf",
                    "stream_id": bad.plan.stream_id,
                    "dtmf": {"digit": "1"},
                    "occurred_at": "2026-01-01T00:00:00Z",
                }
            )
            await soon(lambda: hung.is_quiet)
            async with call_to(server) as new:  # the other one has as many, or more
                assert await echoes(new, 0x73)
                assert worker_of(server, new) is worker_of(server, good)
            while not hung.gone.is_set():
                assert await echoes(good, 0x74)
            await soon(lambda: sum(w.is_able for w in crew(server).workers) == 2)
            assert await echoes(good, 0x75)


async def test_a_parent_that_stood_still_blames_nobody(serving: Serving) -> None:
    """The beats that came meanwhile are read before anybody is judged."""
    async with serving("echo", workers=2, limits=IMPATIENT) as server:
        async with call_to(server) as call:
            assert await echoes(call, 0x78)
            pids = {worker.pid for worker in crew(server).workers}
            time.sleep(3 * IMPATIENT.hung_s)  # noqa: ASYNC251  # the whole loop stands still
            assert await echoes(call, 0x79)
            await asyncio.sleep(5 * IMPATIENT.beat_s)
            assert {worker.pid for worker in crew(server).workers} == pids
            assert await echoes(call, 0x7A)


async def test_sockets_for_a_stopped_worker_are_bounded(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits for it is served when it goes on; beyond the limit calls get 1013."""
    monkeypatch.setattr(crew_module, "MAX_PENDING_HANDOFFS", 1)
    async with serving("echo", workers=2, limits=PATIENT) as server:
        stopped = [worker.pid for worker in crew(server).workers]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        async with call_to(server) as first, call_to(server) as second:
            refused = await place_call(server.url, CallPlan(seconds=0.1))
            assert (refused.close_code == 1013) or "503" in str(refused.error)
            assert server.service.counters["refused_no_worker"] == 1
            assert crew(server).n_connections == 2
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
            assert await echoes(first, 0x76)
            assert await echoes(second, 0x77)


async def test_sockets_on_their_way_to_a_dead_worker_are_placed_again(serving: Serving) -> None:
    """With the worker that replaces it; then nothing is left of them, no descriptor."""
    async with serving("echo", workers=2, limits=PATIENT) as server:
        before = len(os.listdir("/proc/self/fd"))
        stopped = [worker.pid for worker in crew(server).workers]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        async with call_to(server) as first, call_to(server) as second:
            await soon(lambda: crew(server).n_placed == 2)
            for pid in stopped:
                os.kill(pid, signal.SIGKILL)
            await soon(lambda: crew(server).n_calls == 2)
            assert await echoes(first, 0x7B)
            assert await echoes(second, 0x7C)
            assert server.service.counters["placed_again"] >= 2
            assert server.service.counters["lost_with_worker"] == 0
        await soon(lambda: crew(server).n_connections == 0)
        await soon(lambda: len(os.listdir("/proc/self/fd")) <= before)


async def test_sockets_that_no_worker_takes_are_closed(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 1013, behind a while; nothing is left of them."""
    monkeypatch.setattr(placement, "PLACE_WITHIN_S", 0.3)
    limits = msgspec.structs.replace(PATIENT, pause_s=5.0)
    async with serving("echo", workers=2, limits=limits) as server:
        for worker in crew(server).workers:
            os.kill(worker.pid, signal.SIGSTOP)
        async with call_to(server) as call:
            await soon(lambda: crew(server).n_placed == 1)
            for worker in crew(server).workers:
                os.kill(worker.pid, signal.SIGKILL)
            await call.wait_until(call.closed.is_set, 10)
            assert call.record.close_code == 1013
            assert crew(server).n_placed == crew(server).n_connections == 0
        assert server.service.counters["refused_no_worker"] == 1


async def test_a_call_on_its_way_to_a_silent_worker_is_placed_again(serving: Serving) -> None:
    """The silent one goes on later, and leaves the socket alone: its claim is refused."""
    limits = msgspec.structs.replace(IMPATIENT, quiet_s=0.5, hung_s=60.0)
    async with serving("echo", workers=2, limits=limits) as server:
        stopped, other = crew(server).workers
        os.kill(stopped.pid, signal.SIGSTOP)
        calls = [call_to(server), call_to(server)]  # one of them is placed there
        async with calls[0], calls[1]:
            assert await echoes(calls[0], 0x7D)
            assert await echoes(calls[1], 0x7E)
            assert server.service.counters["placed_again"] == 1
            assert len(other.calls) == 2
            os.kill(stopped.pid, signal.SIGCONT)
            await soon(lambda: stopped.is_able)
            await soon(lambda: stopped.n_pending == stopped.n_sockets == 0)
            for code in (0x3A, 0x3B, 0x3C):
                assert await echoes(calls[0], code)
                assert await echoes(calls[1], code)
            assert not stopped.calls


async def test_a_worker_that_is_late_gets_no_new_call(serving: Serving) -> None:
    """While there is another one; its heartbeats say by how much it is late."""
    async with serving(bot("drags"), "echo", workers=2, limits=PATIENT) as server:
        async with AsyncExitStack() as stack:
            bad = await stack.enter_async_context(call_to(server))
            assert await echoes(bad, 0x3D)
            late = worker_of(server, bad)
            (other,) = [worker for worker in crew(server).workers if worker is not late]
            await bad.press("1")
            await soon(lambda: late.lag_s > 0.2)
            for code in (0x3E, 0x3F, 0x40):
                call = await stack.enter_async_context(call_to(server))
                assert await echoes(call, code)
                await soon(lambda: late.lag_s > 0.1 > other.lag_s)
            assert len(other.calls) == 3


async def test_without_a_worker_there_are_no_calls(serving: Serving) -> None:
    """While no worker is there: 503 for upgrades and for readiness, 200 for health."""
    limits = WorkerLimits(pause_s=2.0)
    async with serving("echo", workers=2, limits=limits) as server:
        for worker in crew(server).workers:
            os.kill(worker.pid, signal.SIGKILL)
        await soon(lambda: not crew(server).workers)
        refused = await place_call(server.url, CallPlan(seconds=0.1))
        assert "503" in str(refused.error)
        assert await status(server, "/readyz") == 503
        assert await status(server, "/healthz") == 200
        await soon(lambda: crew(server).is_able)
        assert await status(server, "/readyz") == 200
        assert (await place_call(server.url, CallPlan(seconds=0.1))).problem is None
        assert server.service.counters["refused_no_worker"] == 1


async def test_a_call_that_no_worker_can_take_is_told_to_come_later(serving: Serving) -> None:
    """Workers that go between upgrade and ``start``: 1013."""
    async with serving("echo", workers=2, limits=WorkerLimits(pause_s=5.0)) as server:
        async with FakeCall.connect(server.url, CallPlan(), greet=False) as call:
            await call.send({"event": "connected", "version": "1.0.0"})
            for worker in crew(server).workers:
                os.kill(worker.pid, signal.SIGKILL)
            await soon(lambda: not crew(server).workers)
            await call.send({"event": "start", "stream_id": "s", "start": {"call_control_id": "x"}})
            await asyncio.wait_for(call.closed.wait(), 10)
            assert call.record.close_code == 1013
        assert server.service.counters["refused_no_worker"] == 1


async def test_a_worker_that_dies_again_and_again_is_given_time(serving: Serving) -> None:
    """Each replacement waits longer, up to a limit."""
    limits = WorkerLimits(beat_s=0.05, pause_s=0.05, longest_pause_s=0.2)
    async with serving("echo", workers=2, limits=limits) as server:
        for _ in range(4):
            (worker,) = [w for w in crew(server).workers if w.index == 0]
            os.kill(worker.pid, signal.SIGKILL)
            await soon(
                lambda gone=worker: any(  # type: ignore[misc]  # mypy infers no default
                    w.index == 0 and w is not gone and w.is_ready for w in crew(server).workers
                )
            )
        assert (await place_call(server.url, CallPlan(seconds=0.1))).problem is None
