"""Three nodes on this machine, for the demo and the tests: real processes, on 127.0.0.1."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mediaserver.cluster.actors import engine

# Ray's own: how soon it knows that a node is gone (5 s: a shared machine is slow), and that all
# is on loopback.
RAY_ENVIRONMENT = {
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "500",
    "RAY_health_check_failure_threshold": "10",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "error",
    "RAY_DEDUP_LOGS": "0",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "3",
}
_MEMORY = 80_000_000
READY_WITHIN_S = 60.0


class SimulatedNode:
    """One node: Ray's processes, the agent's keeper, and the media server.

    Attributes:
        name: of the node.
        port: of its media server.
        path: of its Unix socket.
        ray: Ray's own node; None while it is down.
        keeper: ``mediaserver cluster agent``.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.port: int = _free_port()
        self.path: str = str(folder / f"{name}.sock")
        self.ray: Any = None
        self.keeper: subprocess.Popen[bytes] | None = None
        self.log: Path = folder / f"{name}.log"

    @property
    def server_pid(self) -> int | None:
        """The process of its media server; None: none runs."""
        for pid, line in _processes():
            if "cluster serve" in line and f"--socket {self.path}" in line:
                return pid
        return None

    def ray_pids(self) -> list[int]:
        """Ray's processes of this node, actors too."""
        if self.ray is None:
            return []
        own = [p.process.pid for each in self.ray.all_processes.values() for p in each]
        return _with_children(own)

    def own_pids(self) -> list[int]:
        """The keeper, what it started, and the media server."""
        pids = [] if self.keeper is None else _with_children([self.keeper.pid])
        server = self.server_pid
        return [*pids, *(_with_children([server]) if server is not None else [])]


class SimulatedCluster:
    """Ray's head and nodes. Use it as a context; **then ``add`` nodes, and ``ready``.**

    Args:
        folder: for sockets and logs; a short path.
        serve: flags of ``cluster serve`` that all nodes have.
        environment: of their processes, beside this one's.
    """

    def __init__(self, folder: Path, serve: Sequence[str], environment: dict[str, str]) -> None:
        self.nodes: dict[str, SimulatedNode] = {}
        self._folder = folder
        self._serve = serve
        self._environment = {**os.environ, **RAY_ENVIRONMENT, **environment}
        self._cluster: Any = None
        self._head: Any = None

    def __enter__(self) -> SimulatedCluster:
        os.environ.update(RAY_ENVIRONMENT)
        engine.ray()
        self.start_head()
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes.values():
            self.kill(node)
        engine.ray().shutdown()
        if self._cluster is not None:
            self._cluster.shutdown()

    @property
    def address(self) -> str:
        """Of Ray's head."""
        address: str = self._cluster.address
        return address

    def start_head(self, port: int | None = None) -> None:
        """Start Ray's head, again at the same port where one was."""
        self._cluster = importlib.import_module("ray.cluster_utils").Cluster()
        given = {} if port is None else {"gcs_server_port": port}
        self._head = self._cluster.add_node(**_ray_arguments({}), **given)

    def restart_head(self, port: int) -> None:
        """Start the head again, and Ray's processes of the nodes, which do not outlive it."""
        for node in self.nodes.values():
            self.kill_ray(node)
        self.start_head(port)
        for node in self.nodes.values():
            self.start_ray(node)

    def add(self, name: str) -> SimulatedNode:
        """Start a node, with its agent and media server."""
        node = self.nodes[name] = SimulatedNode(name, self._folder)
        self.start_ray(node)
        self.start_keeper(node)
        return node

    def start_ray(self, node: SimulatedNode) -> None:
        """Start Ray's processes of a node."""
        resources = {engine.RESOURCE: 1.0, engine.resource_of(node.name): 1.0}
        node.ray = self._cluster.add_node(wait=False, **_ray_arguments(resources))

    def start_keeper(self, node: SimulatedNode) -> None:
        """Start a node's agent, which starts its media server where none runs."""
        url = f"http://127.0.0.1:{node.port}"
        own = ["--name", node.name, "--socket", node.path, "--address", self.address]
        serve = ["--port", str(node.port), "--public-url", url, *self._serve]
        with node.log.open("ab") as log:
            node.keeper = subprocess.Popen(
                [sys.executable, "-m", "mediaserver", "cluster", "agent", *own, "--", *serve],
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )

    def kill(self, node: SimulatedNode) -> None:
        """SIGKILL of all that belongs to a node."""
        _kill([*node.own_pids(), *node.ray_pids()])
        self._forget(node)
        if node.keeper is not None:
            node.keeper.wait()

    def kill_ray(self, node: SimulatedNode) -> None:
        """SIGKILL of Ray's processes of a node."""
        _kill(node.ray_pids())
        self._forget(node)

    def kill_head(self) -> int:
        """SIGKILL of Ray's head; gives its port."""
        port = int(self.address.rpartition(":")[2])
        own = [p.process.pid for each in self._head.all_processes.values() for p in each]
        _kill(_with_children(own))
        return port

    def pause(self, node: SimulatedNode, *, on: bool) -> None:
        """SIGSTOP, or SIGCONT, of all that belongs to a node."""
        for pid in [*node.own_pids(), *node.ray_pids()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP if on else signal.SIGCONT)

    def _forget(self, node: SimulatedNode) -> None:
        if node.ray is not None:
            with contextlib.suppress(Exception):  # its processes are dead already
                self._cluster.remove_node(node.ray, allow_graceful=False)
        node.ray = None


async def until(
    check: Callable[[], object], within_s: float = READY_WITHIN_S, every_s: float = 0.02
) -> bool:
    """Whether it became true in time."""
    ends_at = time.monotonic() + within_s
    while not check():
        if time.monotonic() > ends_at:
            return False
        await asyncio.sleep(every_s)
    return True


def _ray_arguments(resources: dict[str, float]) -> dict[str, Any]:
    return {
        "node_ip_address": "127.0.0.1",
        "include_dashboard": False,
        "object_store_memory": _MEMORY,
        "num_cpus": 1,
        "resources": resources,
    }


def _free_port() -> int:
    with socket.socket() as end:
        end.bind(("127.0.0.1", 0))
        port: int = end.getsockname()[1]
        return port


def _processes() -> Iterator[tuple[int, str]]:
    for each in Path("/proc").iterdir():
        if each.name.isdecimal():
            with contextlib.suppress(OSError):
                line = (each / "cmdline").read_bytes().replace(b"\0", b" ")
                yield int(each.name), line.decode(errors="replace")


def _with_children(pids: Sequence[int]) -> list[int]:
    """These processes, and all that they have started."""
    parent_of: dict[int, int] = {}
    for each in Path("/proc").iterdir():
        if each.name.isdecimal():
            with contextlib.suppress(OSError):
                stat = (each / "stat").read_text().rpartition(")")[2].split()
                parent_of[int(each.name)] = int(stat[1])
    found = list(pids)
    for pid in found:
        found += [child for child, parent in parent_of.items() if parent == pid]
    return found


def _kill(pids: Sequence[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
