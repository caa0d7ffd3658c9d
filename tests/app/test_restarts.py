"""Broken streams start again soon, never twice, and also over the death of a server."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mediaserver.carrier.rest.api import FakeTelnyx
from mediaserver.carrier.rest.calls import Habits
from mediaserver.settings import ProcessorSetting, RouteSetting
from tests.control.test_end_to_end import KEY, SECRET, World, world
from tests.ports import free_port
from tests.server.workers.crews import soon


def starts(w: World) -> int:
    return sum(command.command == "streaming_start" for command in w.fake.commanded)


async def test_a_stream_that_never_came_is_started(tmp_path: Path) -> None:
    """``streaming.failed`` before any socket, of a command that this server has not given."""
    async with world() as w:
        call = await w.dialled()
        began = time.monotonic()
        w.fake.calls[call].report(
            "streaming.failed",
            failure_reason="connection_failed",
            stream_params={"stream_url": w.client.server.media_url, "track": "inbound_track"},
        )
        await w.until_event("streaming.started")
        assert time.monotonic() - began < 2.0
        await w.until_heard(call)
        assert starts(w) == 1


async def test_another_programs_stream_is_left_alone() -> None:
    """It led to another host: not ours to start."""
    async with world() as w:
        call = await w.dialled()
        w.fake.calls[call].report(
            "streaming.failed",
            failure_reason="connection_failed",
            stream_params={"stream_url": "wss://other.example.com/media"},
        )
        await w.until_event("streaming.failed")
        await asyncio.sleep(1.2)
        assert starts(w) == 0


async def test_a_failure_ends_the_grace() -> None:
    """The socket is lost, and then Telnyx says that the stream failed: no ten seconds more."""
    async with world(reconnect_grace_s=10) as w:
        call = await w.dialled()
        await w.actions.start_streaming(call)
        await w.until_event("streaming.started")
        await w.until_heard(call)
        line = w.stream(call).line
        assert line is not None
        line.cut()
        began = time.monotonic()
        await w.until_event("streaming.failed")
        await w.until_event("streaming.started", 2)
        assert time.monotonic() - began < 2.5
        await asyncio.sleep(1.5)
        assert starts(w) == 2


async def test_a_routed_stream_comes_back_to_its_route() -> None:
    """The start that is asked for has the name behind ``/media/``, and what routed it."""
    echo = (ProcessorSetting("echo"),)
    routes = (
        RouteSetting(path="a", parameters={"bot": "x"}, processors=echo),
        RouteSetting(path="a", processors=()),
    )
    async with world(reconnect_grace_s=0, echo=False, routes=routes) as w:
        call = await w.dialled()
        url = f"{w.client.server.media_url}/a"
        await w.actions.start_streaming(call, stream_url=url, custom_parameters={"bot": "x"})
        await w.until_event("streaming.started")
        await w.until_heard(call)
        line = w.stream(call).line
        assert line is not None
        line.cut()
        await soon(lambda: starts(w) == 2)
        await w.until_heard(call)
    again = [each.body for each in w.fake.commanded if each.command == "streaming_start"][-1]
    assert again["stream_url"] == url
    assert {"name": "bot", "value": "x"} in again["custom_parameters"]


@asynccontextmanager
async def served(
    fake: FakeTelnyx, port: int, state: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A server in a process of its own that may be killed."""
    environment = {
        **os.environ,
        "MEDIASERVER_PORT": str(port),
        "MEDIASERVER_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "MEDIASERVER_AUTH_TOKEN": SECRET,
        "MEDIASERVER_API_KEY": KEY,
        "MEDIASERVER_API_BASE_URL": fake.base_url,
        "MEDIASERVER_PUBLIC_KEYS": fake.public_key,
        "MEDIASERVER_AUTO_RESTART": "true",
        "MEDIASERVER_STATE_FILE": str(state),
        "MEDIASERVER_PROCESSORS": "echo",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mediaserver", "serve"),
        env=environment,
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(20):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                except OSError:
                    await asyncio.sleep(0.05)
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), 20)


async def test_calls_live_at_a_crash_are_started_again_once(tmp_path: Path) -> None:
    """Killed and started again: the stream is asked for once, and nobody is dialled."""
    from mediaserver.control import TelnyxClient

    port, state = free_port(), tmp_path / "state.db"
    habits = Habits(answer_after_s=0.0)
    async with FakeTelnyx(api_key=KEY, habits=habits) as fake:
        url = f"http://127.0.0.1:{port}"
        fake.webhook_url = f"{url}/webhooks/telnyx"
        async with TelnyxClient(
            KEY, base_url=fake.base_url, public_url=url, auth_token=SECRET
        ) as client:
            async with served(fake, port, state) as first:
                dialled = await client.calls.dial(connection_id="c", from_="+1", to="+2")
                call = fake.calls[dialled.call_control_id]
                await soon(lambda: call.state == "answered")
                await client.calls.actions.start_streaming(call.call_control_id)
                await soon(lambda: call.stream is not None and call.stream.line is not None)
                await asyncio.sleep(0.5)  # the row is written by a thread of the server
                first.kill()
                await first.wait()
            before = [command.command for command in fake.commanded]
            async with served(fake, port, state):
                after = [*before, "streaming_start"]
                await soon(lambda: [c.command for c in fake.commanded] == after)
                await asyncio.sleep(1.0)
                assert [c.command for c in fake.commanded] == after
                await client.calls.actions.hangup(call.call_control_id)
                await asyncio.gather(*(each.aclose() for each in fake.calls.values()))
