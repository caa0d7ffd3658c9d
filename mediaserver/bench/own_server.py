"""A server started for the run, and what it uses."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, NamedTuple

from mediaserver.bench import accounting
from mediaserver.bench.figures import BenchError, ServerCost

READY_S = 30.0
_BUCKET = re.compile(
    r'^mediaserver_loop_lag_seconds_bucket\{.*le="([^"]+)".*\} (\S+)$', re.MULTILINE
)
LEAST_CALLS = 20
"""With fewer, what a process takes and gives back by itself is more than what they take."""


class NoServerError(BenchError):
    """The server did not come up; the text says what it printed."""


class Watched(NamedTuple):
    """A server on this machine.

    Attributes:
        url: where its calls go.
        title: its command, or whose it is.
        pids: whose CPU time and memory are counted, with that of their children; none: nothing is.
        metrics_url: where it tells its metrics; None: nowhere.
    """

    url: str
    title: str
    pids: tuple[int, ...] = ()
    metrics_url: str | None = None


class Reading(NamedTuple):
    """What a server had used by a moment, on the monotonic clock; CPU in nanoseconds."""

    at_s: float
    spent_ns: int
    waited_ns: int


@contextlib.contextmanager
def own_server(flags: Sequence[str], most: int) -> Iterator[Watched]:
    """``mediaserver serve`` with these flags on free ports of loopback; ended on leaving.

    Args:
        flags: of the command; without a processor it is an echo.
        most: calls that it must take.

    Raises:
        NoServerError: it does not come up.
    """
    port, admin_port = _free_port(), _free_port()
    chain = [] if "--processor" in flags else ["--processor", "echo"]
    words = ["serve", *chain, *flags]
    room = [] if "--max-calls" in flags else [f"--max-calls={max(1000, 2 * most)}"]
    ours = [*room, f"--port={port}", f"--admin-port={admin_port}", "--log-level=error"]
    command = [sys.executable, "-m", "mediaserver", *words, *ours]
    scheme = "wss" if any(flag.startswith("--tls-cert") for flag in flags) else "ws"
    title = shlex.join(["mediaserver", *words])
    metrics = f"http://127.0.0.1:{admin_port}/metrics"
    with serving(command, port) as pid:
        yield Watched(f"{scheme}://127.0.0.1:{port}/media", title, (pid,), metrics)


@contextlib.contextmanager
def serving(
    command: Sequence[str], port: int, environment: Mapping[str, str] | None = None
) -> Iterator[int]:
    """The process id of a server, once it takes connections; it is ended on leaving.

    Raises:
        NoServerError: it does not come up.
    """
    # A file, not a pipe: nobody reads while the server runs, and a full pipe would stop it.
    with tempfile.TemporaryFile("w+") as log:
        env = {**os.environ, **(environment or {})}
        try:
            server = subprocess.Popen(command, stdout=log, stderr=log, env=env)
        except OSError as error:
            raise NoServerError(f"{command[0]} cannot be started: {error}") from error
        try:
            _wait_for(server, port, log)
            yield server.pid
        finally:
            _end(server)


def _wait_for(server: subprocess.Popen[bytes], port: int, log: IO[str]) -> None:
    deadline_s = time.monotonic() + READY_S
    while not _listens(port):
        if time.monotonic() > deadline_s or server.poll() is not None:
            log.seek(0)
            said = log.read()[-500:].strip()
            raise NoServerError(f"the server did not come up (exit code {server.poll()}): {said}")
        time.sleep(0.05)


def _end(server: subprocess.Popen[bytes]) -> None:
    # Twice: the first one lets calls go on.
    for _ in range(2):
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(3)
            return
    server.kill()
    server.wait()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Meter:
    """Reads what a server uses.

    **Make it while the server has no calls; call ``begin`` and ``end`` around a window, then
    ``cost``.**

    Args:
        server: whose.
    """

    def __init__(self, server: Watched) -> None:
        self._server = server
        self._idle_bytes = self._memory()
        self._readings: list[Reading] = []
        self._lags: list[dict[float, float]] = []
        self._full_bytes: int | None = None

    def begin(self) -> None:
        """A window begins."""
        self._lags = [self._lag_buckets()]
        self._readings = self._read()

    def end(self) -> None:
        """It has ended."""
        self._readings += self._read()
        self._full_bytes = self._memory()
        self._lags.append(self._lag_buckets())

    def cost(self, frames: int, n_calls: int) -> ServerCost:
        """What the window with so many frames, of so many calls, cost."""
        lag_ms = lag_p99_ms(*self._lags)
        if len(self._readings) < 2:
            return ServerCost(loop_lag_ms=lag_ms)
        began, ended = self._readings
        spent_ns, took_s = ended.spent_ns - began.spent_ns, ended.at_s - began.at_s
        idle, full = self._idle_bytes, self._full_bytes
        memory = None
        if idle is not None and full is not None and n_calls >= LEAST_CALLS:
            memory = (full - idle) / 1024 / n_calls
        return ServerCost(
            cpu_us_per_frame=spent_ns / 1000 / frames if frames else None,
            cpu_percent=spent_ns / 1e7 / took_s,
            waited_percent=(ended.waited_ns - began.waited_ns) / 1e7 / took_s,
            memory_kb_per_call=memory,
            loop_lag_ms=lag_ms,
        )

    def _read(self) -> list[Reading]:
        pids = self._server.pids
        if not pids:
            return []
        spent_ns, waited_ns = (
            sum(map(each, pids)) for each in (accounting.spent_ns, accounting.waited_ns)
        )
        return [Reading(time.monotonic(), spent_ns, waited_ns)]

    def _memory(self) -> int | None:
        if not self._server.pids:
            return None
        with contextlib.suppress(OSError):
            return sum(map(accounting.pss_bytes, self._server.pids))
        return None

    def _lag_buckets(self) -> dict[float, float]:
        if self._server.metrics_url is None:
            return {}
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(self._server.metrics_url, timeout=2) as answer,
        ):
            return lag_buckets(answer.read().decode())
        return {}


def lag_buckets(metrics: str) -> dict[float, float]:
    """Beats of all loops by their upper bound, in seconds, from the text of ``/metrics``."""
    found: dict[float, float] = {}
    for bound, count in _BUCKET.findall(metrics):
        found[float(bound)] = found.get(float(bound), 0.0) + float(count)
    return found


def lag_p99_ms(before: Mapping[float, float], after: Mapping[float, float]) -> float | None:
    """The bound that 99 of 100 beats between two readings keep; None: there were none."""
    beats = {bound: count - before.get(bound, 0.0) for bound, count in sorted(after.items())}
    total = max(beats.values(), default=0.0)
    if not total:
        return None
    return next(bound for bound, count in beats.items() if count >= 0.99 * total) * 1000
