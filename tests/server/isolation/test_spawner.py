"""The process that hosts are forked from; real forks, whose ends are real as well."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mediaserver.processes.channel import Channel
from mediaserver.server.isolation import messages
from mediaserver.server.isolation.spawner import (
    ADDRESS_SPACE_TIMES,
    FORK_WITHIN_S,
    MAX_OPEN_FILES,
    NICE,
)
from tests.cli.test_workers import all_gone
from tests.server.isolation.forking import MEMORY_BYTES
from tests.server.watching import soon

SAID = messages.Hello | messages.Ready | messages.Heartbeat | messages.FromSpawner


class Spawned:
    """A spawner's process, and what it says."""

    def __init__(self, forks: int, failing: int) -> None:
        ours, theirs = socket.socketpair()
        arguments = f"{theirs.fileno()}, {forks}, {failing}"
        code = f"from tests.server.isolation.forking import main; main({arguments})"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            pass_fds=[theirs.fileno()],
            stderr=subprocess.PIPE,
            cwd=Path(__file__).parents[3],
        )
        theirs.close()
        self.said: list[Any] = []
        self.is_over = False
        self.channel = Channel(ours, SAID, self._received, self._ended)

    def _received(self, message: Any, _: int | None) -> None:
        self.said.append(message)

    def _ended(self) -> None:
        self.is_over = True

    async def host(self, number: int) -> tuple[int, socket.socket]:
        """Start one: its pid, and our end of its link."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.channel.send(messages.SpawnHost(number), theirs.detach())
        await soon(lambda: self.pid(number) is not None, 20)
        return self.pid(number) or 0, ours

    def pid(self, number: int) -> int | None:
        started = [m.pid for m in self.said if isinstance(m, messages.HostStarted)]
        numbers = [m.host for m in self.said if isinstance(m, messages.HostStarted)]
        return dict(zip(numbers, started, strict=True)).get(number)

    async def exited(self, number: int) -> int:
        """The code of a host that has ended."""

        def codes() -> list[int]:
            ends = [m for m in self.said if isinstance(m, messages.HostExited)]
            return [m.code for m in ends if m.host == number]

        await soon(lambda: bool(codes()), 20)
        (code,) = codes()
        return code

    async def ended(self) -> str:
        """What it and its hosts have written, once it has ended."""
        _, errors = await asyncio.wait_for(asyncio.to_thread(self.process.communicate), 30)
        return errors.decode()


@asynccontextmanager
async def spawning(forks: int = 1000, failing: int = 1_000_000) -> AsyncIterator[Spawned]:
    """A spawner that is ready, and ends."""
    spawned = Spawned(forks, failing)
    try:
        await soon(lambda: messages.Ready() in spawned.said, 60)
        yield spawned
    finally:
        spawned.channel.close()
        try:
            await spawned.ended()
        except (TimeoutError, ValueError):
            spawned.process.kill()
            spawned.process.wait()


async def asked(link: socket.socket) -> dict[str, Any]:
    """What a host says of itself."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(link, b"?")
    said = b""
    while not said.endswith(b"\n"):
        said += await loop.sock_recv(link, 4096)
    found: dict[str, Any] = json.loads(said)
    return found


async def test_hosts_are_processes_with_limits() -> None:
    """Each with a link of its own, nicer than the server, and bound in what it may take."""
    async with spawning() as spawner:
        (one, link), (other, link2) = await spawner.host(1), await spawner.host(2)
        facts, facts2 = await asked(link), await asked(link2)
        link.close()
        link2.close()
    assert (facts["number"], facts2["number"]) == (1, 2)
    assert {facts["pid"], facts2["pid"]} == {one, other}
    assert facts["nice"] == min(os.nice(0) + NICE, 19)
    most = {"RLIMIT_NOFILE": MAX_OPEN_FILES, "RLIMIT_CORE": 0}
    most["RLIMIT_AS"] = ADDRESS_SPACE_TIMES * MEMORY_BYTES
    for name, limit in most.items():
        _, hard = resource.getrlimit(getattr(resource, name))
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
        assert facts["limits"][name] == [limit, limit]


@pytest.mark.parametrize(
    ("order", "code"), [(b"x", 3), (b"r", 1), (b"s", -signal.SIGSEGV), (b"", 0)]
)
async def test_it_says_how_a_host_has_ended(order: bytes, code: int) -> None:
    """By itself, by its fault, by a signal, or because its link has; the others go on."""
    async with spawning() as spawner:
        _, link = await spawner.host(7)
        _, beside = await spawner.host(8)
        link.send(order) if order else link.close()
        assert await spawner.exited(7) == code
        assert (await asked(beside))["number"] == 8
        link.close()
        beside.close()


