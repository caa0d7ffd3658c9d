"""``serve --workers`` as processes: start, signals, and what a vanished parent leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from mediaserver.carrier import CallPlan, FakeCall
from tests.cli.test_process import http_status, port_is_free, run, serve

HANGS = """
from mediaserver import Call, processor

@processor
async def hang(call: Call) -> None:
    async for _ in call.frames():
        while True:
            pass
"""


def children(process: subprocess.Popen[str]) -> list[int]:
    """The processes that a process has started and not ended."""
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(pid) for pid in listed.split()]


def signal_all(number: int, *pids: int) -> None:
    """Signal a whole group, as a terminal does."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


async def all_gone(pids: list[int], timeout_s: float = 30.0) -> None:
    """Wait until processes that are nobody's children any more have ended."""
    async with asyncio.timeout(timeout_s):
        while any(is_running(pid) for pid in pids):  # noqa: ASYNC110  # no event comes for it
            await asyncio.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    # The second when it ends between the opening and the reading.
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--workers", "0"], "workers"),
        (["--workers", "x"], "workers"),
        (["--workers", "1000"], "workers"),
        (["--workers", "2", "--processor", "bogus"], "unknown processor 'bogus'"),
        (["--workers", "2", "--send-codec", "EVS"], "EVS"),
        (["--workers", "2", "--port", "70000"], "port"),
    ],
)
def test_what_is_wrong_is_one_clear_line(arguments: list[str], said: str) -> None:
    """Exit code 2, one line on stderr that names the fault, before any worker starts."""
    ran = run("serve", *arguments)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert said in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_a_port_in_use_is_one_clear_line() -> None:
    """The address is taken before the workers are started."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = run("serve", "--workers", "2", "--port", str(port))
    assert ran.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in ran.stderr
    assert ran.stderr.count("\n") == 1


@pytest.mark.long
def test_many_calls_lose_nothing() -> None:
    """Sixty paced calls over three workers: all frames back, none lost, none out of order."""
    environment = {
        "MEDIASERVER_BACKLOG_MS": "60000",
        "MEDIASERVER_CATCH_UP": "false",
        "MEDIASERVER_WORKERS": "3",
    }
    with serve("--processor", "echo", environment=environment) as (process, url):
        assert len(children(process)) == 3
        ran = run(
            *("simulate", "--url", url, "--calls", "60", "--seconds", "3", "--linger", "30"),
            *("--expect-echo", "--json", "--max-late", "60000"),
        )
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr
    report = json.loads(ran.stdout)
    summary = report["summary"]
    assert (summary["calls"], summary["failed"], summary["lost"]) == (60, 0, 0)
    assert all(call["bit_exact"] for call in report["calls"])


async def test_sigterm_lets_live_calls_end() -> None:
    """The port is free at once, the live call ends well, exit code 0, no process left."""
    with serve("--processor", "echo", "--workers", "2") as (process, url):
        workers = children(process)
        async with FakeCall.connect(url, CallPlan(seconds=1.0)) as call:
            await call.send_payload(b"\xff" * 160)
            await call.wait_until(lambda: bool(call.received))
            signal_all(signal.SIGTERM, process.pid, *workers)
            while http_status(url, "/readyz") != 503:  # the signal takes its time
                assert process.poll() is None
            await port_is_free(url)
            await call.send_payload(b"\xff" * 160)
            await call.wait_until(lambda: len(call.received) >= 2)
        assert process.wait(15) == 0
        assert call.record.close_code == 1000
        await all_gone(workers)


async def test_a_second_signal_ends_now() -> None:
    """Ctrl-C twice, to the whole group: live calls are closed with 1001."""
    with serve("--processor", "echo", "--workers", "2") as (process, url):
        workers = children(process)
        async with FakeCall.connect(url, CallPlan(seconds=30.0)) as call:
            await call.send_payload(b"\xff" * 160)
            await call.wait_until(lambda: bool(call.received))
            signal_all(signal.SIGINT, process.pid, *workers)
            while http_status(url, "/readyz") != 503:  # else the two might be taken for one
                assert process.poll() is None
            signal_all(signal.SIGINT, process.pid, *workers)
            await call.wait_until(call.closed.is_set, 15)
            assert call.record.close_code == 1001
        assert process.wait(15) in (0, 1)  # 1: the machine was too busy for its two seconds
        await all_gone(workers)


async def test_a_killed_parent_leaves_no_worker() -> None:
    """``kill -9`` of the parent: live calls are closed with 1001, and the workers end."""
    environment = {"MEDIASERVER_ON_PARENT_LOSS": "end"}
    with serve("--processor", "echo", "--workers", "2", environment=environment) as (process, url):
        workers = children(process)
        async with FakeCall.connect(url, CallPlan(seconds=30.0)) as call:
            await call.send_payload(b"\xff" * 160)
            await call.wait_until(lambda: bool(call.received))
            process.kill()
            await call.wait_until(call.closed.is_set, 15)
            assert call.record.close_code == 1001
        await all_gone(workers)


async def test_a_worker_that_hangs_ends_without_its_parent(tmp_path: Path) -> None:
    """Nobody is left to kill it: it does so itself."""
    (tmp_path / "bot.py").write_text(HANGS)
    environment = {"MEDIASERVER_HANDLER_GRACE_S": "0"}
    bot = f"{tmp_path / 'bot.py'}:hang"
    with serve("--processor", bot, "--workers", "2", environment=environment) as (process, url):
        workers = children(process)
        async with FakeCall.connect(url, CallPlan(seconds=30.0)) as call:
            await call.send_payload(b"\xff" * 160)
            await asyncio.sleep(0.2)
            process.kill()
            await all_gone(workers)
