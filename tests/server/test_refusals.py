"""Who is refused is told in the log: from where, with which code, and why."""

from __future__ import annotations

import asyncio
import logging
import socket

import pytest

from mediaserver.app import MediaServer
from mediaserver.carrier import CallPlan, FakeCall, place_call
from mediaserver.settings import ProcessorSetting, Settings
from tests.server.conftest import Serving, bot
from tests.server.workers.crews import soon

in_both = pytest.mark.parametrize("workers", [1, 2])
ECHO = (ProcessorSetting("echo"),)


def lines(caplog: pytest.LogCaptureFixture, part: str) -> list[str]:
    return [r.getMessage() for r in caplog.records if part in r.getMessage()]


@in_both
async def test_sockets_refused_before_the_upgrade(
    serving: Serving, workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    """401, 404 and 503 come with the address and the reason; no token turns up."""
    async with serving("echo", auth_token="s3cret", max_calls=1, workers=workers) as server:
        other = server.url.replace("/media", "/medium")
        await place_call(server.url, CallPlan(seconds=0.1, token="s3cret-wrong"))
        await place_call(f"{server.url}/canary", CallPlan(seconds=0.1))
        await place_call(other, CallPlan(seconds=0.1, token="s3cret"))
        async with FakeCall.connect(server.url, CallPlan(token="s3cret")) as call:
            await soon(lambda: server.service.n_calls == 1)
            await call.send_payload(bytes(160))
            await place_call(server.url, CallPlan(seconds=0.1, token="s3cret"))
            await call.hang_up()
        await soon(lambda: server.service.n_calls == 0)
        server.service.drain()
        await place_call(server.url, CallPlan(seconds=0.1, token="s3cret"))
    said = [line.partition("127.0.0.1:")[2].partition(" ")[2] for line in lines(caplog, "refused")]
    assert said == [
        "was refused with 401: Wrong auth token.",
        "was refused with 401: Wrong auth token.",
        "was refused with 404: Media streams connect to /media.",
        "was refused with 503: This server is full.",
        "was refused with 503: This server takes no new calls.",
    ]


@in_both
async def test_calls_refused_at_their_start(
    serving: Serving, workers: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """Token, format, processor: with the call's id, here or in a worker."""
    logging.getLogger("mediaserver").addHandler(handler := logging.StreamHandler())
    try:
        async with serving("echo", auth_token="s3cret", workers=workers) as server:
            plans = [
                CallPlan(seconds=0.1),
                CallPlan(seconds=0.1, token="s3cret", custom_parameters={"send_codec": "SILK"}),
                CallPlan(seconds=0.1, token="s3cret", custom_parameters={"processor": "a\nb"}),
            ]
            for plan in plans:
                await place_call(server.url, plan)
    finally:
        logging.getLogger("mediaserver").removeHandler(handler)
    said = [line for line in capfd.readouterr().err.splitlines() if " refused: " in line]
    assert len(said) == 3
    for plan, line, why in zip(
        plans, said, ("no token", "SILK", "processor 'a\\nb' is not offered"), strict=True
    ):
        assert f"call {plan.call_control_id} from 127.0.0.1:" in line
        assert why in line


@pytest.mark.long
async def test_a_flood_is_a_few_lines(serving: Serving, caplog: pytest.LogCaptureFixture) -> None:
    """Of 60 refusals ten are written, and then how many more there were."""
    async with serving("echo", auth_token="s3cret") as server:
        for _ in range(60):
            await place_call(server.url, CallPlan(token="wrong"))
        assert server.service.counters["refused_token"] == 60
        assert len(lines(caplog, "was refused with 401")) <= 20
        await soon(lambda: bool(lines(caplog, "connections refused with 401: and")), 30)


async def test_a_head_that_is_none(serving: Serving, caplog: pytest.LogCaptureFixture) -> None:
    """An upgrade that breaks the protocol, or a head without an end, is said as well."""
    async with serving("echo") as server:
        for request, code in (
            (b"GET /media HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", 4),
            (b"GET /media HTTP/1.1\r\nX: " + b"x" * 70_000, 431),
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.service.port)
            writer.write(request)
            head = await reader.readline()
            assert f" {code}".encode() in head
            writer.close()
    assert len(lines(caplog, "a connection from 127.0.0.1:")) == 2


@pytest.mark.parametrize(
    ("host", "token", "said"),
    [("127.0.0.1", None, 0), ("0.0.0.0", None, 1), ("0.0.0.0", "s3cret", 0)],
)
async def test_open_to_anybody(
    host: str, token: str | None, said: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a token on an address that others reach: a warning at the start."""
    async with MediaServer(Settings(host=host, port=0, auth_token=token, processors=ECHO)):
        assert len(lines(caplog, "open to anybody")) == said


async def test_open_to_anybody_on_both_families(caplog: pytest.LogCaptureFixture) -> None:
    """The same of ``::``, where there is IPv6; not of ``localhost``."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6 on this machine")
    for host, said in (("localhost", 0), ("::", 1)):
        async with MediaServer(Settings(host=host, port=0, processors=ECHO)):
            assert len(lines(caplog, "open to anybody")) == said


@in_both
async def test_no_processor_is_said_at_the_start(
    serving: Serving, workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, before any call is silent."""
    async with serving(workers=workers):
        assert len(lines(caplog, "no processor is set: calls will be silent")) == 1


async def test_a_play_that_fails_names_its_call(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    """A source that raises, and a file that there is not, with the call's id."""
    async with serving(bot("by_key")) as server:
        async with FakeCall.connect(server.url, CallPlan()) as call:
            await call.press("6")
            await call.press("3")
            await soon(lambda: len(lines(caplog, "play")) == 2)
            await call.hang_up()
        await soon(lambda: server.service.n_calls == 0)
    call_id = call.plan.call_control_id
    broken, missing = lines(caplog, "play")
    assert broken == f"call {call_id}: a play failed: its source failed"
    assert missing.startswith(f"call {call_id}: cannot play missing.wav: ")
