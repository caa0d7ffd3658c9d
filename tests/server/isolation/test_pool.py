"""The processor hosts of a server: watched, replaced, bounded, and gone with it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.parts import crimes
from mediaserver.app import MediaServer
from mediaserver.carrier import CallPlan, FakeCall, place_call
from mediaserver.server.isolation.runner import IsolatedRunner
from mediaserver.settings import ProcessorSetting
from tests.cli.test_process import serve
from tests.cli.test_workers import all_gone, is_running
from tests.server.conftest import Serving
from tests.server.isolation.test_losses import pids, pool_of
from tests.server.isolation.test_parity import BOTS
from tests.server.watching import soon
from tests.server.workers.crews import EchoCall, echoes

CRIMES = Path(crimes.__file__)


def crime(name: str) -> ProcessorSetting:
    return ProcessorSetting(f"{CRIMES}:{name}", alias=name, isolate="process")


def echo() -> ProcessorSetting:
    return ProcessorSetting("echo", isolate="process")


def spawner_pid(server: MediaServer) -> int:
    (spawner,) = pool_of(server)._supervisor.children
    return spawner.pid


def descendants(pid: int) -> list[int]:
    """All processes below one."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, path.read_text().split()):
                found += [child, *descendants(child)]
    return found


async def test_one_that_hangs_is_killed_and_says_where(
    serving: Serving, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """The log names call, processor and line at once, and the host as it is killed."""
    plan = CallPlan(seconds=20.0)
    async with serving(crime("Spins"), host_silent_s=1.0, on_host_loss="end") as server:
        await place_call(server.url, plan)
        await soon(lambda: server.service.n_calls == 0, 20)
        assert server.service.counters["lost_hosts"] == 1
    lines = [record.getMessage() for record in caplog.records]
    assert any(re.search(r"no sign of life for 1 s: it hangs; killed$", line) for line in lines)
    errors = capfd.readouterr().err
    assert re.search(rf"by processor \S*Spins of call {plan.call_control_id} at .*py:\d+", errors)
    assert "most recent call first" in errors
    assert errors.count('parts/crimes.py", line') >= 1


async def test_its_memory_is_bounded(serving: Serving, caplog: pytest.LogCaptureFixture) -> None:
    """What it has resident, not what it has mapped."""
    plan = CallPlan(seconds=20.0)
    async with serving(crime("Allocates"), host_memory_mb=256, on_host_loss="end") as server:
        await place_call(server.url, plan)
        await soon(lambda: server.service.n_calls == 0, 20)
    assert any("MiB of memory are more than 256; killed" in r.getMessage() for r in caplog.records)


async def test_a_killed_spawner_is_replaced(serving: Serving) -> None:
    """Hosts of live calls go on, new calls find hosts, and a hanging one ends all the same."""
    plan = CallPlan(seconds=60.0)
    async with serving(
        echo(), offer=(crime("Spins"),), calls_per_host=1, host_silent_s=1.0, handler_grace_s=0.2
    ) as server:
        async with EchoCall(server.url, plan) as call:
            assert await echoes(call, 3)
            (host,) = pids(server)
            old = spawner_pid(server)
            spinning = EchoCall(f"{server.url}?processor=Spins", CallPlan(seconds=60.0))
            async with spinning:
                await soon(lambda: len(pids(server)) == 2 and all(pids(server)), 20)
                (spins,) = set(pids(server)) - {host}
                for _ in range(crimes.AFTER_FRAMES):
                    await spinning.send_payload(b"\xff" * 160)
                os.kill(old, signal.SIGKILL)
                await soon(
                    lambda: any(
                        c.is_ready and c.pid != old for c in pool_of(server)._supervisor.children
                    ),
                    30,
                )
                await spinning.send_payload(b"\xff" * 160)
                await all_gone([spins])
            assert pids(server)[:1] == [host]
            assert await echoes(call, 4), "its host has gone on"
            async with EchoCall(server.url, CallPlan(seconds=60.0)) as late:
                assert await echoes(late, 5)
                assert is_running(host)
        await soon(lambda: server.service.n_calls == 0, 20)


async def test_one_stuck_in_c_is_killed_though_its_spawner_is_dead(serving: Serving) -> None:
    """It holds Python's lock: no thread of its own can end it, and the new spawner knows it not."""
    bot = ProcessorSetting(f"{BOTS}:stuck", isolate="process")
    async with serving(bot, host_silent_s=1.0, handler_grace_s=0.2, on_host_loss="end") as server:
        async with EchoCall(server.url, CallPlan(seconds=60.0)) as call:
            await soon(lambda: len(pids(server)) == 1 and all(pids(server)), 20)
            (pid,) = pids(server)
            for _ in range(3):
                await call.send_payload(b"\xff" * 160)
            # Before its first frame it has half a minute.
            await soon(lambda: any(host._has_run for host in pool_of(server).hosts), 20)
            os.kill(spawner_pid(server), signal.SIGKILL)
            for _ in range(20):
                await call.send_payload(b"\xff" * 160)
            await all_gone([pid])
        await soon(lambda: server.service.n_calls == 0, 20)


async def test_a_call_that_fails_when_its_host_is_lost_harms_no_other(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each call of a lost host is told of it."""
    told = IsolatedRunner.host_lost
    plans = [CallPlan(seconds=60.0), CallPlan(seconds=60.0)]

    def fails(self: IsolatedRunner, why: str) -> None:
        told(self, why)
        if self.call_id == plans[0].call_control_id:
            raise RuntimeError("one call's own trouble")

    monkeypatch.setattr(IsolatedRunner, "host_lost", fails)
    async with serving(echo(), calls_per_host=2) as server:
        async with EchoCall(server.url, plans[0]), EchoCall(server.url, plans[1]) as call:
            assert await echoes(call, 3)
            (host,) = pids(server)
            os.kill(host, signal.SIGKILL)
            await soon(lambda: server.service.counters["lost_hosts"] == 2, 20)
            assert await echoes(call, 4)
    failed = [r for r in caplog.records if r.event == "calls_that_failed"]
    assert [r.call_id for r in failed] == [plans[0].call_control_id]


async def test_no_descriptor_for_a_host_ends_one_call(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By `on_error`; the calls beside it, and those after it, have theirs."""

    def refuse(*_: Any) -> Any:
        raise OSError(24, "Too many open files")

    async with serving(echo(), calls_per_host=1, on_error="end") as server:
        async with EchoCall(server.url, CallPlan(seconds=60.0)) as call:
            assert await echoes(call, 3)
            with monkeypatch.context() as patched:
                patched.setattr("mediaserver.server.isolation.host.socket.socketpair", refuse)
                async with EchoCall(server.url, CallPlan(seconds=60.0)) as ready:
                    assert await echoes(ready, 4), "one was kept ready"
                    report = await place_call(server.url, CallPlan(seconds=20.0))
                    assert report.close_code == 1000
            assert await echoes(call, 5)
            async with EchoCall(server.url, CallPlan(seconds=60.0)) as late:
                assert await echoes(late, 6)


@contextlib.contextmanager
def isolated(*arguments: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server process whose calls are isolated."""
    given = ["--processor", "echo", "--isolate", "--offer", f"{CRIMES}:Spins", *arguments]
    with serve(*given, environment=environment) as (process, url):
        yield process, url


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_killed_server_leaves_no_process_behind(workers: int) -> None:
    """Neither spawner nor hosts, also not one that spins."""
    grace = {"MEDIASERVER_HANDLER_GRACE_S": "0.2", "MEDIASERVER_ON_PARENT_LOSS": "end"}
    with isolated("--workers", str(workers), **grace) as (process, url):
        spins = CallPlan(seconds=60.0)
        async with (
            EchoCall(url, CallPlan(seconds=60.0)) as call,
            FakeCall.connect(f"{url}?processor={CRIMES}:Spins", spins) as spinning,
        ):
            assert await echoes(call, 3)
            for _ in range(crimes.AFTER_FRAMES + 1):
                await spinning.send_payload(b"\xff" * 160)
            # Workers, a spawner and hosts: the second host may take a while to be forked.
            await soon(lambda: len(descendants(process.pid)) >= (3 if workers == 1 else 6), 20)
            left = descendants(process.pid)
            process.kill()
            await all_gone(left)


async def test_a_draining_server_lets_isolated_calls_end() -> None:
    """SIGTERM: a live call goes on and ends by itself; then all processes are gone."""
    with isolated() as (process, url):
        async with EchoCall(url, CallPlan(seconds=60.0)) as call:
            assert await echoes(call, 3)
            left = descendants(process.pid)
            process.send_signal(signal.SIGTERM)
            await soon(lambda: not listens(url), 20)
            assert await echoes(call, 4)
        assert await asyncio.wait_for(asyncio.to_thread(process.wait), 20) == 0
        await all_gone(left)


def listens(url: str) -> bool:
    """Whether connections are still taken there, with an HTTP answer that says so."""
    host, _, port = url.removeprefix("ws://").split("/")[0].rpartition(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 5) as sock:
        sock.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return b" 200 " in sock.recv(4096).split(b"\r\n")[0]
    return False
