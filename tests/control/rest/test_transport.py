from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mediaserver.carrier.rest.server import serving
from mediaserver.control.client import TelnyxClient
from mediaserver.control.errors import CommandTimeoutError, NetworkError
from mediaserver.control.rest.retry import RetryPolicy
from mediaserver.control.rest.transport import MAX_REPLY_BYTES


async def storm(client: TelnyxClient, rng: random.Random) -> int:
    """800 commands, each cancelled after some turns of the loop; gives how many were under way."""

    async def cancelled(n_turns: int) -> bool:
        task = asyncio.create_task(client.calls.actions.hangup("v3:a"))
        for _ in range(n_turns):  # turns, not time: this way every await is hit
            await asyncio.sleep(0)
        task.cancel()
        (result,) = await asyncio.gather(task, return_exceptions=True)
        return isinstance(result, asyncio.CancelledError)

    return sum(await asyncio.gather(*(cancelled(rng.randrange(400)) for _ in range(800))))


@pytest.mark.parametrize("closes", [True, False])
@pytest.mark.parametrize("seed", range(3))
async def test_a_storm_of_cancelled_commands_leaves_the_pool_whole(closes: bool, seed: int) -> None:
    """After 800 commands cancelled at any moment, 10 of 10 are carried out, all at once."""
    all_there, n_there = asyncio.Event(), 0

    async def answer(request: Request) -> Response:
        nonlocal n_there
        if request.path_params["id"] == "v3:after":
            n_there += 1
            if n_there == 10:
                all_there.set()
            await all_there.wait()  # no answer until all ten connections are in use
        headers = {"connection": "close"} if closes else {}
        return JSONResponse({"data": {"result": "ok"}}, headers=headers)

    app = Starlette(routes=[Route("/v2/calls/{id}/actions/hangup", answer, methods=["POST"])])
    policy = RetryPolicy(deadline_s=20, try_s=20, max_tries=1)
    async with (
        serving(app) as url,
        TelnyxClient("KEY", base_url=url + "/v2", max_connections=10, policy=policy) as client,
    ):
        assert await storm(client, random.Random(seed)) > 100
        commands = [client.calls.actions.hangup("v3:after") for _ in range(10)]
        results = await asyncio.gather(*commands)
    assert [result.result for result in results] == ["ok"] * 10


async def test_a_command_cancelled_in_the_queue_is_never_sent() -> None:
    """A request still waiting for a free connection goes away with its command."""
    seen: list[str] = []
    arrived, release = asyncio.Event(), asyncio.Event()

    async def hold(request: Request) -> Response:
        seen.append(request.path_params["id"])
        arrived.set()
        await release.wait()
        return JSONResponse({"data": {"result": "ok"}})

    app = Starlette(routes=[Route("/v2/calls/{id}/actions/hangup", hold, methods=["POST"])])
    async with (
        serving(app) as url,
        TelnyxClient("KEY", base_url=url + "/v2", max_connections=1) as client,
    ):
        first = asyncio.create_task(client.calls.actions.hangup("first"))
        await arrived.wait()
        second = asyncio.create_task(client.calls.actions.hangup("second"))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        release.set()
        await first
        await client.calls.actions.hangup("third")
    assert seen == ["first", "third"]


async def test_a_closed_client_sends_nothing() -> None:
    """A command of a closed client fails at once, and says that nothing was sent."""
    client = TelnyxClient("KEY", base_url="http://127.0.0.1:9", policy=RetryPolicy(max_tries=1))
    await client.aclose()
    with pytest.raises(NetworkError, match="closed") as caught:
        await client.calls.actions.hangup("v3:a")
    assert not caught.value.sent


async def test_closing_ends_requests_under_way() -> None:
    """Closing the client gives requests a moment and then ends them."""
    started = asyncio.Event()

    async def hang(request: httpx.Request) -> httpx.Response:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError("never reached")

    client = TelnyxClient(
        "KEY", transport=httpx.MockTransport(hang), policy=RetryPolicy(max_tries=1)
    )
    task = asyncio.create_task(client.calls.actions.hangup("v3:a"))
    await started.wait()
    await client._transport.aclose(grace_s=0.01)
    with pytest.raises(NetworkError, match="was closed"):
        await task


async def test_nobody_listens_means_not_sent() -> None:
    """A refused connection is known not to have carried the command."""
    client = TelnyxClient("KEY", base_url="http://127.0.0.1:1", policy=RetryPolicy(max_tries=1))
    async with client:
        with pytest.raises(NetworkError) as caught:
            await client.calls.actions.hangup("v3:a")
    assert not caught.value.sent


async def test_an_endless_answer_is_cut() -> None:
    """An answer longer than any answer of Telnyx's is no answer."""

    def flood(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=b" " * (MAX_REPLY_BYTES + 1))

    client = TelnyxClient(
        "KEY", transport=httpx.MockTransport(flood), policy=RetryPolicy(max_tries=1)
    )
    async with client:
        with pytest.raises(NetworkError, match="too long"):
            await client.calls.actions.hangup("v3:a")


async def test_a_dripping_answer_does_not_hold_its_connection() -> None:
    """A server that sends a little for ever loses the request at the time limit."""

    async def drip(request: httpx.Request) -> httpx.Response:
        async def content() -> AsyncIterator[bytes]:
            while True:
                yield b" "
                await asyncio.sleep(0.01)

        return httpx.Response(200, content=content())

    client = TelnyxClient(
        "KEY",
        transport=httpx.MockTransport(drip),
        policy=RetryPolicy(deadline_s=0.05),
        max_connections=1,
    )
    async with client:
        with pytest.raises(CommandTimeoutError):
            await client.calls.actions.hangup("v3:a")
        async with asyncio.timeout(5), client._transport._slots:
            pass  # the slot is free again


async def test_accounts_in_the_eu_have_a_base_url_of_their_own() -> None:
    """Given as ``base_url`` it is where commands go, under the same paths."""
    urls: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        urls.append(str(request.url))
        return httpx.Response(200, json={"data": {"result": "ok"}})

    transport = httpx.MockTransport(answer)
    base_url = "https://api.telnyx.eu/v2"
    async with TelnyxClient("KEY", base_url=base_url, transport=transport) as client:
        await client.calls.actions.hangup("v3:a")
    assert urls == ["https://api.telnyx.eu/v2/calls/v3%3Aa/actions/hangup"]
