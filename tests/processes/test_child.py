"""One child process, from its start to its end; real processes, and time as an argument."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mediaserver.processes import child as child_module
from mediaserver.processes.child import SECRETS, ChildKind, ChildLimits, ChildProcess, State
from mediaserver.processes.messages import Heartbeat, Ready, Shutdown
from mediaserver.settings import LOADER
from tests.processes.tiny import KIND, NEWER, VERSION, Add, Begin, Do, Said, Sum

LIMITS = ChildLimits(quiet_s=3.0, hung_s=10.0, start_s=30.0)


class Unsendable(msgspec.Struct, frozen=True, tag=True):
    value: Any


class Born:
    """A child, and what it said."""

    def __init__(self, kind: ChildKind, first: msgspec.Struct) -> None:
        self.said: list[Any] = []
        self.child = ChildProcess(kind, 5, first, self.said.append)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110  # told by another process
                await asyncio.sleep(0.005)

    async def until_said(self, message: object) -> None:
        await self.until(lambda: message in self.said)

    async def until_beaten(self) -> None:
        """Wait until its loop has shown that it runs, and has said what it counted."""
        await self.until(
            lambda: any(isinstance(m, Heartbeat) and m.counts == {"beats": 1} for m in self.said)
        )

    async def until_silent(self) -> None:
        """Wait until it has read what it was sent, and everything it said before has come."""
        self.child.channel.send(Add(0))
        n = len(self.said)
        await self.until(lambda: any(isinstance(each, Sum) for each in self.said[n:]))
        self.child.channel.send(Do("fall silent"))
        self.child.channel.send(Add(0))
        n = len(self.said)
        await self.until(lambda: any(isinstance(each, Sum) for each in self.said[n:]))

    def judge(self, silent_s: float) -> State:
        """The verdict, as if it had been silent for so long."""
        self.child.judge(self.child.heard_at + silent_s, LIMITS)
        return self.child.state


@asynccontextmanager
async def born(first: msgspec.Struct = Begin(), kind: ChildKind = KIND) -> AsyncIterator[Born]:  # noqa: B008  # frozen
    b = Born(kind, first)
    try:
        yield b
    finally:
        b.child.kill()
        await b.child.end()


@asynccontextmanager
async def ready(first: Begin = Begin()) -> AsyncIterator[Born]:  # noqa: B008  # frozen
    async with born(first) as b:
        await asyncio.wait_for(b.child.settled(), 20)
        assert b.child.state is State.ABLE
        yield b


async def test_call_judge_at_every_beat_and_end_when_gone_is_set() -> None:
    """Started, ready, spoken to, told to end, gone; its exit code is 0."""
    async with born() as b:
        child = b.child
        assert child.state is State.STARTING
        assert not child.is_ready
        assert not child.is_able
        await asyncio.wait_for(child.settled(), 20)
        assert b.said[0] == Ready()
        assert b.judge(0.1) is State.ABLE
        child.channel.send(Add(2))
        child.channel.send(Add(3))
        await b.until_said(Sum(5))
        await b.until_beaten()
        child.channel.send(Shutdown())
        await asyncio.wait_for(child.gone.wait(), 20)
        assert child.state is State.GONE
        assert await child.end() == 0
        assert child.failure == ""


async def test_a_silent_child_is_suspected_until_it_is_heard() -> None:
    """It gets no new work meanwhile; one message makes it able again."""
    async with ready() as b:
        await b.until_silent()
        assert b.judge(2.9) is State.ABLE
        assert b.judge(3.1) is State.SUSPECTED
        assert b.child.is_quiet
        assert b.child.is_ready
        assert not b.child.is_able
        b.child.channel.send(Add(1))
        await b.until_said(Sum(1))
        assert b.child.state is State.ABLE


async def test_a_child_that_hangs_says_where_and_is_killed(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Asked once, two beats before its time is over; then killed, unless heard in between."""
    async with ready() as b:
        await b.until_silent()
        assert b.judge(10.1) is State.ASKED
        b.child.channel.send(Add(1))
        await b.until_said(Sum(1))
        assert b.child.state is State.ABLE
        capfd.readouterr()
        b.child.channel.send(Do("hang"))
        await b.until_said(Said("I hang"))
        assert b.judge(9.7) is State.ASKED
        await b.until(lambda: "in _do" in capfd.readouterr().err)
        assert b.judge(9.9) is State.ASKED
        assert b.judge(10.1) is State.GONE
        assert await b.child.end() == -signal.SIGKILL
    assert f"tiny 5 (process {b.child.pid}) hangs: killed" in caplog.text


