"""Workers that are killed, stopped or hang, and their parent gone; with real processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mediaserver.carrier import FakeCall
from mediaserver.carrier.rest.api import FakeTelnyx
from mediaserver.carrier.rest.calls import PhoneCall
from mediaserver.carrier.rest.habits import Habits
from mediaserver.control import TelnyxClient
from tests.attacks.faultkit import FULL, bot, call_to, good_calls, said_at, server, whole
from tests.cli.test_process import http_status
from tests.cli.test_workers import all_gone, children, is_running
from tests.control.test_end_to_end import KEY, SECRET
from tests.ports import free_port
from tests.server.workers.crews import EchoCall, echoes

HUNG_S = 4.0 if FULL else 1.5
HUNG = {"MEDIASERVER_WORKER_HUNG_S": str(HUNG_S)}


async def until(condition: Callable[[], bool], timeout_s: float = 60.0) -> float:
    """Wait until another process has done it; how long that took."""
    began = time.monotonic()
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110  # as said
            await asyncio.sleep(0.01)
    return time.monotonic() - began


async def new_call(url: str, code: int, stays_s: float = 0.0) -> float:
    """A new call, whose first frame comes back; how long that took."""
    began = time.monotonic()
    call: EchoCall
    async with call_to(url) as call:
        await call.send_payload(bytes([code]) * 160)
        await call.wait_until(lambda: bool(call.heard()), 60)
        assert call.heard()[0] == bytes([code]) * 160
        took_s = time.monotonic() - began
        await asyncio.sleep(stays_s)
    return took_s


@pytest.mark.parametrize("how", ["spinning", pytest.param("stopped", marks=whole)])
async def test_a_worker_that_hangs_loses_no_new_call(how: str) -> None:
    """Those on their way to it are given to the other one; it is killed and replaced."""
    environment = {**HUNG, "MEDIASERVER_LOG_LEVEL": "info"}
    with server(bot("hangs"), 2, environment) as (process, url):
        before = children(process)
        async with contextlib.AsyncExitStack() as stack:
            call = await stack.enter_async_context(call_to(url))
            assert await echoes(call, 0x41)
            beside = await stack.enter_async_context(good_calls(url, 30, 15)) if FULL else None
            if how == "spinning":
                await call.press("1")
            else:
                os.kill(before[0], signal.SIGSTOP)
            began = time.monotonic()
            calls = []
            for n in range(100 if FULL else 16):
                calls.append(asyncio.create_task(new_call(url, 0x42 + n % 32, HUNG_S)))
                await asyncio.sleep(0.05)
            took = sorted(await asyncio.gather(*calls))
            await until(lambda: said_at(process.pid, "worker 0 is ready") is not None)
            replaced_s = (said_at(process.pid, "worker 0 is ready") or 0.0) - began
            assert http_status(url, "/readyz") == 200
            assert len(children(process)) == 2
            assert children(process)[-1] not in before
        print(
            f"\n{how}: {len(took)} new calls, none lost, answered in {took[len(took) // 2]:.2f} s,"
            f" at most {took[-1]:.2f} s; the worker replaced in {replaced_s:.1f} s"
        )
        if beside is not None:
            others = [call for call in beside.report["calls"] if call["problem"] is None]
            lost = sum(call["sent"] - call["returned"] for call in others)
            print(f"good calls of the other worker: {len(others)}, frames lost {lost}")
            assert lost == 0
            assert len(others) >= 15


async def test_a_parent_that_was_stopped_blames_no_worker() -> None:
    """Nobody is killed for what it did not hear, and calls go on meanwhile."""
    with server(bot("fails"), 2, HUNG) as (process, url):
        before = children(process)
        async with call_to(url) as first, call_to(url) as second:
            assert await echoes(first, 0x51)
            assert await echoes(second, 0x52)
            process.send_signal(signal.SIGSTOP)
            until_s = time.monotonic() + (10.0 if FULL else HUNG_S + 0.5)
            while time.monotonic() < until_s:
                assert await echoes(first, 0x53)
                assert await echoes(second, 0x54)
                await asyncio.sleep(0.02)
            process.send_signal(signal.SIGCONT)
            await new_call(url, 0x55)
            await asyncio.sleep(0.5)  # two looks at the workers
            assert await echoes(first, 0x56)
            assert await echoes(second, 0x57)
        assert children(process) == before


class Carried:
    """Phone calls of a fake Telnyx, each with a stream to a server."""

    def __init__(self, fake: FakeTelnyx, client: TelnyxClient, settings: dict[str, str]) -> None:
        self.fake, self.client, self.settings = fake, client, settings

    async def dial(self, n: int) -> list[PhoneCall]:
        """So many calls, each with a stream that is heard."""
        calls = []
        for _ in range(n):
            dialled = await self.client.calls.dial(connection_id="c", from_="+1", to="+2")
            call = self.fake.calls[dialled.call_control_id]
            await until(lambda call=call: call.state == "answered")  # type: ignore[misc]  # no default's type
            await self.client.calls.actions.start_streaming(call.call_control_id)
            calls.append(call)
        await until(lambda: all(is_heard(call) for call in calls))
        return calls

    @property
    def n_starts(self) -> int:
        """Streams that were asked for."""
        return sum(command.command == "streaming_start" for command in self.fake.commanded)


def is_heard(call: PhoneCall) -> bool:
    """Whether the call has a stream, and audio came back on it."""
    line = None if call.stream is None else call.stream.line
    return isinstance(line, FakeCall) and not line.closed.is_set() and bool(line.received)


def lines_of(calls: list[PhoneCall]) -> list[FakeCall]:
    """The open streams of calls."""
    streams = [call.stream for call in calls]
    return [stream.line for stream in streams if stream is not None and stream.line is not None]


@asynccontextmanager
async def carried(state: Path, **settings: str) -> AsyncIterator[Carried]:
    """A fake Telnyx, and the settings of servers that it reports to, one after the other."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with FakeTelnyx(api_key=KEY, habits=Habits(answer_after_s=0.0)) as fake:
        fake.webhook_url = f"{url}/webhooks/telnyx"
        given = {
            "MEDIASERVER_PUBLIC_URL": url,
            "MEDIASERVER_AUTH_TOKEN": SECRET,
            "MEDIASERVER_API_KEY": KEY,
            "MEDIASERVER_API_BASE_URL": fake.base_url,
            "MEDIASERVER_PUBLIC_KEYS": fake.public_key,
            "MEDIASERVER_AUTO_RESTART": "true",
            "MEDIASERVER_STATE_FILE": str(state),
            "port": str(port),
            **settings,
        }
        client = TelnyxClient(KEY, base_url=fake.base_url, public_url=url, auth_token=SECRET)
        async with client:
            yield Carried(fake, client, given)
            await asyncio.gather(*(each.aclose() for each in fake.calls.values()))


