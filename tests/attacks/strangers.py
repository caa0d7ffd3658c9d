"""Strangers' connections to a server on loopback, and good calls beside them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server.rawclient import Server

FULL = os.environ.get("ATTACKS") == "full"
only_full = pytest.mark.skipif(not FULL, reason="takes long: ATTACKS=full runs it")

UPGRADE = (
    b"GET /media HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
TOKEN = "s3cret"


class Crowd:
    """Many connections, which say the same and then nothing; ended on leaving."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.sockets: list[socket.socket] = []

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *_: object) -> None:
        for each in self.sockets:
            each.close()

    def come(self, n: int, octets: bytes = b"") -> None:
        """``n`` more of them."""
        for _ in range(n):
            one = socket.create_connection(("127.0.0.1", self._port), 20)
            self.sockets.append(one)
            with contextlib.suppress(OSError):  # closed already
                one.sendall(octets)

    def heard(self, n: int = 0, within_s: float = 10.0) -> bytes:
        """What number ``n`` has been told, to the connection's end."""
        one, told = self.sockets[n], b""
        one.settimeout(within_s)
        with contextlib.suppress(ConnectionError):
            while octets := one.recv(65536):
                told += octets
        return told

    def next(self, n: int, size: int) -> bytes:
        """The next octets that number ``n`` is told, behind a response's head."""
        one, told = self.sockets[n], b""
        one.settimeout(10)
        while len(told.partition(b"\r\n\r\n")[2]) < size:
            octets = one.recv(65536)
            assert octets, told
            told += octets
        return told.partition(b"\r\n\r\n")[2][:size]

    def n_open(self) -> int:
        """How many the server has not ended."""
        return sum(not is_over(each) for each in self.sockets)


def is_over(one: socket.socket) -> bool:
    """The server has ended this connection; what it said before is taken."""
    try:
        one.setblocking(False)
        while one.recv(65536):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def get(port: int, path: str, within_s: float = 10.0) -> tuple[int, str]:
    """Status and text of an HTTP GET."""
    with Crowd(port) as one:
        one.come(1, b"GET %b HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" % path.encode())
        head, _, body = one.heard(0, within_s).partition(b"\r\n\r\n")
        return int(head.split(b" ")[1]), body.decode()


# Full attacks: on a server in a process of its own.


class Bystanders:
    """Good calls of 50 frames a second each, from a process of their own."""

    def __init__(self, server: Server, seconds: float, *arguments: str, n: int = 30) -> None:
        url = f"ws://127.0.0.1:{server.port}/media"
        command = [sys.executable, "-m", "mediaserver", "simulate", "--json", "--figures-only"]
        command += ["--expect-echo", "--url", url, "--calls", str(n), "--seconds", str(seconds)]
        self._process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE)
        self._server = server
        deadline = time.monotonic() + 20
        while json.loads(get(server.port, "/healthz")[1])["calls"] < n:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def summary(self) -> dict[str, Any]:
        """How they fared, when all have ended; ``missed``: frames that the server did not get.

        What was ``lost`` on the way back may be the doing of a busy machine: an echo that is
        later than the call is cut off by its end.
        """
        told, _ = self._process.communicate(timeout=120)
        report = json.loads(told)
        summary: dict[str, Any] = report["summary"]
        log = self._server.log.read_text()
        got = [
            re.search(rf"call {each['call_control_id']} ended: .* frames_in (\d+)", log)
            for each in report["calls"]
        ]
        summary["missed"] = summary["sent"] - sum(int(each[1]) for each in got if each)
        return summary


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers started from here on echo every frame: a busy machine is no loss of theirs."""
    monkeypatch.setenv("MEDIASERVER_CATCH_UP", "off")
    monkeypatch.setenv("MEDIASERVER_BACKLOG_MS", "5000")


def family(pid: int) -> list[int]:
    """A process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def cpu_s(pids: Iterable[int]) -> float:
    """Processor time of these processes so far."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def say(attack: str, **figures: object) -> None:
    """Print what an attack measured."""
    print(f"\n{attack}: " + ", ".join(f"{name} {value}" for name, value in figures.items()))


def kept_up(port: int, n: int, seconds: float, octets: bytes = b"") -> Iterator[int]:
    """Keep ``n`` connections up for a while: who is closed comes again; yields how many came."""
    came = 0
    ends = time.monotonic() + seconds
    up: dict[int, socket.socket] = {}
    poll = select.poll()
    try:
        while time.monotonic() < ends:
            while len(up) < n:
                one = socket.create_connection(("127.0.0.1", port), 20)
                with contextlib.suppress(OSError):
                    one.sendall(octets)
                up[one.fileno()] = one
                poll.register(one, select.POLLIN)
                came += 1
            for fd, _ in poll.poll(50):
                if is_over(up[fd]):
                    poll.unregister(fd)
                    up.pop(fd).close()
            yield came
    finally:
        for one in up.values():
            one.close()
