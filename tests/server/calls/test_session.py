"""A session is whole before user code runs, and a refused take-over leaves it as it was."""

from __future__ import annotations

import asyncio
import base64
import gc
import time
import weakref
from ast import literal_eval
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mediaserver.app import MediaServer
from mediaserver.carrier import CallPlan, FakeCall, place_call
from mediaserver.carrier.messages import MediaIn
from mediaserver.observer import StreamRequest
from mediaserver.tokens import issue
from telephony_codecs import CodecError
from tests.server.conftest import Serving, bot
from tests.server.following import Followed
from tests.server.workers.crews import EchoCall, call_to, echoes, soon

SECRET = "s3cret"
HALF = msgspec.structs.replace(bot("Half"), allow=("divisor",))
PCMU = StreamRequest("PCMU", 8000, "rtp")

in_both = pytest.mark.parametrize("workers", [1, 2])


# Filters that cannot be made.


@in_both
async def test_a_filter_that_cannot_be_made_is_bypassed(serving: Serving, workers: int) -> None:
    """It is counted once, and the processors before and behind it carry the call."""
    async with serving(bot("Half", divisor=1), bot("Unmade"), "echo", workers=workers) as server:
        report = await place_call(server.url, CallPlan(seconds=0.4))
        await soon(lambda: server.service.counters["processor_errors"] == 1)
    assert report.close_code == 1000
    assert report.echo_problem is None
    assert report.bit_exact


@in_both
async def test_a_filter_that_cannot_be_made_ends_its_call(serving: Serving, workers: int) -> None:
    """With ``on_error = end`` its own call is closed with 1000, and no other one is."""
    async with serving(
        bot("Unmade"), "echo", offer=(HALF, bot("echo_handler")), on_error="end", workers=workers
    ) as server:
        other = call_to(server, custom_parameters={"processor": "echo_handler"})
        async with other:
            assert await echoes(other, 0x11)
            report = await place_call(server.url, CallPlan(seconds=5.0))
            assert await echoes(other, 0x12)
        await soon(lambda: server.service.counters["processor_errors"] == 1)
    assert not report.hung_up
    assert report.close_code == 1000


async def test_each_filter_that_cannot_be_made_is_counted(
    serving: Serving, followed: Followed
) -> None:
    """Two of them are two errors, also in the call's summary."""
    plan = CallPlan(seconds=0.2)
    async with serving(bot("Unmade"), bot("Half"), bot("Unmade")) as server:
        await place_call(server.url, plan)
        await soon(lambda: server.service.n_calls == 0)
        assert server.service.counters["processor_errors"] == 2
    assert followed.summary(plan.call_control_id).processor_errors == 2


@in_both
async def test_a_filter_may_ask_the_call_while_it_is_made(
    serving: Serving, tmp_path: Path, workers: int
) -> None:
    """Id, codec, rate and parameters are there in the constructor; the byte order may be asked."""
    plan = CallPlan(codec="L16", rate_hz=16000, seconds=0.2, custom_parameters={"city": "Bonn"})
    async with serving(bot("Reads", directory=str(tmp_path)), "echo", workers=workers) as server:
        report = await place_call(server.url, plan)
        await soon(lambda: server.service.n_calls == 0)
        assert server.service.counters["processor_errors"] == 0
    *said, order = literal_eval((tmp_path / plan.call_control_id).read_text())
    parameters = {"send_mode": "rtp", "send_codec": "L16", "send_rate": "16000", "city": "Bonn"}
    assert said == [plan.call_control_id, "L16", 16000, parameters]
    assert order in (None, "little"), "no audio has come yet"
    assert report.bit_exact


# A refused take-over.


class OddCall(EchoCall):
    """A call whose ``start`` says what the test wants."""

    media_format: dict[str, Any] | None = None

    async def greet(self) -> None:
        await self.send({"event": "connected", "version": "1.0.0"})
        given = self.media_format or {"encoding": "PCMU", "sample_rate": 8000, "channels": 1}
        await self.send(
            {
                "event": "start",
                "sequence_number": "1",
                "stream_id": self.stream_id,
                "start": {
                    "call_control_id": self.plan.call_control_id,
                    "custom_parameters": dict(self.plan.custom_parameters),
                    "media_format": given,
                },
            }
        )


