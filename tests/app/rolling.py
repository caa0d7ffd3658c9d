"""Calls of a real server in its own process, while another one takes its place."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from mediaserver.carrier import CallPlan, FakeCall

READY = re.compile(rb"mediaserver ready on (ws://\S+|wss://\S+)")
FRAME = b"\xff" * 160
WITHIN_S = 60.0
# As systemd hands a socket over: it is descriptor 3, and the process is the one that is meant.
_ACTIVATED = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.argv[2], sys.argv[2:])
"""

BOT = """
from pathlib import Path
from mediaserver import processor

ANSWERED = Path(__file__).with_name("answered")

@processor
async def bot(call):
    with ANSWERED.open("a") as answered:
        answered.write(f"{{call.id}} {name}\\n")
    async for _ in call.frames():
        pass
"""


def write_bot(file: Path, name: str) -> None:
    """A processor whose calls can be told from those of other versions of its code."""
    file.write_text(BOT.format(name=name))


class Server:
    """A ``mediaserver serve`` process, and what it wrote."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said = b""
        self.is_ready = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    @property
    def url(self) -> str:
        found = READY.search(self.said)
        assert found is not None
        return found[1].decode()

    async def ready(self) -> None:
        """Wait until it listens."""
        ended = asyncio.create_task(self.process.wait())
        ready = asyncio.create_task(self.is_ready.wait())
        await asyncio.wait([ended, ready], timeout=WITHIN_S, return_when="FIRST_COMPLETED")
        ended.cancel()
        ready.cancel()
        assert self.is_ready.is_set(), self.said.decode()

    async def ended(self) -> int:
        """Wait for its end; its exit code."""
        # Not ``wait()``, which waits for the end of stderr: a successor writes there, too.
        async with asyncio.timeout(WITHIN_S):
            while self.process.returncode is None:  # noqa: ASYNC110 - nobody tells of it
                await asyncio.sleep(0.05)
        return self.process.returncode

    async def says(self, text: str) -> None:
        """Wait until it, or one it started, has written this."""
        async with asyncio.timeout(WITHIN_S):
            while text.encode() not in self.said:  # noqa: ASYNC110 - nobody tells of it
                await asyncio.sleep(0.05)

    async def read(self) -> None:
        """Wait until all has been read that it and those it started wrote."""
        await self._reading

    async def _read(self) -> None:
        assert self.process.stderr is not None
        while data := await self.process.stderr.read(65536):
            self.said += data
            if READY.search(self.said):
                self.is_ready.set()


@contextlib.asynccontextmanager
async def serving(
    *arguments: str, listening: socket.socket | None = None, **env: str
) -> AsyncIterator[Server]:
    """A server; whatever is left of it in the end, and of those it started, is ended."""
    command = [sys.executable, "-m", "mediaserver", "serve", *arguments]
    fds: list[int] = []
    if listening is not None:
        fds = [listening.fileno()]
        command = [sys.executable, "-c", _ACTIVATED, str(fds[0]), *command]
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=fds,
        env={**os.environ, "MEDIASERVER_BACKLOG_MS": "30000", "MEDIASERVER_CATCH_UP": "0", **env},
        start_new_session=True,
    )
    server = Server(process)
    try:
        await server.ready()
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the whole group was made here
        await process.wait()
        await server.read()


class HeldCall:
    """A call that sends silence, and hears it come back, until it is told to end."""

    def __init__(self, url: str, bot: Path, token: str | None = None) -> None:
        self._answered = bot.with_name("answered")
        self.call = FakeCall.connect(url, CallPlan(codec="PCMU", keep="figures", token=token))
        self.n_sent = 0
        self._over = asyncio.Event()
        self._task = asyncio.create_task(self._hold())

    @property
    def answered_by(self) -> list[str]:
        """The version of the code, once for each bot that the call has had."""
        if not self._answered.exists():
            return []
        lines = [line.split() for line in self._answered.read_text().splitlines()]
        return [line[1] for line in lines if line[0] == self.call.plan.call_control_id]

    @property
    def n_back(self) -> int:
        """Frames that came back."""
        return self.call.intake.ear.n_fed // 160

    async def up(self) -> None:
        """Wait until its bot has answered."""
        await self._until(lambda: bool(self.answered_by))

    async def reconnect(self) -> None:
        """Lose the socket, and come back."""
        await self.call.reconnect()
        assert not self.call.record.error, self.call.record.error

    async def heard_again(self, n: int = 5) -> None:
        """Wait until so many more frames have come back."""
        before = self.n_back
        await self._until(lambda: self.n_back >= before + n)

    async def end(self) -> None:
        """Stop sending, hear what comes back of it, hang up."""
        self._over.set()
        await self._task

    async def _until(self, check: object) -> None:
        assert callable(check)
        async with asyncio.timeout(WITHIN_S):
            while not check():
                assert not self._task.done(), self._task.exception()
                await asyncio.sleep(0.02)

    async def _hold(self) -> None:
        async with self.call as call:
            began = time.monotonic()
            while not self._over.is_set():
                await call._on_line.wait()
                assert not call.over.is_set(), f"cut: {call.record.close_code}"
                await call.send_payload(FRAME)
                self.n_sent += 1
                await asyncio.sleep(max(0.0, began + self.n_sent * 0.02 - time.monotonic()))
            if not call.record.reconnects:
                async with asyncio.timeout(WITHIN_S):
                    while self.n_back < self.n_sent:
                        assert not call.over.is_set(), f"cut: {call.record.close_code}"
                        await asyncio.sleep(0.02)


class NewCalls:
    """New calls, one after the other, each of a few frames, until it is told to stop."""

    def __init__(self, url: str, bot: Path, per_s: float) -> None:
        self._bot = bot
        self.calls: list[HeldCall] = []
        self._url = url
        self._per_s = per_s
        self._over = False
        self._ending: list[asyncio.Task[None]] = []
        self._task = asyncio.create_task(self._place())

    async def stop(self) -> None:
        """No more; wait for those that are there."""
        self._over = True
        await self._task
        await asyncio.gather(*self._ending)

    async def _place(self) -> None:
        while not self._over:
            call = HeldCall(self._url, self._bot)
            self.calls.append(call)
            self._ending.append(asyncio.create_task(self._short(call)))
            await asyncio.sleep(1 / self._per_s)

    async def _short(self, call: HeldCall) -> None:
        await call.up()
        await asyncio.sleep(0.5)
        await call.end()
