"""What the attacks by faults share: servers as processes, and good calls beside.

A small version of each runs with the other tests. ``ATTACKS=full`` asks for the whole one, with
good calls in a process of their own, whose figures are printed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import pytest

from mediaserver.carrier import CallPlan
from tests.cli.test_process import serve
from tests.cli.test_workers import children
from tests.server.workers.crews import EchoCall

FULL = os.environ.get("ATTACKS") == "full"
whole = pytest.mark.skipif(not FULL, reason="of the whole attacks: ATTACKS=full")
BOTS = Path(__file__).parent / "faultbots.py"
# Nothing is dropped for a busy machine's stalls.
PATIENT = {
    "MEDIASERVER_BACKLOG_MS": "30000",
    "MEDIASERVER_CATCH_UP": "false",
    "MEDIASERVER_LOG_LEVEL": "warning",
}


# What servers wrote to stderr, and when, by their process.
SAID: dict[int, list[tuple[float, str]]] = {}


def _read(stream: IO[str], lines: list[tuple[float, str]]) -> None:
    with contextlib.suppress(ValueError):  # closed
        lines.extend((time.monotonic(), line) for line in stream)


def said_at(pid: int, text: str) -> float | None:
    """When a server first wrote a line with this."""
    return next((at for at, line in SAID[pid] if text in line), None)


def bot(name: str, *allow: str) -> str:
    """A processor of ``faultbots.py`` for a settings file; calls may set ``allow``."""
    named = ", ".join(f'"{each}"' for each in allow)
    return f'[[processors]]\nname = "{BOTS}:{name}"\nallow = [{named}]\n'


@contextlib.contextmanager
def server(
    processors: str, workers: int, environment: Mapping[str, str] | None = None, port: str = "0"
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server's process whose errors nobody needs to read, and its URL."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "settings.toml"
        config.write_text(processors)
        arguments = ("--config", str(config), "--workers", str(workers), "--port", port)
        with serve(*arguments, environment={**PATIENT, **(environment or {})}) as (process, url):
            assert process.stderr is not None
            lines = SAID[process.pid] = []
            reader = threading.Thread(target=_read, args=(process.stderr, lines), daemon=True)
            reader.start()
            try:
                yield process, url
            finally:
                # Workers would carry their calls to the end, and keep stderr open.
                for pid in [*children(process), process.pid] if process.poll() is None else []:
                    os.kill(pid, signal.SIGKILL)
                reader.join(60)


def call_to(url: str, **parameters: str) -> EchoCall:
    """A call by hand, its custom parameters beside."""
    return EchoCall(url, CallPlan(seconds=600.0, custom_parameters=parameters))


def n_calls(url: str) -> int:
    """How many calls a server says that it has."""
    address = url.replace("ws://", "http://").replace("/media", "/healthz")
    with urllib.request.urlopen(address) as got:
        return int(json.load(got)["calls"])


class GoodCalls:
    """Calls of 50 frames/s in a process of their own.

    Attributes:
        report: what became of them; there once the ``async with`` has ended.
    """

    def __init__(self) -> None:
        self.report: dict[str, Any] = {}

    def figures(self) -> str:
        """One line."""
        return ", ".join(f"{name} {value}" for name, value in self.report["summary"].items())


@contextlib.asynccontextmanager
async def good_calls(
    url: str, n: int, seconds: float, token: str | None = None
) -> AsyncIterator[GoodCalls]:
    """Good calls beside what is done meanwhile; it waits for their end."""
    good = GoodCalls()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mediaserver", "simulate", "--url", url, "--calls", str(n)),
        *("--seconds", str(seconds), "--linger", "5", "--figures-only", "--json"),
        *(("--token", token) if token is not None else ()),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(60):
            while await asyncio.to_thread(n_calls, url) < n:  # noqa: ASYNC110  # another process
                await asyncio.sleep(0.05)
        yield good
        out, _ = await asyncio.wait_for(process.communicate(), seconds + 60)
        good.report = json.loads(out)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
