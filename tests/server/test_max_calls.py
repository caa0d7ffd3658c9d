"""``max_calls`` counts calls: one that lost its socket keeps its place and comes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest

from mediaserver.app import MediaServer
from mediaserver.carrier import CallPlan, FakeCall, place_call
from mediaserver.carrier.report import CallReport
from mediaserver.tokens import issue
from tests.server.conftest import Serving, bot
from tests.server.following import Followed
from tests.server.workers.crews import EchoCall, echoes, soon

SECRET = "s3cret"
LIMIT = 5
AUTHS = ("none", "shared", "per call")

in_both = pytest.mark.parametrize("workers", [1, 2])
with_each_token = pytest.mark.parametrize("auth", AUTHS)


def secret_of(auth: str) -> str | None:
    return None if auth == "none" else SECRET


def plan_of(auth: str) -> CallPlan:
    """A call with a token of the kind."""
    tokens: dict[str, Callable[[], str | None]] = {
        "none": lambda: None,
        "shared": lambda: SECRET,
        "per call": lambda: issue(SECRET, time.time()),
    }
    return CallPlan(seconds=0.1, token=tokens[auth]())


def was_refused(report: CallReport) -> bool:
    """At the upgrade with 503, or behind ``start`` with 1013 or, while draining, 1001."""
    return "503" in str(report.error) or report.close_code in (1013, 1001)


@asynccontextmanager
async def health(server: MediaServer) -> AsyncIterator[list[int]]:
    """How many calls ``/healthz`` shows, asked again and again meanwhile."""
    shown: list[int] = []
    url = server.url.replace("ws://", "http://").replace("/media", "/healthz")

    async def ask() -> None:
        async with httpx.AsyncClient() as client:
            while True:
                shown.append((await client.get(url)).json()["calls"])

    task = asyncio.create_task(ask())
    try:
        yield shown
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert shown


async def open_all(server: MediaServer, plans: list[CallPlan], stack: AsyncExitStack) -> None:
    """A live call of each plan; each echoes."""
    calls = [EchoCall(server.url, plan) for plan in plans]
    await asyncio.gather(*(stack.enter_async_context(call) for call in calls))
    assert all(await asyncio.gather(*(echoes(call, 0x31) for call in calls)))


async def lose_all(server: MediaServer, plans: list[CallPlan], followed: Followed) -> None:
    """Live calls whose sockets are gone, and the server knows."""
    calls = [EchoCall(server.url, plan) for plan in plans]
    async with AsyncExitStack() as stack:
        for call in calls:
            await stack.enter_async_context(call)
        assert all(await asyncio.gather(*(echoes(call, 0x21) for call in calls)))
        for call in calls:
            call.cut()
    await soon(lambda: all(followed.lost[p.call_control_id] for p in plans))


@in_both
@with_each_token
async def test_lost_calls_keep_their_places(
    serving: Serving, followed: Followed, auth: str, workers: int
) -> None:
    """Five lose their sockets, four strangers are refused, the five come back; never more."""
    plans = [plan_of(auth) for _ in range(LIMIT)]
    settings = {"max_calls": LIMIT, "auth_token": secret_of(auth), "workers": workers}
    async with serving("echo", reconnect_grace_s=10, **settings) as server:
        async with health(server) as shown, AsyncExitStack() as stack:
            await lose_all(server, plans, followed)
            strangers = [await place_call(server.url, plan_of(auth)) for _ in range(4)]
            assert all(was_refused(report) for report in strangers)
            await open_all(server, plans, stack)
            assert server.service.n_calls == LIMIT
            fifth = await place_call(server.url, plan_of(auth))
            assert was_refused(fifth)
        await soon(lambda: server.service.n_calls == 0)
        await soon(lambda: server.service.counters["takeovers"] == LIMIT)
        assert server.service.counters["calls"] == LIMIT
        assert server.service.counters["refused_full"] == 5
        assert (await place_call(server.url, plan_of(auth))).close_code == 1000
    assert max(shown) == LIMIT


@in_both
@with_each_token
async def test_strangers_come_at_the_same_time(
    serving: Serving, followed: Followed, auth: str, workers: int
) -> None:
    """Four strangers that come at once with the five are refused, and the five are let in."""
    plans = [plan_of(auth) for _ in range(LIMIT)]
    settings = {"max_calls": LIMIT, "auth_token": secret_of(auth), "workers": workers}
    async with serving("echo", reconnect_grace_s=10, **settings) as server:
        async with health(server) as shown, AsyncExitStack() as stack:
            await lose_all(server, plans, followed)
            strangers = [place_call(server.url, plan_of(auth)) for _ in range(4)]
            *reports, _ = await asyncio.gather(*strangers, open_all(server, plans, stack))
            assert all(was_refused(report) for report in reports)
        await soon(lambda: server.service.counters["takeovers"] == LIMIT)
        await soon(lambda: server.service.n_calls == 0)
    assert max(shown) == LIMIT


@in_both
async def test_strangers_that_say_nothing_keep_no_call_out(
    serving: Serving, followed: Followed, workers: int
) -> None:
    """A live call's own token is let in, however many connections wait for their ``start``."""
    plans = [plan_of("per call") for _ in range(2)]
    settings = {"max_calls": 2, "auth_token": SECRET, "workers": workers}
    async with serving("echo", reconnect_grace_s=10, **settings) as server:
        await lose_all(server, plans, followed)
        async with AsyncExitStack() as stack:
            for _ in range(2):
                silent = FakeCall.connect(f"{server.url}/{SECRET}", CallPlan(), greet=False)
                await stack.enter_async_context(silent)
            await open_all(server, plans, stack)
            assert server.service.n_calls == 2


