"""Whatever a user's code raises, ``sys.exit()`` as well, ends that processor and nothing else."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys

import pytest
from starlette.responses import Response
from starlette.routing import Route

from mediaserver.control.events import Event
from mediaserver.control.webhooks.receiver import WebhookReceiver
from mediaserver.server.service import SingleProcessService
from mediaserver.settings import Settings
from tests.attacks.faultbots import FILTER_PLACES, PLACES, RAISES
from tests.attacks.faultkit import FULL, bot, call_to, good_calls, server, whole
from tests.cli.test_process import http_status
from tests.cli.test_workers import children
from tests.server.workers.crews import EchoCall, echoes

HANDLERS = [f"{place} {name}" for place, name in itertools.product(PLACES, RAISES)]
FILTERS = [f"{place} {name}" for place, name in itertools.product(FILTER_PLACES, RAISES)]


async def bad_call(url: str, how: str) -> None:
    """One call whose processor fails so; it is over, or goes on without it."""
    async with call_to(url, param_how=how) as call:
        for _ in range(4):
            await call.send_payload(b"\x44" * 160)
        await asyncio.sleep(0.05)  # what raises behind the last frame


async def attack(url: str, hows: list[str]) -> None:
    """All of these, some at once."""
    for begin in range(0, len(hows), 8):
        await asyncio.gather(*(bad_call(url, how) for how in hows[begin : begin + 8]))


@pytest.mark.parametrize(
    ("name", "hows", "workers"),
    [
        ("fails", HANDLERS, 2),
        ("Fails", FILTERS, 1),
        pytest.param("fails", HANDLERS, 1, marks=whole),
        pytest.param("Fails", FILTERS, 2, marks=whole),
    ],
)
async def test_what_a_processor_raises_ends_no_other_call(
    name: str, hows: list[str], workers: int
) -> None:
    """Handlers, sources, their tasks and callbacks, filters: the good call hears all of its own."""
    processors = bot(name, "how") + (bot("fails") if name == "Fails" else "")
    with server(processors, workers) as (process, url):
        before = children(process)
        async with call_to(url) as good:
            assert await echoes(good, 0x21)
            if FULL:
                async with good_calls(url, 30, 10 + len(hows) / 4) as beside:
                    await attack(url, hows)
                print(f"\n{name}, {workers} processes, beside {len(hows)} bad calls:")
                print(beside.figures())
                assert beside.report["summary"]["lost"] == 0
            else:
                await attack(url, hows)
            for code in range(0x22, 0x27):
                assert await echoes(good, code)
        assert children(process) == before
        assert http_status(url, "/readyz") == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


async def test_what_a_webhooks_handler_raises_is_counted() -> None:
    """Plain and async handlers, and a live call's callback; the others are called all the same."""
    receiver = WebhookReceiver(["MCowBQYDK2VwAyEAAAAAAAAAAAAAAAAAAAAAAAAAAAA="])
    seen: list[object] = []
    for fail in RAISES.values():

        async def later(_: object, fail: object = fail) -> None:
            await asyncio.sleep(0)
            fail()  # type: ignore[operator]  # one of the functions above

        def at_once(_: object, fail: object = fail) -> None:
            fail()  # type: ignore[operator]  # as above

        receiver.on("call.hangup")(later)
        receiver.on("call.hangup")(at_once)
        receiver.attach("c", at_once)
    receiver.on("*")(seen.append)
    receiver.dispatch(Event(id="1", event_type="call.hangup", call_control_id="c"))
    await receiver.aclose()
    assert len(seen) == 1
    assert receiver.counts["handler_failed"] == 3 * len(RAISES)


async def test_what_a_route_of_ones_own_raises_is_its_answer() -> None:
    """500, and the server serves on."""
    import httpx

    async def route(request: object) -> Response:
        sys.exit(3)

    service = SingleProcessService(Settings(port=0), routes=[Route("/own", route)])
    await service.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{service.port}") as client:
            for _ in range(2):
                assert (await client.get("/own")).status_code == 500
            assert (await client.get("/healthz")).status_code == 200
    finally:
        await service.close()


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=whole)])
async def test_the_operators_ctrl_c_ends_the_server(workers: int) -> None:
    """Also after a processor has raised one of its own."""
    with server(bot("fails", "how"), workers) as (process, url):
        await bad_call(url, "handler interrupts")
        await bad_call(url, "task interrupts")
        call: EchoCall
        async with call_to(url) as call:
            assert await echoes(call, 0x31)
            os.kill(process.pid, signal.SIGINT)
            while http_status(url, "/readyz") != 503:
                assert process.poll() is None
        assert process.wait(20) == 0