@pytest.mark.parametrize("how", ["killed", pytest.param("stopped", marks=whole)])
async def test_streams_of_a_dead_worker_start_again_at_once(how: str, tmp_path: Path) -> None:
    """Behind a kill without any grace; behind a hang once the worker was killed."""
    n = 30 if FULL else 4
    async with carried(tmp_path / "state.db", **HUNG) as c:
        port = c.settings["port"]
        with server(bot("fails"), 2, c.settings, port=port) as (process, _):
            victim = children(process)[0]
            calls = await c.dial(n)
            os.kill(victim, signal.SIGKILL if how == "killed" else signal.SIGSTOP)
            began = time.monotonic()
            first_s = await until(lambda: c.n_starts > n)
            await until(lambda: all(is_heard(call) for call in calls))
            took_s = time.monotonic() - began
            print(f"\n{how}: first start after {first_s:.2f} s, all heard again in {took_s:.2f} s")
            assert n < c.n_starts <= 2 * n
            for call in calls:
                await c.client.calls.actions.hangup(call.call_control_id)


async def test_calls_go_on_without_the_parent_and_a_new_server_leaves_them_alone(
    tmp_path: Path,
) -> None:
    """As ``on_parent_loss`` says by default: it asks for their streams, which are there."""
    async with carried(tmp_path / "state.db") as c:
        port = c.settings["port"]
        with server(bot("fails"), 2, c.settings, port=port) as (process, _):
            workers = children(process)
            calls = await c.dial(10 if FULL else 2)
            await asyncio.sleep(0.5)  # the rows are written by a thread of the server
            process.kill()
            lines = lines_of(calls)
            n_starts = c.n_starts
            with server(bot("fails"), 2, c.settings, port=port):
                await until(lambda: c.n_starts == n_starts + len(calls))
                heard = [len(line.received) for line in lines]
                await until(
                    lambda: all(
                        len(line.received) > before
                        for line, before in zip(lines, heard, strict=True)
                    )
                )
                assert lines_of(calls) == lines
                assert not any(line.closed.is_set() for line in lines)
                for call in calls:
                    await c.client.calls.actions.hangup(call.call_control_id)
                await all_gone(workers)


@whole
async def test_calls_that_end_with_the_parent_are_started_again(tmp_path: Path) -> None:
    """With ``on_parent_loss`` ``end``: closed with 1001; a new server asks for each once."""
    settings = {"MEDIASERVER_ON_PARENT_LOSS": "end"}
    async with carried(tmp_path / "state.db", **settings) as c:
        port = c.settings["port"]
        with server(bot("fails"), 2, c.settings, port=port) as (process, _):
            workers = children(process)
            calls = await c.dial(10 if FULL else 2)
            await asyncio.sleep(0.5)  # as above
            lines = lines_of(calls)
            process.kill()
            for line in lines:
                await line.wait_until(line.closed.is_set, 20)
                assert line.record.close_code == 1001
            await all_gone(workers)
        n_starts = c.n_starts
        with server(bot("fails"), 2, c.settings, port=port) as (process, _):
            await until(lambda: all(is_heard(call) for call in calls))
            assert c.n_starts == n_starts + len(calls)
            for call in calls:
                await c.client.calls.actions.hangup(call.call_control_id)
            assert all(is_running(pid) for pid in children(process))


@whole
async def test_workers_without_a_parent_end_at_a_signal() -> None:
    """Calls are closed with 1001, as behind a signal to the parent."""
    with server(bot("fails"), 2) as (process, url):
        workers = children(process)
        async with call_to(url) as call:
            assert await echoes(call, 0x61)
            process.kill()
            process.wait()
            assert await echoes(call, 0x62)
            await until(lambda: sum(is_running(pid) for pid in workers) == 1)  # the idle one ended
            for pid in filter(is_running, workers):
                os.kill(pid, signal.SIGTERM)
            await call.wait_until(call.closed.is_set, 20)
            assert call.record.close_code == 1001
        await all_gone(workers)
