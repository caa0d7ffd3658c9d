"""What people ask of a cluster, and the texts that they get."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec

from mediaserver.cluster.actors import engine
from mediaserver.cluster.actors.call_directory import wanted_of
from mediaserver.cluster.messages import Asked, Node, Placement
from mediaserver.errors import MediaServerError

WITHIN_S = 10.0


class Status(msgspec.Struct, frozen=True, array_like=True):
    """See ``CallDirectory.status``."""

    nodes: tuple[Node, ...]
    calls: dict[str, tuple[str, int]]
    n_moving: int
    counts: dict[str, int]


class ClusterError(MediaServerError):
    """The cluster does not answer, or cannot do what is asked."""


class Cluster:
    """The directory, asked from a program that is no part of the cluster.

    Args:
        address: of Ray's head.

    Raises:
        ClusterError: Ray, or the directory, is not there.
    """

    def __init__(self, address: str) -> None:
        try:
            engine.connect(address)
            self._directory = engine.found(engine.DIRECTORY)
        except engine.UnavailableError as exc:
            raise ClusterError(str(exc)) from exc

    def _ask(self, method: str, *args: object) -> Any:
        try:
            asked = getattr(self._directory, method).remote(*args)
            return engine.ray().get(asked, timeout=WITHIN_S)
        except Exception as exc:  # of Ray there are many kinds
            raise ClusterError(f"the directory does not answer: {type(exc).__name__}") from exc

    def status(self) -> Status:
        """Nodes and calls."""
        return msgspec.msgpack.decode(self._ask("status"), type=Status)

    def directory_pid(self) -> int:
        """The process of the directory, on the head's machine."""
        pid: int = self._ask("pid")
        return pid

    def place(self, asked: Asked) -> Placement:
        """Where a call goes.

        Raises:
            ClusterError: nowhere.
        """
        body = self._ask("place", msgspec.msgpack.encode(asked))
        if not body:
            raise ClusterError("no node can take a call")
        return msgspec.msgpack.decode(body, type=Placement)

    def drain(self, node: str, *, on: bool = True, move_in_s: float | None = None) -> None:
        """Have a node take no new calls, or take them again.

        Raises:
            ClusterError: there is no such node.
        """
        if not self._ask("drain", node, on, move_in_s):
            names = ", ".join(each.name for each in self.status().nodes) or "none"
            raise ClusterError(f"there is no node {node}; there are: {names}")

    def roll(self, move_in_s: float, within_s: float = 120.0) -> Iterator[str]:
        """Start the media server of each node anew, one by one; a line for each that is done.

        Its calls are moved, or have ended, before it ends.

        Raises:
            ClusterError: a node did not empty, or did not come back, in time.
        """
        for node in self.status().nodes:
            if node.suspected:
                continue
            self.drain(node.name, move_in_s=move_in_s)
            if not self.wait_empty(node.name, within_s):
                raise ClusterError(f"node {node.name} still has calls")
            former = self._restart(node.name)
            self._await_new(node.name, former, within_s)
            yield f"node {node.name} was started anew"

    def _restart(self, node: str) -> str:
        try:
            agent = engine.found(engine.agent_name(node))
            former: str = engine.ray().get(agent.restart.remote(), timeout=WITHIN_S)
        except Exception as exc:  # as above
            raise ClusterError(f"the agent of {node} does not answer") from exc
        return former

    def _await_new(self, node: str, former: str, within_s: float) -> None:
        """Wait until another media server of a node takes calls."""
        ends_at = time.monotonic() + within_s
        while time.monotonic() < ends_at:
            found = [n for n in self.status().nodes if n.name == node]
            is_new = bool(found) and found[0].instance != former
            if is_new and not (found[0].suspected or found[0].draining):
                return
            time.sleep(0.1)
        raise ClusterError(f"the media server of {node} did not come back")

    def wait_empty(self, node: str, within_s: float | None, every_s: float = 0.5) -> bool:
        """Whether a node has no calls any more, in so many seconds."""
        ends_at = None if within_s is None else time.monotonic() + within_s
        while True:
            if not next((n.n_calls for n in self.status().nodes if n.name == node), 0):
                return True
            if ends_at is not None and time.monotonic() >= ends_at:
                return False
            time.sleep(every_s)


def lines_of(status: Status, buffer: int) -> list[str]:
    """What ``mediaserver cluster status`` prints."""
    lines = [f"{'node':12} {'calls':>11}  state      zone  labels"]
    for node in status.nodes:
        state = "suspected" if node.suspected else "draining" if node.draining else "ready"
        calls = f"{node.n_calls} of {node.capacity}"
        labels = ",".join(node.labels)
        lines.append(f"{node.name:12} {calls:>11}  {state:9}  {node.zone:4}  {labels}".rstrip())
    n_calls = len(status.calls)
    wanted = wanted_of(status.nodes, buffer)
    lines.append(f"{n_calls} calls, {status.n_moving} of them move; nodes wanted: {wanted}")
    return lines