ODD: dict[str, tuple[dict[str, str], dict[str, Any] | None]] = {
    "unknown codec": ({}, {"encoding": "EVS", "sample_rate": 16000, "channels": 1}),
    "two channels": ({}, {"encoding": "L16", "sample_rate": 16000, "channels": 2}),
    "unknown rate": ({}, {"encoding": "OPUS", "sample_rate": 44100, "channels": 1}),
    "unknown send codec": ({"send_codec": "SILK"}, None),
    "unknown send rate": ({"send_codec": "L16", "send_rate": "7"}, None),
    "unknown mode": ({"send_mode": "fax"}, None),
}


async def refused(server: MediaServer, plan: CallPlan, odd: str) -> int | None:
    """A second socket that cannot be served; the code it is closed with."""
    parameters, media_format = ODD[odd]
    call = OddCall(server.url, replace(plan, custom_parameters=parameters))
    call.media_format = media_format
    async with call:
        await asyncio.wait_for(call.closed.wait(), 5)
    return call.record.close_code


async def exact(call: EchoCall, seed: int) -> bool:
    """Whether ten different payloads come back bit for bit, in order."""
    return all([await echoes(call, (seed + n) % 255) for n in range(10)])


@in_both
async def test_a_refused_take_over_leaves_the_first_socket(
    serving: Serving, followed: Followed, workers: int
) -> None:
    """Each is closed with 1003; the first socket goes on bit-exact, and so would a restart."""
    plan = CallPlan(seconds=60.0, token=issue(SECRET, time.time()))
    async with serving("echo", auth_token=SECRET, workers=workers, reconnect_grace_s=5) as server:
        async with EchoCall(server.url, plan) as first:
            for n, odd in enumerate(ODD):
                assert await exact(first, 0x10 * n)
                assert await refused(server, plan, odd) == 1003
                assert await exact(first, 0x10 * n + 5)
        await soon(lambda: server.service.n_calls == 0)
        await soon(lambda: server.service.counters["refused_format"] == len(ODD))
        assert server.service.counters["takeovers"] == 0
    assert followed.requests[plan.call_control_id] == [PCMU]
    assert followed.summary(plan.call_control_id).takeovers == 0


@in_both
async def test_a_refused_take_over_leaves_a_lost_call(
    serving: Serving, followed: Followed, workers: int
) -> None:
    """A call in its grace is as it was: the next good socket takes it over."""
    plan = CallPlan(seconds=60.0)
    async with serving("echo", workers=workers, reconnect_grace_s=20) as server:
        async with EchoCall(server.url, plan) as first:
            assert await exact(first, 0x20)
            first.cut()
        await soon(lambda: followed.lost[plan.call_control_id] == 1)
        for odd in ODD:
            assert await refused(server, plan, odd) == 1003
        async with EchoCall(server.url, plan) as second:
            assert await exact(second, 0x40)
        await soon(lambda: server.service.n_calls == 0)
        assert server.service.counters["takeovers"] == 1
    summary = followed.summary(plan.call_control_id)
    assert (summary.codec, summary.send_codec, summary.takeovers) == ("PCMU", "PCMU", 1)
    assert followed.requests[plan.call_control_id] == [PCMU, PCMU]


