"""A second signal ends the process within two seconds, whatever users' code does."""

from __future__ import annotations

import asyncio
import itertools
import signal
import subprocess
import sys
import time

import pytest

from tests.attacks.faultkit import FULL, bot, call_to, n_calls, server, whole
from tests.cli.test_process import http_status
from tests.cli.test_workers import all_gone, children

HOWS = ("swallow", "block", "spin", "thread", "executor", "finally", "atexit")
# The promise is two seconds; here it may be a busy machine.
LIMIT_S = 20.0
BLOCKS = ("block", "spin")


async def until_draining(process: subprocess.Popen[str], url: str, how: str, workers: int) -> None:
    """Wait until the first signal has been heard; of a loop that is blocked nobody can see it."""
    if how in BLOCKS and workers == 1:
        await asyncio.sleep(0.3)
        return
    while await asyncio.to_thread(http_status, url, "/readyz") != 503:
        assert process.poll() is None


@pytest.mark.parametrize(
    ("how", "workers"),
    list(itertools.product(HOWS, (1, 2))) if FULL else [("swallow", 2), ("spin", 1)],
)
async def test_a_second_signal_ends_the_process(how: str, workers: int) -> None:
    """No process is left of it, and none of its workers."""
    with server(bot("stays", "how"), workers) as (process, url):
        started = [process.pid, *children(process)]
        async with call_to(url, param_how=how) as call:
            await call.press("1")
            await call.wait_until(lambda: bool(call.heard()), 20)
            process.send_signal(signal.SIGTERM)
            await until_draining(process, url, how, workers)
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            code = await asyncio.to_thread(process.wait, LIMIT_S)
            await all_gone(started, LIMIT_S)
            took_s = time.monotonic() - began
        print(f"\n{how}, {workers} processes: ended in {took_s:.2f} s, exit code {code}")


@whole
@pytest.mark.parametrize("workers", [1, 2])
async def test_a_second_signal_closes_sockets_well(workers: int) -> None:
    """Where users' code lets it: 1001, and no handler's grace is waited for."""
    with server(bot("stays"), workers) as (process, url):
        async with call_to(url) as call:
            await call.press("1")
            await call.wait_until(lambda: bool(call.heard()), 20)
            process.send_signal(signal.SIGINT)
            await until_draining(process, url, "", workers)
            process.send_signal(signal.SIGINT)
            await call.wait_until(call.closed.is_set, LIMIT_S)
            assert call.record.close_code == 1001
        # 1: the machine was too busy for its two seconds.
        assert await asyncio.to_thread(process.wait, LIMIT_S) in (0, 1)


BLOCKED = """
import asyncio, sys
from mediaserver.app import MediaServer
from mediaserver.settings import Settings

def block():
    print("blocked", flush=True)
    while True:
        pass

async def main():
    async with MediaServer(Settings(port=0, workers=2)) as server:
        await server.run(lambda: asyncio.get_running_loop().call_later(0.1, block))

asyncio.run(main())
"""


@whole
def test_a_program_whose_loop_is_blocked_ends_with_its_workers() -> None:
    """It serves with workers, and blocks by code of its own: nobody is left of it."""
    command = [sys.executable, "-c", BLOCKED]
    out, err = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(command, text=True, stdout=out, stderr=err) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "blocked\n"
        workers = children(process)
        assert len(workers) == 2
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)  # else the two might be taken for one
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_S) == 1
        asyncio.run(all_gone(workers, LIMIT_S))


@whole
async def test_a_handler_that_swallows_its_cancellation_is_left_alone() -> None:
    """Its call ends behind the grace and a second more; the server ends when it is told twice."""
    environment = {"MEDIASERVER_HANDLER_GRACE_S": "0.1"}
    with server(bot("stays", "how"), 1, environment) as (process, url):
        call = call_to(url, param_how="swallow")
        async with call:
            await call.press("1")
            await call.wait_until(lambda: bool(call.heard()), 20)
        while await asyncio.to_thread(n_calls, url):
            assert process.poll() is None