@in_both
@with_each_token
async def test_a_new_call_gets_the_place_of_one_that_ended(
    serving: Serving, followed: Followed, auth: str, workers: int
) -> None:
    """A lost call's place is free when its grace is over, and not before."""
    lost, new = plan_of(auth), plan_of(auth)
    settings = {"max_calls": 1, "auth_token": secret_of(auth), "workers": workers}
    async with serving("echo", reconnect_grace_s=0.5, **settings) as server:
        await lose_all(server, [lost], followed)
        assert was_refused(await place_call(server.url, new))
        await soon(lambda: server.service.n_calls == 0)
        assert (await place_call(server.url, new)).close_code == 1000
        assert followed.summary(lost.call_control_id).reason == "lost"


@in_both
@with_each_token
async def test_a_draining_server_lets_its_calls_come_back(
    serving: Serving, followed: Followed, auth: str, workers: int
) -> None:
    """A lost call is taken over while it drains, and waited for; an unknown one is refused."""
    plan = plan_of(auth)
    settings = {"auth_token": secret_of(auth), "workers": workers}
    async with serving("echo", reconnect_grace_s=10, **settings) as server:
        await lose_all(server, [plan], followed)
        server.service.drain()
        drained = asyncio.create_task(server.service.drained())
        assert was_refused(await place_call(server.url, plan_of(auth)))
        async with AsyncExitStack() as stack:
            await open_all(server, [plan], stack)
            assert not drained.done()
        await asyncio.wait_for(drained, 10)
        assert server.service.counters["takeovers"] == 1
        assert server.service.counters["calls"] == 1


@in_both
async def test_a_live_call_changes_its_socket_at_the_limit(serving: Serving, workers: int) -> None:
    """With its own token a call's second socket needs no place while the first is open."""
    plan = plan_of("per call")
    settings = {"max_calls": 1, "auth_token": SECRET, "workers": workers}
    async with serving("echo", reconnect_grace_s=10, **settings) as server:
        async with EchoCall(server.url, plan) as first:
            assert await echoes(first, 0x41)
            async with AsyncExitStack() as stack:
                await open_all(server, [plan], stack)
                await asyncio.wait_for(first.closed.wait(), 5)
                assert was_refused(await place_call(server.url, plan_of("per call")))
        await soon(lambda: server.service.counters["takeovers"] == 1)


@in_both
async def test_a_quiet_call_changes_its_socket_at_the_limit(serving: Serving, workers: int) -> None:
    """With the shared token alone, once its socket has brought no media for 2 s."""
    plan = plan_of("shared")
    settings = {"max_calls": 1, "auth_token": SECRET, "workers": workers}
    async with serving("echo", reconnect_grace_s=10, **settings) as server:
        async with EchoCall(server.url, plan) as first:
            assert await echoes(first, 0x41)
            await soon(lambda: server.service.n_quiet == 1)
            async with AsyncExitStack() as stack:
                await open_all(server, [plan], stack)
        await soon(lambda: server.service.counters["takeovers"] == 1)


@in_both
async def test_a_refused_call_keeps_its_token(serving: Serving, workers: int) -> None:
    """A call that found no room behind its ``start`` comes in once there is some."""
    plan = plan_of("per call")
    settings = {"max_calls": 2, "auth_token": SECRET, "workers": workers}
    async with serving("echo", **settings) as server:
        late = FakeCall.connect(server.url, plan, greet=False)
        async with late, AsyncExitStack() as stack:
            for _ in range(2):
                await open_all(server, [plan_of("shared")], stack)
            await late.greet()
            await asyncio.wait_for(late.closed.wait(), 5)
            assert late.record.close_code == 1013
        await soon(lambda: server.service.n_calls == server.service.n_connections == 0)
        assert (await place_call(server.url, plan)).error is None


@in_both
async def test_an_ended_call_does_not_begin_again_while_draining(
    serving: Serving, workers: int
) -> None:
    """One that said ``stop`` is over, though its handlers still run: no session follows it."""
    plan = plan_of("none")
    async with serving(bot("stubborn"), workers=workers, handler_grace_s=2) as server:
        assert (await place_call(server.url, plan)).close_code == 1000
        server.service.drain()
        assert was_refused(await place_call(server.url, plan))
