"""Slots that are kept filled, whatever the children do; with real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from mediaserver.errors import ConfigurationError
from mediaserver.processes.child import ChildKind, ChildLimits, ChildProcess
from mediaserver.processes.messages import Heartbeat
from mediaserver.processes.supervisor import Supervisor
from tests.processes.tiny import KIND, NEWER, Add, Begin, Do, Sum

# A heartbeat is heard often enough even on a busy machine.
LIMITS = ChildLimits(
    beat_s=0.1, quiet_s=1.0, hung_s=2.0, start_s=30.0, pause_s=0.05, longest_pause_s=0.2
)

END_WITHIN_S = 20.0


class Nursery:
    """A supervisor of tiny children, and what it heard of them.

    Attributes:
        begins: how the next children begin, one after the other; then as usual.
        kinds: and what they are.
    """

    def __init__(
        self, n: int = 2, limits: ChildLimits = LIMITS, end_within_s: float = END_WITHIN_S
    ) -> None:
        self.begins: list[Begin] = []
        self.kinds: list[ChildKind] = []
        self.said: list[Any] = []
        self.lost: list[ChildProcess] = []
        self.n_spawned = 0
        self.supervisor: Supervisor[ChildProcess] = Supervisor(
            n, self.spawn, self.lost.append, limits, end_within_s=end_within_s
        )

    def spawn(self, index: int) -> ChildProcess:
        self.n_spawned += 1
        kind = self.kinds.pop(0) if self.kinds else KIND
        begin = self.begins.pop(0) if self.begins else Begin()
        return ChildProcess(kind, index, begin, self.said.append)

    @property
    def children(self) -> list[ChildProcess]:
        return self.supervisor.children

    @property
    def n_able(self) -> int:
        return sum(child.is_able for child in self.children)

    async def soon(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110  # told by another process
                await asyncio.sleep(0.01)


@asynccontextmanager
async def nursery(n: int = 2, limits: ChildLimits = LIMITS) -> AsyncIterator[Nursery]:
    place = Nursery(n, limits)
    await place.supervisor.start()
    try:
        yield place
    finally:
        await place.supervisor.close()
        assert place.children == []


async def test_all_are_ready_after_the_start_and_gone_after_the_end() -> None:
    """Each in its slot; they end by themselves when they are told."""
    async with nursery(3) as n:
        assert sorted(child.index for child in n.children) == [0, 1, 2]
        assert n.n_able == 3
        assert n.supervisor.is_able
        children = n.children
        n.children[1].channel.send(Add(4))
        await n.soon(lambda: Sum(4) in n.said)
    assert [await child.end() for child in children] == [0, 0, 0]
    assert not n.supervisor.is_able


async def test_a_child_that_died_is_replaced(caplog: pytest.LogCaptureFixture) -> None:
    """Its owner is told once; the other one goes on."""
    async with nursery() as n:
        first, second = n.children
        os.kill(first.pid, signal.SIGKILL)
        await n.soon(lambda: n.n_able == 2 and first not in n.children)
        assert n.lost == [first]
        assert second in n.children
    assert f"tiny 0 (process {first.pid}) died, signal 9; another one starts" in caplog.text


async def test_a_child_that_hangs_is_suspected_killed_and_replaced() -> None:
    """By the real clock: suspected first, asked where it hangs, then killed."""
    async with nursery() as n:
        hung, other = n.children
        hung.channel.send(Do("hang"))
        await n.soon(lambda: hung.is_quiet)
        assert other.is_able
        await asyncio.wait_for(hung.gone.wait(), 30)
        await n.soon(lambda: n.n_able == 2)
        assert hung not in n.children
        assert other in n.children
        assert await hung.end() == -signal.SIGKILL


async def test_a_silent_child_is_able_again_when_it_is_heard() -> None:
    """A process that was stopped for a while keeps its slot."""
    async with nursery(1, msgspec.structs.replace(LIMITS, hung_s=60.0)) as n:
        (child,) = n.children
        os.kill(child.pid, signal.SIGSTOP)
        await n.soon(lambda: child.is_quiet)
        assert not n.supervisor.is_able
        os.kill(child.pid, signal.SIGCONT)
        await n.soon(lambda: child.is_able)
        assert n.n_spawned == 1


async def test_a_parent_that_stood_still_blames_nobody() -> None:
    """The heartbeats that came meanwhile are read before anybody is judged."""
    async with nursery() as n:
        before = n.children
        time.sleep(2 * LIMITS.hung_s)  # noqa: ASYNC251  # the whole loop stands still
        n.said.clear()
        await n.soon(lambda: len([each for each in n.said if isinstance(each, Heartbeat)]) > 10)
        assert n.children == before
        assert n.n_able == 2


@pytest.mark.parametrize(
    ("pause_s", "longest_pause_s", "said"),
    [
        (0.02, 5.0, ["0.0", "0.0", "0.1", "0.2", "0.3"]),  # twice 0.02, each time, rounded
        (0.1, 0.1, ["0.1"] * 5),
    ],
)
async def test_a_child_that_dies_at_once_is_given_time(
    pause_s: float, longest_pause_s: float, said: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Each replacement waits twice as long, up to a limit."""
    limits = msgspec.structs.replace(LIMITS, pause_s=pause_s, longest_pause_s=longest_pause_s)
    async with nursery(1, limits) as n:
        n.begins = [Begin("dies")] * 4
        os.kill(n.children[0].pid, signal.SIGKILL)
        await n.soon(lambda: n.n_spawned == 6 and n.n_able == 1)
    pauses = [line.partition("starts in ")[2] for line in caplog.messages if "starts in" in line]
    assert pauses == [f"{pause} s" for pause in said]