async def test_what_the_parent_did_not_hear_for_itself_is_excused() -> None:
    """Seconds in which the parent stood still are not the child's silence."""
    async with ready() as b:
        await b.until_silent()
        now = b.child.heard_at + 60.0
        b.child.excuse(59.0)
        b.child.judge(now, LIMITS)
        assert b.child.state is State.ABLE


async def test_a_child_that_is_not_ready_in_time_is_killed() -> None:
    """Heartbeats do not count: it must say that it works."""
    async with born(Begin("is never ready")) as b:
        await b.until_beaten()
        assert b.child.heard_at == b.child.began_at
        assert b.judge(29.0) is State.STARTING
        assert b.judge(31.0) is State.GONE
        assert await b.child.end() == -signal.SIGKILL


async def test_a_child_of_another_version_is_refused() -> None:
    """It is killed before it is told anything; the failure names both versions."""
    async with born(kind=NEWER) as b:
        await asyncio.wait_for(b.child.gone.wait(), 20)
        assert await b.child.end() == -signal.SIGKILL
        assert b.said == []
        assert "version 8, not 7" in b.child.failure
        assert "\n" not in b.child.failure


async def test_a_child_that_does_not_say_hello_is_refused() -> None:
    """Its messages mean nothing while its version is not known."""
    code = """
import socket, time
from mediaserver.processes.channel import send_blocking
from mediaserver.processes.messages import Ready
end = socket.socket(fileno=fd)
send_blocking(end, Ready())
time.sleep(60)
"""
    async with born(kind=msgspec.structs.replace(KIND, code=code)) as b:
        await asyncio.wait_for(b.child.gone.wait(), 20)
        assert "version None, not 7" in b.child.failure


async def test_a_first_message_that_cannot_be_sent_is_its_failure() -> None:
    """The child ends; the reason is there for whoever started it."""
    async with born(Unsendable(object())) as b:
        await asyncio.wait_for(b.child.gone.wait(), 20)
        assert b.child.failure.startswith("Unsendable cannot be sent")


async def test_why_a_child_cannot_work_is_its_failure() -> None:
    """Before there is a channel, and with one."""
    async with born(Begin("fails")) as b:
        await asyncio.wait_for(b.child.gone.wait(), 20)
        assert b.child.failure == "it cannot: \\udcff"
    async with ready() as b:
        b.child.channel.send(Do("fail"))
        await asyncio.wait_for(b.child.gone.wait(), 20)
        assert b.child.failure == "as told"
        assert await b.child.end() == 0


async def test_a_child_that_dies_is_gone() -> None:
    """At once, by the end of its channel; its exit code is what it was."""
    async with ready() as b:
        b.child.channel.send(Do("exit"))
        await asyncio.wait_for(b.child.gone.wait(), 20)
        assert await b.child.end() == 3


async def test_a_dead_child_whose_channel_is_held_open_is_gone() -> None:
    """At the second look: its last reports are read in between."""
    async with ready() as b:
        b.child.channel.send(Do("leave the channel open"))
        await b.until(lambda: b.child._process.poll() is not None)
        assert b.judge(0.0) is State.ABLE
        assert b.judge(0.0) is State.GONE


