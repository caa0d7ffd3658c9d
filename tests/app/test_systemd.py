"""A server under systemd: here the test is systemd, and speaks its protocol for real."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mediaserver.carrier import CallPlan, place_call
from mediaserver.errors import ConfigurationError
from mediaserver.processes import systemd
from tests.app.rolling import HeldCall, serving, write_bot

DEPLOY = Path(__file__).parent.parent.parent / "deploy"


class Manager:
    """What systemd hears."""

    def __init__(self, address: str) -> None:
        self.heard: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.setblocking(False)

    async def hears(self, line: str, n: int = 1) -> str:
        """Wait until so many more lines that begin so have come; the last one's rest."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(60):
            while True:
                said = (await loop.sock_recv(self._socket, 4096)).decode().splitlines()
                self.heard += said
                for each in said:
                    if each.startswith(line):
                        n -= 1
                        if n == 0:
                            return each.removeprefix(line)

    def close(self) -> None:
        self._socket.close()


@contextlib.asynccontextmanager
async def manager(folder: Path) -> AsyncIterator[Manager]:
    found = Manager(str(folder / "notify"))
    yield found
    found.close()


async def test_it_says_when_it_is_ready_alive_and_at_its_end(tmp_path: Path) -> None:
    """A socket it did not open itself; READY, signs of life, the new main process, STOPPING."""
    bot = tmp_path / "bot.py"
    write_bot(bot, "old")
    chain = ["--processor", "echo", "--processor", f"{bot}:bot"]
    with socket.create_server(("127.0.0.1", 0)) as listening:
        async with (
            manager(tmp_path) as systemd_,
            serving(
                *chain,
                listening=listening,
                NOTIFY_SOCKET=str(tmp_path / "notify"),
                WATCHDOG_USEC="300000",
            ) as server,
        ):
            assert server.url.endswith(f":{listening.getsockname()[1]}/media")
            await systemd_.hears("READY=1")
            await systemd_.hears("WATCHDOG=1", 3)
            call = HeldCall(server.url, bot)
            await call.up()
            server.process.send_signal(signal.SIGHUP)
            newer = int(await systemd_.hears("MAINPID="))
            assert newer != server.process.pid
            await systemd_.hears("WATCHDOG=1", 3)  # of the new one
            await call.end()
            assert await server.ended() == 0
            os.kill(newer, signal.SIGTERM)
            await systemd_.hears("STOPPING=1")


@pytest.mark.skipif("ROLLING" not in os.environ, reason="make rolling runs it")
async def test_a_loop_that_hangs_gives_no_sign(tmp_path: Path) -> None:
    """So systemd replaces the server."""
    bot = tmp_path / "bot.py"
    bot.write_text(
        "import time\nfrom mediaserver import processor\n\n\n@processor\n"
        "async def bot(call):\n    time.sleep(2)\n"
    )
    async with (
        manager(tmp_path) as systemd_,
        serving(
            "--processor", f"{bot}:bot", "--port", "0",
            NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="300000",
        ) as server,
    ):  # fmt: skip
        await systemd_.hears("WATCHDOG=1", 2)
        call = asyncio.create_task(place_call(server.url, CallPlan(seconds=0.1)))
        longest = 0.0
        for _ in range(12):
            began = time.monotonic()
            await systemd_.hears("WATCHDOG=1")
            longest = max(longest, time.monotonic() - began)
        assert longest > 1.0  # it is late by what the loop stood still
        await call


@pytest.mark.parametrize("what", ["a file", "a datagram socket", "a socket that is closed"])
def test_what_is_no_listening_socket_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, what: str
) -> None:
    """One line that says which descriptor it is."""
    if what == "a file":
        fd = os.open(tmp_path / "file", os.O_CREAT)
    elif what == "a datagram socket":
        fd = socket.socket(socket.AF_INET, socket.SOCK_DGRAM).detach()
    else:
        fd = os.open(os.devnull, os.O_RDONLY)
        os.close(fd)
    monkeypatch.setattr(systemd, "FIRST_FD", fd)
    environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
    try:
        with pytest.raises(ConfigurationError, match=f"descriptor {fd}"):
            systemd.listening_sockets(environ)
    finally:
        with contextlib.suppress(OSError):
            os.close(fd)
    assert not environ


def test_sockets_of_another_process_are_none_of_ours() -> None:
    """A variable that was inherited says nothing."""
    assert systemd.listening_sockets({"LISTEN_PID": "1", "LISTEN_FDS": "1"}) == []
    assert systemd.listening_sockets({"LISTEN_FDS": "1"}) == []
    assert systemd.listening_sockets({}) == []


def test_the_unit_files_are_sound(tmp_path: Path) -> None:
    """systemd-analyze finds nothing, where there is one; the program's path is this one's."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("needs systemd-analyze")
    program = tmp_path / "mediaserver"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for name in ("mediaserver.service", "mediaserver.socket"):
        text = (DEPLOY / name).read_text()
        text = text.replace("/opt/mediaserver/.venv/bin/mediaserver", str(program))
        (tmp_path / name).write_text(text)
    ran = subprocess.run(
        [analyze, "verify", "--man=no", tmp_path / "mediaserver.service",
         tmp_path / "mediaserver.socket"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")


def test_the_stop_limit_is_above_the_drain() -> None:
    """systemd waits for longer than the server takes: drain, hang-ups, handlers' grace."""
    unit = (DEPLOY / "mediaserver.service").read_text()
    values = dict(line.split("=", 1) for line in unit.splitlines() if "=" in line)
    drain_s = float(values["Environment"].removeprefix("MEDIASERVER_DRAIN_S="))
    assert float(values["TimeoutStopSec"]) >= drain_s + 5 + 5 + 5