async def test_mp3_without_an_encoder_is_a_refused_take_over(
    serving: Serving, followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no MP3 can be made, mp3 mode is refused; the call lives on, also without a socket."""

    def missing(name: str) -> None:
        raise CodecError(f"no encoder of {name} here")

    plan = CallPlan(seconds=60.0, token=issue(SECRET, time.time()))
    async with serving("echo", auth_token=SECRET, reconnect_grace_s=5) as server:
        async with EchoCall(server.url, plan) as first:
            assert await exact(first, 0x20)
            monkeypatch.setattr("mediaserver.media.playout.mp3.codec", missing)
            report = await place_call(server.url, replace(plan, mode="mp3", seconds=0.1))
            assert report.close_code == 1008
            assert await exact(first, 0x40)
            first.cut()
        await soon(lambda: followed.lost[plan.call_control_id] == 1)
        async with EchoCall(server.url, plan) as second:
            assert await exact(second, 0x60)
        await soon(lambda: server.service.n_calls == 0)
    assert followed.requests[plan.call_control_id] == [PCMU, PCMU]
    assert followed.summary(plan.call_control_id).send_mode == "rtp"


# An accepted one.


@in_both
async def test_a_take_over_renews_what_a_restart_asks_for(
    serving: Serving, followed: Followed, workers: int
) -> None:
    """Codec, rate and mode of the way back are the last socket's; the processor stays."""
    asked = {"processor": "Half", "param_divisor": "4"}
    first = CallPlan(seconds=0.1, custom_parameters=asked)
    wide = replace(first, custom_parameters={}, send_codec="L16", send_rate_hz=16000)
    whole = replace(first, custom_parameters={}, mode="mp3")
    async with serving("echo", offer=(HALF,), workers=workers, reconnect_grace_s=5) as server:
        for n, plan in enumerate((first, wide), 1):
            async with FakeCall.connect(server.url, plan) as call:
                await call.send_payload(b"\xff" * 160)
                await soon(lambda: len(followed.requests[first.call_control_id]) == n)  # noqa: B023  # awaited in this turn
                call.cut()
            await soon(lambda: followed.lost[first.call_control_id] == n)  # noqa: B023  # awaited in this turn
        assert (await place_call(server.url, whole)).close_code == 1000
        await soon(lambda: server.service.n_calls == 0)
    kept: Any = ("Half", {"divisor": "4"})
    assert followed.requests[first.call_control_id] == [
        StreamRequest("PCMU", 8000, "rtp", *kept),
        StreamRequest("L16", 16000, "rtp", *kept),
        StreamRequest("MP3", 24000, "mp3", *kept),
    ]


async def test_a_take_over_speaks_the_new_codec(serving: Serving) -> None:
    """What is echoed behind it comes in the second socket's send codec."""
    first = CallPlan(seconds=60.0)
    second = replace(first, send_codec="PCMA")
    async with serving("echo", reconnect_grace_s=5) as server:
        async with EchoCall(server.url, first) as call:
            assert await echoes(call, 0x80)
            call.cut()
        await soon(lambda: server.service.n_connections == 0)
        async with EchoCall(server.url, second) as call:
            await call.send_payload(b"\x80" * 160)  # the loudest of µ-law
            await call.wait_until(lambda: bool(call.heard()))
            (media,) = [r.command for r in call.received if isinstance(r.command, MediaIn)]
    assert base64.b64decode(media.media.payload) == b"\xaa" * 160, "the loudest of A-law"


# Behind its end.


@pytest.mark.parametrize("auto_restart", [False, True])
async def test_a_lost_call_leaves_no_session(serving: Serving, auto_restart: bool) -> None:
    """What a restart needs to know is kept without the session itself."""
    restart = {"api_key": "k", "public_url": "https://media.example.com", "allow_insecure": True}
    nowhere = {"api_base_url": "http://127.0.0.1:9/v2", "auto_restart": auto_restart}
    plan = CallPlan(seconds=60.0)
    async with serving("echo", **restart, **nowhere) as server:
        async with EchoCall(server.url, plan) as call:
            assert await echoes(call, 0x20)
            session = weakref.ref(server.service.sessions[plan.call_control_id])
            call.cut()
        await soon(lambda: server.service.n_calls == server.service.n_connections == 0)
        gc.collect()
        assert session() is None


@pytest.mark.parametrize(
    "broken", ["runner.close", "outbound.closed", "line.close", "outbound.end", "dtmf.end"]
)
async def test_a_call_ends_whatever_fails_at_its_end(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """A call that never ended would keep the server from its own end for ever."""
    plan = CallPlan(seconds=60.0)

    def fails(*_: object) -> None:
        raise OSError("made to fail")

    async with serving("echo") as server:
        async with EchoCall(server.url, plan) as call:
            assert await echoes(call, 0x20)
            session = server.service.sessions[plan.call_control_id]
            part, method = broken.split(".")
            monkeypatch.setattr(type(getattr(session, part)), method, fails)
            with suppress(OSError):
                session.end("stop")
            await soon(lambda: session.call_id not in server.service.sessions)
            monkeypatch.undo()
            call.cut()
