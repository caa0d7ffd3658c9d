"""Calls in worker processes: who gets them, what holds over all, what a bad worker harms."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mediaserver.app import MediaServer
from mediaserver.carrier import CallPlan, FakeCall, place_call, place_calls
from mediaserver.carrier.messages import MediaIn
from mediaserver.errors import ConfigurationError
from mediaserver.server.workers import process as crew_module
from mediaserver.server.workers.process import WorkerLimits, WorkerProcess
from mediaserver.server.workers.service import MultiProcessService
from mediaserver.tokens import issue

from .conftest import Serving, bot

# A tenth of the usual patience: beats come often enough even on a busy machine.
IMPATIENT = WorkerLimits(beat_s=0.1, quiet_s=1.0, hung_s=2.0, pause_s=0.05, longest_pause_s=0.4)

PATIENT = WorkerLimits(quiet_s=60.0, hung_s=90.0)


def crew(server: MediaServer) -> MultiProcessService:
    assert isinstance(server.service, MultiProcessService)
    return server.service


def worker_of(server: MediaServer, call: FakeCall) -> WorkerProcess:
    """The worker that has a call."""
    (worker,) = [w for w in crew(server).workers if call.plan.call_control_id in w.calls]
    return worker


async def soon(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Wait until ``condition()`` holds: what another process does has no event to wait for."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110  # see above
            await asyncio.sleep(0.01)


class EchoCall(FakeCall):
    """A call by hand that knows what audio it heard."""

    def heard(self) -> list[bytes]:
        """The payloads that came, without the marks between them."""
        media = [r.command for r in self.received if isinstance(r.command, MediaIn)]
        return [base64.b64decode(each.media.payload) for each in media]


async def echoes(call: EchoCall, code: int) -> bool:
    """Whether the next payload of a call comes back bit for bit."""
    before = len(call.heard())
    await call.send_payload(bytes([code]) * 160)
    await call.wait_until(lambda: len(call.heard()) > before, 10)
    return call.heard()[before:] == [bytes([code]) * 160]


def call_to(server: MediaServer, **plan: Any) -> EchoCall:
    return EchoCall(server.url, CallPlan(seconds=60.0, **plan))


# Who gets a call.


async def test_calls_spread_evenly_and_are_exact(serving: Serving, tmp_path: Path) -> None:
    """Calls at once go to the workers in equal shares; each echo is right bit for bit."""
    plans = [CallPlan(seconds=1.0) for _ in range(9)]
    async with serving(
        bot("writes", directory=str(tmp_path)), "echo", workers=3, max_calls=9
    ) as server:
        pids = {worker.pid for worker in crew(server).workers}
        reports = await place_calls(server.url, plans)
        await soon(lambda: server.service.n_calls == 0)
        assert server.service.counters["calls"] == 9
    assert all(report.problem is None and report.bit_exact for report in reports)
    written = [int((tmp_path / p.call_control_id).read_text().split()[0]) for p in plans]
    assert Counter(written) == dict.fromkeys(pids, 3)
    assert os.getpid() not in pids


async def test_every_codec_is_served(serving: Serving) -> None:
    """What a call asks for by its URL and its parameters reaches the worker."""
    plans = [
        CallPlan(codec="PCMA", send_codec="L16", send_rate_hz=16000, seconds=0.5),
        CallPlan(codec="L16", rate_hz=16000, seconds=0.5),
    ]
    async with serving("echo", workers=2) as server:
        for plan in plans:
            report = await place_call(f"{server.url}?customer=c-1", plan)
            assert report.echo_problem is None
            assert report.bit_exact or plan.codec == "PCMA"
        refused = await place_call(server.url, CallPlan(custom_parameters={"send_codec": "SILK"}))
        assert refused.close_code == 1003
        await soon(lambda: server.service.counters["refused_format"] == 1)
        await soon(lambda: crew(server).n_connections == 0)


async def test_a_second_socket_comes_to_the_same_worker(serving: Serving, tmp_path: Path) -> None:
    """A call that lost its socket goes on in its session, wherever other calls went."""
    plan = CallPlan(seconds=1.5, reconnect_at_s=0.6)
    async with serving(
        bot("writes", directory=str(tmp_path)), "echo", workers=3, reconnect_grace_s=10
    ) as server:
        others = [call_to(server) for _ in range(2)]
        async with others[0], others[1]:
            report = await place_call(server.url, plan)
        await soon(lambda: server.service.n_calls == 0)
        assert server.service.counters["takeovers"] == 1
        assert server.service.counters["calls"] == 3
    assert report.reconnects == 1
    written = (tmp_path / plan.call_control_id).read_text()
    assert written.count("Reconnected(") == 1
    assert len(written.splitlines()) == 3, "one process, one session, one end"


async def test_the_call_token_takes_over_at_once(serving: Serving) -> None:
    """Who has the call's own token wins while media flows; the shared one is not enough."""
    token = issue("s3cret", time.time())
    async with serving("echo", workers=2, auth_token="s3cret", reconnect_grace_s=5) as server:
        async with call_to(server, token=token) as first:
            assert await echoes(first, 0x21)
            stranger = await place_call(
                f"{server.url}/s3cret",
                CallPlan(seconds=1.0, call_control_id=first.plan.call_control_id),
            )
            assert stranger.close_code == 1008
            assert await echoes(first, 0x22)
            same = CallPlan(seconds=0.3, token=token, call_control_id=first.plan.call_control_id)
            report = await place_call(server.url, same)
            assert report.echo_problem is None
            await asyncio.wait_for(first.closed.wait(), 5)
            assert first.record.close_code == 1000
        await soon(lambda: server.service.counters["refused_takeover"] == 1)


