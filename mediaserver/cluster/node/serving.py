"""The media server of a node, and the process that keeps it and its agent there."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType

import msgspec

from mediaserver.app import MediaServer
from mediaserver.cluster.messages import Node
from mediaserver.cluster.node.member import Member
from mediaserver.errors import ConfigurationError
from mediaserver.logs import LimitedLog
from mediaserver.settings import Settings

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

LOOK_S = 0.5
# A media server that loads models takes its time.
START_WITHIN_S = 120.0
JOIN_AGAIN_S = 1.0
MAX_PATH = 100


def node_of(settings: Settings, name: str, zone: str, labels: Sequence[str]) -> Node:
    """A node with these settings.

    Raises:
        ConfigurationError: one is missing that a node needs.
    """
    needed = {
        "api_key": "streams are started by it (TELNYX_API_KEY)",
        "auth_token": "the same on all nodes: their tokens are made from it",
        "public_url": "of this node alone: Telnyx dials it",
    }
    for setting, why in needed.items():
        if getattr(settings, setting) is None:
            raise ConfigurationError(f"a node of a cluster needs {setting}: {why}")
    assert settings.public_url is not None
    return Node(
        name=name,
        public_url=settings.public_url,
        capacity=settings.max_calls,
        zone=zone,
        labels=tuple(labels),
    )


async def serve(settings: Settings, node: Node, path: str, ready: Callable[[str], None]) -> None:
    """Serve as a node until told to stop; ``ready`` is given the URL.

    Calls that come in are placed, and broken streams moved, by the cluster; so the server's own
    ``answer`` and ``auto_restart`` are off.

    Raises:
        ConfigurationError: a setting or the socket's path cannot be used.
    """
    if len(os.fsencode(path)) > MAX_PATH:
        raise ConfigurationError(f"--socket may have {MAX_PATH} octets: {path}")
    member = Member(node, path, answers=settings.answer)
    settings = msgspec.structs.replace(settings, answer=False, auto_restart=False)
    async with MediaServer(settings, followers=(member,)) as server:
        try:
            await member.start(server)
        except OSError as exc:
            raise ConfigurationError(f"--socket {path}: {exc.strerror}") from exc
        try:
            await server.run(lambda: ready(server.url))
        finally:
            await member.close()


def is_served(path: str) -> bool:
    """Whether a media server waits at this Unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as end:
        end.settimeout(1.0)
        try:
            end.connect(path)
        except OSError:
            return False
        return True


class Keeper:
    """Keeps a node's agent in Ray, and its media server running. **Call ``keep``.**

    A media server that runs is adopted; else one is started, in a session of its own, so that
    it outlives this process and Ray.

    Args:
        node: its name.
        path: the media server's Unix socket.
        address: of Ray's head.
        command: starts the media server; empty: somebody else does.
    """

    def __init__(self, node: str, path: str, address: str, command: Sequence[str]) -> None:
        self._joining = [
            sys.executable,
            "-m",
            "mediaserver.cluster.actors.joining",
            node,
            path,
            address,
        ]
        self._path = path
        self._command = command
        self._joiner: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._join_at = 0.0
        self._started_at = float("-inf")
        self._stop = threading.Event()

    def stop(self, signum: int = 0, frame: FrameType | None = None) -> None:
        """Look after nothing more; the media server goes on. A handler of signals."""
        self._stop.set()

    def keep(self) -> None:
        """Look after both until a signal says to stop; in the main thread."""
        signal.signal(signal.SIGTERM, self.stop)
        signal.signal(signal.SIGINT, self.stop)
        self.look_after()

    def look_after(self) -> None:
        """Look after both until ``stop`` is called."""
        try:
            while not self._stop.is_set():
                self._look(time.monotonic())
                self._stop.wait(LOOK_S)
        finally:
            if self._joiner is not None:
                self._joiner.terminate()
                self._joiner.wait()

    def _look(self, now: float) -> None:
        if self._command and not is_served(self._path):
            self._start_server(now)
        if self._joiner is not None and self._joiner.poll() is not None:
            self._joiner, self._join_at = None, now + JOIN_AGAIN_S
        if self._joiner is None and now >= self._join_at:
            self._joiner = subprocess.Popen(self._joining)

    def _start_server(self, now: float) -> None:
        runs = self._server is not None and self._server.poll() is None
        if runs and now - self._started_at < START_WITHIN_S:
            return
        if self._server is not None and now - self._started_at < JOIN_AGAIN_S:
            return  # it ended at once: not again without a pause
        self._started_at = now
        self._server = subprocess.Popen(self._command, start_new_session=True)
        limited.info("media server started", "media server started: process %d", self._server.pid)