async def test_a_child_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """``end`` has a limit."""
    monkeypatch.setattr(child_module, "END_WITHIN_S", 0.1)
    async with ready() as b:
        b.child.channel.send(Do("hang"))
        await b.until_said(Said("I hang"))
        assert await b.child.end() == -signal.SIGKILL


@pytest.mark.parametrize("what", ["send garbage", "send another type"])
async def test_what_a_child_may_not_say_is_dropped(what: str) -> None:
    """It is counted; the child goes on, but bad messages are no sign of life."""
    async with ready() as b:
        await b.until_silent()
        heard_at = b.child.heard_at
        b.child.channel.send(Do(what))
        await b.until(lambda: b.child.channel.n_malformed == 1)
        assert b.child.heard_at == heard_at
        b.child.channel.send(Add(1))
        await b.until_said(Sum(1))


async def test_descriptors_of_a_child_are_not_kept() -> None:
    """No message of a child's has one."""
    async with ready() as b:
        before = len(os.listdir("/proc/self/fd"))
        b.child.channel.send(Do("send a descriptor"))
        await b.until_said(Said("with one"))
        assert len(os.listdir("/proc/self/fd")) == before


def environment_of(child: ChildProcess) -> bytes:
    return Path(f"/proc/{child.pid}/environ").read_bytes()


async def test_secrets_are_withheld(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment goes along, but for the variables that the kind withholds."""
    for name in SECRETS:
        monkeypatch.setenv(name, "canary")
    monkeypatch.setenv("HARMLESS", "here")
    async with ready() as b:
        b.child.channel.send(Do("environment"))
        await b.until(lambda: any(isinstance(each, Said) for each in b.said))
        (names,) = [set(each.text.split()) for each in b.said if isinstance(each, Said)]
        assert "HARMLESS" in names
        assert not names & SECRETS
        assert b"canary" not in environment_of(b.child)
    kind = msgspec.structs.replace(KIND, withheld=frozenset({"HARMLESS"}))
    async with born(kind=kind) as b:
        await asyncio.wait_for(b.child.settled(), 20)
        assert b"TELNYX_API_KEY=" in environment_of(b.child)
        assert b"HARMLESS" not in environment_of(b.child)


def test_the_withheld_variables_are_those_of_the_settings() -> None:
    """A secret that is renamed must not slip through."""
    secrets = {"api_key", "auth_token", "admin_token", "listen_token", "public_keys"}
    names = {LOADER.prefix + name.upper() for name in secrets} | set(LOADER.aliases.values())
    assert names == SECRETS


async def test_a_system_that_starts_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an OSError, and no descriptor is left of the attempt."""
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(FileNotFoundError):
        ChildProcess(KIND, 0, Begin(), print)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_child_without_a_parent_ends() -> None:
    """Where its parent is gone before it begins, it ends by itself, without a word."""
    import socket

    ours, theirs = socket.socketpair()
    with theirs:
        ours.close()
        fd = theirs.fileno()
        ran = subprocess.run(
            [sys.executable, "-c", f"from tests.processes.tiny import main; main({fd})"],
            pass_fds=[fd],
            capture_output=True,
            check=False,
            timeout=30,
        )
    assert (ran.returncode, ran.stderr) == (0, b"")


async def test_a_child_that_hangs_does_not_outlive_its_parent() -> None:
    """Its watchdog ends it: nobody else would."""
    async with ready(Begin(orphan_s=0.1)) as b:
        b.child.channel.send(Do("hang"))
        await b.until_said(Said("I hang"))
        b.child.channel.close()
        assert await asyncio.to_thread(b.child._process.wait, 20) == 1


def test_hello_never_changes() -> None:
    """Parents and children of every version read it; here is one, as octets."""
    from mediaserver.processes.channel import encode
    from mediaserver.processes.messages import Hello

    assert encode(Hello(VERSION)) == (b"\x00\x00\x00\x15\x00\x82\xa4type\xa5Hello\xa7version\x07")