# What holds over all workers.


async def test_a_call_token_is_good_for_one_call(serving: Serving) -> None:
    """A second call with it is refused, though its worker would be another one."""
    token = issue("s3cret", time.time())
    async with serving("echo", workers=2, auth_token="s3cret") as server:
        async with call_to(server, token=token) as first:
            assert await echoes(first, 0x31)
            other = await place_call(server.url, CallPlan(seconds=0.1, token=token))
            assert other.close_code == 1008
        none = await place_call(server.url, CallPlan(seconds=0.1))
        assert none.close_code == 1008
        wrong = await place_call(f"{server.url}/wrong", CallPlan(seconds=0.1))
        assert "401" in str(wrong.error)
        assert server.service.counters["refused_token"] == 2


async def test_a_token_ends_with_its_call(serving: Serving) -> None:
    """After its call and the grace, a token is refused."""
    token = issue("s3cret", time.time())
    async with serving("echo", workers=2, auth_token="s3cret", reconnect_grace_s=0) as server:
        plan = CallPlan(seconds=0.1, token=token)
        assert (await place_call(server.url, plan)).problem is None
        await soon(lambda: server.service.n_calls == 0)
        assert "401" in str((await place_call(server.url, plan)).error)


async def test_max_calls_counts_all_workers(serving: Serving) -> None:
    """One call at each of two workers is two; the third is refused until one has ended."""
    async with serving("echo", workers=2, max_calls=2) as server:
        async with call_to(server) as first:
            async with call_to(server) as second:
                assert await echoes(first, 0x41)
                assert await echoes(second, 0x42)
                assert worker_of(server, first) is not worker_of(server, second)
                refused = await place_call(server.url, CallPlan(seconds=0.1))
                assert "503" in str(refused.error)
            await soon(lambda: crew(server).n_connections == 1)
            assert (await place_call(server.url, CallPlan(seconds=0.1))).problem is None


async def test_draining_reaches_the_calls(serving: Serving, tmp_path: Path) -> None:
    """503 to new calls; live ones are told, go on, and are waited for."""
    async with serving(bot("writes", directory=str(tmp_path)), "echo", workers=2) as server:
        async with call_to(server) as call:
            assert await echoes(call, 0x51)
            server.service.drain()
            server.service.drain()
            refused = await place_call(server.url, CallPlan(seconds=0.1))
            assert "503" in str(refused.error)
            waits = asyncio.create_task(server.service.drained())
            assert await echoes(call, 0x52)
            assert not waits.done()
        await asyncio.wait_for(waits, 10)
    written = (tmp_path / call.plan.call_control_id).read_text()
    assert written.count("Draining(") == 1


