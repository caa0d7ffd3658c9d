"""Calls in worker processes: who gets them, what holds over all, how they start."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from pathlib import Path

import pytest

from mediaserver.carrier import CallPlan, place_call, place_calls
from mediaserver.errors import ConfigurationError
from mediaserver.tokens import issue
from tests.server.conftest import Serving, bot
from tests.server.workers.crews import call_to, crew, echoes, soon, worker_of

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
        assert server.service.counters["refused_token"] == 3


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


# Starting.


FAILS_IN_WORKERS = """
import sys
if "mediaserver.app.worker_main" in sys.modules:
    raise RuntimeError("not in here")
from mediaserver.processors.builtin.echo import Echo
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