async def test_one_that_hangs_says_where_and_is_killed() -> None:
    """The line is on stderr; one that is to be killed at once says nothing."""
    async with spawning() as spawner:
        _, hangs = await spawner.host(1)
        _, idle = await spawner.host(2)
        hangs.send(b"h")
        idle.send(b"i")
        spawner.channel.send(messages.KillHost(1, hangs=True))
        spawner.channel.send(messages.KillHost(1))
        spawner.channel.send(messages.KillHost(2))
        spawner.channel.send(messages.KillHost(99, hangs=True))
        assert await spawner.exited(1) == -signal.SIGKILL
        assert await spawner.exited(2) == -signal.SIGKILL
        spawner.channel.send(messages.Shutdown())
        errors = await spawner.ended()
        hangs.close()
        idle.close()
    assert errors.count('forking.py", line') >= 1
    assert errors.count("Current thread") == 1


@pytest.mark.parametrize("how", ["told", "gone", "killed"])
async def test_hosts_end_with_the_other_side(how: str) -> None:
    """Those that do not by themselves are killed; also where it is the spawner that dies."""
    async with spawning() as spawner:
        (one, link), (other, link2) = await spawner.host(1), await spawner.host(2)
        (spinning, link3) = await spawner.host(3)
        await asked(link2)
        link3.send(b"i" if how != "killed" else b"?")
        if how == "told":
            spawner.channel.send(messages.Shutdown())
        elif how == "gone":
            spawner.channel.close()
        else:
            spawner.process.kill()
            await soon(lambda: spawner.is_over, 20)
            assert (await asked(link2))["number"] == 2, "hosts outlive their spawner"
        for end in (link, link2, link3):
            end.close()
        await all_gone([one, other, spinning])


async def test_what_hosts_print_is_bounded() -> None:
    """A flood by print and by a C library: some lines of it, and how many more; not of the log."""
    async with spawning() as spawner:
        _, link = await spawner.host(1)
        link.send(b"p")
        loop = asyncio.get_running_loop()
        assert await asyncio.wait_for(loop.sock_recv(link, 1), 60) == b"!"
        link.send(b"x")
        assert await spawner.exited(1) == 3
        spawner.channel.send(messages.Shutdown())
        link.close()
        errors = (await spawner.ended()).splitlines()
    assert "a line of the log" in errors
    printed = [line for line in errors if line.startswith("processor host 1 prints: ")]
    n_more = sum(int(line.split()[5]) for line in printed if "more lines" in line)
    kept = [line for line in printed if "more lines" not in line]
    assert {"processor host 1 prints: a printed line 0"} < {*kept}
    assert "processor host 1 prints: a library's line" in kept
    assert len(kept) + n_more == 40_000
    assert len(kept) < 20_000


async def test_a_fork_that_fails_is_tried_again_after_a_pause() -> None:
    """The host that is wanted starts as soon as it can, and its call waits."""
    async with spawning(forks=1, failing=2) as spawner:
        (_, first), (_, second) = await spawner.host(1), await spawner.host(2)
        assert (await asked(second))["number"] == 2
        assert (await asked(first))["number"] == 1
        spawner.channel.send(messages.Shutdown())
        first.close()
        second.close()
        errors = await spawner.ended()
    text = (
        "processor host 2 cannot be started: Resource temporarily unavailable; the next try is in"
    )
    assert f"{text} 0.2 s" in errors
    assert f"{text} 0.4 s" in errors
    assert errors.count("cannot be started") == 2


async def test_a_host_that_is_wanted_no_more_is_not_forked() -> None:
    """Its link ends at once."""
    async with spawning(forks=0) as spawner:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        spawner.channel.send(messages.SpawnHost(1), theirs.detach())
        spawner.channel.send(messages.KillHost(1))
        loop = asyncio.get_running_loop()
        assert await asyncio.wait_for(loop.sock_recv(ours, 1), FORK_WITHIN_S - 1) == b""
        ours.close()


async def test_a_host_that_cannot_be_forked_harms_no_other() -> None:
    """Its link ends, which says it; the spawner goes on."""
    async with spawning(forks=1) as spawner:
        _, link = await spawner.host(1)
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        spawner.channel.send(messages.SpawnHost(2), theirs.detach())
        assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(ours, 1), 20) == b""
        assert (await asked(link))["number"] == 1
        spawner.channel.send(messages.Shutdown())
        link.close()
        ours.close()
        assert "processor host 2 cannot be started: " in await spawner.ended()
