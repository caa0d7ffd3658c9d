"""Which calls are taken, over real sockets: formats, offers, tokens, capacity, draining."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from mediaserver.carrier import Audio, CallPlan, FakeCall, place_call
from tests.server.conftest import Serving, bot
from tests.server.watching import seen, soon


async def test_unsupported_formats_are_closed_with_1003(serving: Serving) -> None:
    """An unknown codec, stereo, or a rate there is not: 1003 and a reason."""
    cases = {
        "EVS": {"encoding": "EVS", "sample_rate": 16000, "channels": 1},
        "2 channels": {"encoding": "PCMU", "sample_rate": 8000, "channels": 2},
        "OPUS": {"encoding": "OPUS", "sample_rate": 44100, "channels": 1},
    }
    async with serving("echo") as server:
        for said, media_format in cases.items():
            async with FakeCall.connect(server.url, CallPlan(), greet=False) as call:
                await call.send({"event": "connected", "version": "1.0.0"})
                await call.send(
                    {
                        "event": "start",
                        "stream_id": "s",
                        "sequence_number": "1",
                        "start": {"call_control_id": "x", "media_format": media_format},
                    }
                )
                await asyncio.wait_for(call.closed.wait(), 5)
                assert call.record.close_code == 1003
                assert said in call.record.close_reason
        assert server.service.counters["refused_format"] == len(cases)


async def test_an_unknown_send_codec_is_closed_with_1003(serving: Serving) -> None:
    """What shall go back must exist as well; custom parameters are heard before settings."""
    plan = CallPlan(custom_parameters={"send_codec": "SILK"})
    async with serving("echo") as server:
        report = await place_call(server.url, plan)
    assert report.close_code == 1003
    assert "SILK" in report.close_reason


async def test_a_stream_may_select_only_what_is_offered(serving: Serving) -> None:
    """A name from outside selects a processor of the settings; paths and modules are refused."""
    async with serving("echo", offer=(bot("listen"),)) as server:
        chosen = CallPlan(seconds=0.2, custom_parameters={"processor": "listen"})
        report = await place_call(server.url, chosen)
        assert report.returned == 0
        assert len(seen(chosen)) == 10
        for name in ("os:system", "bots.py:listen", "record", "../bots.py:listen"):
            plan = CallPlan(seconds=0.2, custom_parameters={"processor": name})
            report = await place_call(server.url, plan)
            assert report.close_code == 1008
            assert "not offered" in report.close_reason


async def test_a_call_sets_allowed_parameters_only(serving: Serving) -> None:
    """``param_*`` reaches a processor where it is allow-listed; a wrong value refuses the call."""
    import msgspec

    half = msgspec.structs.replace(bot("Half"), allow=("divisor",))
    audio = Audio(np.full(160, 1000, np.int16), 8000)
    async with serving(half, "echo") as server:
        plan = CallPlan(
            codec="L16",
            rate_hz=8000,
            seconds=0.2,
            audio=audio,
            custom_parameters={"param_divisor": "10"},
        )
        async with FakeCall.connect(server.url, plan) as call:
            await call.speak()
            heard = call.intake.ear
            assert 100 in np.unique(heard.between(0, heard.end_s))
        wrong = CallPlan(seconds=0.2, custom_parameters={"param_divisor": "many"})
        assert (await place_call(server.url, wrong)).close_code == 1008


@pytest.mark.parametrize("where", ["header", "path", "query"])
async def test_auth_token_in_each_place(serving: Serving, where: str) -> None:
    """Header, path and query carry the token; a wrong one is refused before the upgrade."""
    async with serving("echo", auth_token="s3cret") as server:
        for token, served in (("s3cret", True), ("wrong", False)):
            url = server.url
            if where == "path":
                url += f"/{token}"
            elif where == "query":
                url += f"?token={token}"
            plan = CallPlan(seconds=0.1, token=token if where == "header" else None)
            report = await place_call(url, plan)
            assert (report.problem is None) is served
            assert served or "401" in str(report.error)


TOKEN_LINE = "x-telnyx-streaming-auth-token: s3cret\r\n"


@pytest.mark.parametrize(
    ("path", "more"), [("//[::1/media", ""), ("http://[/media", ""), ("/media", TOKEN_LINE * 2)]
)
async def test_an_upgrade_that_cannot_be_read_is_told_so(
    serving: Serving, caplog: pytest.LogCaptureFixture, path: str, more: str
) -> None:
    """400 with the reason, to anybody; no traceback is logged."""
    async with serving("echo", auth_token="s3cret") as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.service.port)
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            f"{more}\r\n".encode()
        )
        answer = (await asyncio.wait_for(reader.read(), 20)).decode()
        writer.close()
        await writer.wait_closed()
    assert answer.startswith("HTTP/1.1 400 Bad Request\r\n")
    assert answer.partition("\r\n\r\n")[2].strip()
    assert not [record for record in caplog.records if record.exc_info]


async def test_auth_token_in_connected_alone(serving: Serving) -> None:
    """A token that comes only in ``connected`` is enough; none, or a wrong one, is 1008."""
    async with serving("echo", auth_token="s3cret") as server:
        for token, served in (("s3cret", True), ("wrong", False), (None, False)):
            async with FakeCall.connect(server.url, CallPlan(seconds=0.1), greet=False) as call:
                nested = {"connected": {"x-telnyx-streaming-auth-token": token}} if token else {}
                await call.send({"event": "connected", "version": "1.0.0", **nested})
                await call.send(
                    {
                        "event": "start",
                        "stream_id": call.plan.stream_id,
                        "start": {"call_control_id": call.plan.call_control_id},
                    }
                )
                await call.send_payload(b"\xff" * 160)
                if served:
                    await call.wait_until(lambda: bool(call.received))
                else:
                    await asyncio.wait_for(call.closed.wait(), 5)
                    assert call.record.close_code == 1008


async def test_a_full_server_says_so(serving: Serving) -> None:
    """Beyond ``max_calls`` an upgrade gets 503, and the live call goes on."""
    async with serving("echo", max_calls=1) as server:
        async with FakeCall.connect(server.url, CallPlan(seconds=0.5)) as call:
            refused = await place_call(server.url, CallPlan(seconds=0.1))
            assert "503" in str(refused.error)
            await call.speak()
        assert call.report().echo_problem is None


async def test_a_draining_server_takes_no_calls(serving: Serving) -> None:
    """Draining: 503 to new calls, live ones go on and are told."""
    plan = CallPlan(seconds=0.6)
    async with serving(bot("events"), "echo") as server:
        async with FakeCall.connect(server.url, plan) as call:
            await soon(lambda: server.service.n_calls == 1)
            server.service.drain()
            server.service.drain()
            refused = await place_call(server.url, CallPlan(seconds=0.1))
            assert "503" in str(refused.error)
            await call.speak()
        assert call.report().echo_problem is None
        await asyncio.wait_for(server.service.drained(), 5)
    assert [type(e).__name__ for e in seen(plan)].count("Draining") == 1


async def test_drain_has_an_end(serving: Serving) -> None:
    """After ``drain_s`` the rest is cut with 1001."""
    async with serving("echo", drain_s=0.1) as server:
        async with FakeCall.connect(server.url, CallPlan(seconds=30.0)) as call:
            await soon(lambda: server.service.n_calls == 1)
            server.service.drain()
            await server.service.drained()
            await server.service.close()
            await asyncio.wait_for(call.closed.wait(), 5)
            assert call.record.close_code == 1001