async def test_drain_has_an_end(serving: Serving) -> None:
    """After ``drain_s`` the rest is cut with 1001."""
    async with serving("echo", workers=2, drain_s=0.1) as server:
        async with call_to(server) as call:
            assert await echoes(call, 0x53)
            server.service.drain()
            await server.service.drained()
            await server.service.close()
            await asyncio.wait_for(call.closed.wait(), 5)
            assert call.record.close_code == 1001


# What a bad worker harms.


async def test_a_killed_worker_harms_no_other(serving: Serving) -> None:
    """Calls of the others go on bit for bit; its own are over; another one takes its place."""
    async with serving("echo", workers=2, reconnect_grace_s=5, limits=IMPATIENT) as server:
        ends: list[tuple[str, str]] = []
        observed = server.closed
        crew(server)._observer.closed = lambda *end: (ends.append(end), observed(*end))  # type: ignore[union-attr, method-assign, assignment]  # listens in on the real one
        async with call_to(server) as first, call_to(server) as second:
            assert await echoes(first, 0x61)
            assert await echoes(second, 0x62)
            victim = worker_of(server, first)
            os.kill(victim.pid, signal.SIGKILL)
            await asyncio.wait_for(first.closed.wait(), 10)
            for code in range(0x63, 0x68):
                assert await echoes(second, code)
            await soon(lambda: server.service.n_calls == 1)
            assert ends == [(first.plan.call_control_id, "lost")]
            await soon(lambda: sum(w.is_able for w in crew(server).workers) == 2)
            assert victim.pid not in {w.pid for w in crew(server).workers}
            # The same call comes back, to the new worker: it has fewest calls.
            async with call_to(server, call_control_id=first.plan.call_control_id) as again:
                assert await echoes(again, 0x6A)
                assert worker_of(server, again) is not worker_of(server, second)
        assert server.service.counters["lost_with_worker"] == 1


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


async def test_sockets_on_their_way_to_a_dead_worker_are_closed(serving: Serving) -> None:
    """Nothing is left of them: no call, no connection, no descriptor."""
    async with serving("echo", workers=2, limits=WorkerLimits(pause_s=0.05)) as server:
        before = len(os.listdir("/proc/self/fd"))
        stopped = [worker.pid for worker in crew(server).workers]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        async with call_to(server) as first, call_to(server) as second:
            await soon(lambda: len(crew(server)._calls) == 2)
            for pid in stopped:
                os.kill(pid, signal.SIGKILL)
            await asyncio.wait_for(first.closed.wait(), 10)
            await asyncio.wait_for(second.closed.wait(), 10)
            await soon(lambda: crew(server).n_connections == 0)
            assert crew(server)._calls == {}
        await soon(lambda: sum(w.is_able for w in crew(server).workers) == 2)
        await soon(lambda: len(os.listdir("/proc/self/fd")) <= before)


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


# Starting.


FAILS_IN_WORKERS = """
import sys
if "mediaserver.app.worker_main" in sys.modules:
    raise RuntimeError("not in here")
from mediaserver.processors.echo import Echo
"""


async def test_a_worker_that_cannot_start_is_said(serving: Serving, tmp_path: Path) -> None:
    """What only a worker finds out ends the start with its reason, and leaves no process."""
    (tmp_path / "fails.py").write_text(FAILS_IN_WORKERS)
    with pytest.raises(ConfigurationError, match="not in here"):
        async with serving(f"{tmp_path / 'fails.py'}:Echo", workers=2):
            raise AssertionError("it started")


async def test_settings_that_no_process_can_be_given_are_refused(serving: Serving) -> None:
    """A parameter that is bound to this process: a clear error, and nothing starts."""
    here = bot("takes", what=lambda: None)
    with pytest.raises(ConfigurationError, match="workers cannot be given"):
        async with serving(here, workers=2):
            raise AssertionError("it started")


async def status(server: MediaServer, path: str) -> int:
    """The status of an HTTP GET."""
    import httpx

    async with httpx.AsyncClient() as client:
        url = server.url.replace("ws://", "http://").replace("/media", path)
        return (await client.get(url)).status_code