async def test_a_child_of_another_version_is_refused_and_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One clear line each time, after a pause like any other; the parent goes on."""
    async with nursery() as n:
        n.kinds = [NEWER, NEWER]
        os.kill(n.children[0].pid, signal.SIGKILL)
        await n.soon(lambda: n.n_spawned == 5 and n.n_able == 2)
    lines = [line for line in caplog.messages if "refused" in line]
    assert len(lines) == 2
    assert all("tiny 0: refused: it speaks version 8, not 7" in line for line in lines)


@pytest.mark.parametrize(
    ("begin", "kind", "said"),
    [
        (Begin("dies"), KIND, "died, exit code 4"),
        (Begin("fails"), KIND, "it cannot"),
        (Begin(), NEWER, "version 8"),
    ],
)
async def test_a_start_that_fails_says_why(begin: Begin, kind: ChildKind, said: str) -> None:
    """One that ends before all are ready ends the start, and no process is left."""
    place = Nursery(2)
    place.begins, place.kinds = [begin], [kind]
    with pytest.raises(ConfigurationError, match=said):
        await place.supervisor.start()
    assert place.children == []


async def test_a_system_that_starts_no_process_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """At the start it is an error; later it is logged, and waited for."""
    import sys

    executable = sys.executable
    async with nursery(1) as n:
        monkeypatch.setattr(sys, "executable", "/nowhere/python")
        os.kill(n.children[0].pid, signal.SIGKILL)
        await n.soon(lambda: "cannot be started" in caplog.text)
        monkeypatch.setattr(sys, "executable", executable)
        await n.soon(lambda: n.n_able == 1)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(ConfigurationError, match="cannot be started"):
        await Nursery(1).supervisor.start()


async def test_a_start_that_is_cancelled_leaves_no_process() -> None:
    """Whoever gave up waiting has nothing to clean up."""
    place = Nursery(2)
    place.begins = [Begin("is never ready")] * 2
    start = asyncio.create_task(place.supervisor.start())
    await place.soon(lambda: any(isinstance(each, Heartbeat) for each in place.said))
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert place.children == []


async def test_children_that_hang_are_not_waited_for_at_the_end() -> None:
    """Those that hung before are killed at once, the others when they are suspected."""
    async with nursery() as n:
        hung, stopped = n.children
        hung.channel.send(Do("hang"))
        await n.soon(lambda: hung.is_quiet)
        os.kill(stopped.pid, signal.SIGSTOP)
        began = time.monotonic()
    assert time.monotonic() - began < END_WITHIN_S


async def test_the_end_has_a_limit() -> None:
    """What has not ended by itself until then is killed."""
    place = Nursery(1, ChildLimits(quiet_s=60.0, hung_s=90.0), end_within_s=0.2)
    await place.supervisor.start()
    (child,) = place.children
    os.kill(child.pid, signal.SIGSTOP)
    await place.supervisor.close()
    assert await child.end() == -signal.SIGKILL


async def test_a_pause_is_short_again_after_a_long_life(caplog: pytest.LogCaptureFixture) -> None:
    """The back-off is for those that die at once."""
    limits = msgspec.structs.replace(LIMITS, pause_s=0.01, longest_pause_s=0.3)
    async with nursery(1, limits) as n:
        n.begins = [Begin("dies")] * 3
        os.kill(n.children[0].pid, signal.SIGKILL)
        await n.soon(lambda: n.n_able == 1 and n.n_spawned == 5)
        (child,) = n.children
        await asyncio.sleep(child.began_at + 0.7 - time.monotonic())
        caplog.clear()
        os.kill(child.pid, signal.SIGKILL)
        await n.soon(lambda: n.n_able == 1 and child not in n.children)
    assert "another one starts in 0.0 s" in caplog.text
