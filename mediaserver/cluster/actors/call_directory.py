"""The directory as an actor of Ray: one in the cluster, asked by agents and by people."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from typing import Any
from urllib.parse import urlsplit

import msgspec

from mediaserver.cluster.actors import engine
from mediaserver.cluster.directory import Directory, ProbeResult
from mediaserver.cluster.messages import Asked, Drain, Node, Report
from mediaserver.cluster.placement import wanted_nodes
from mediaserver.logs import LimitedLog
from mediaserver.steady import SteadyClock

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

TICK_S = 0.1
ASK_RAY_S = 0.5
PROBE_WITHIN_S = 0.5

_decode_report = msgspec.msgpack.Decoder(Report).decode


class CallDirectory:
    """What is asked over Ray; all octets are MessagePack of ``messages``."""

    def __init__(self) -> None:
        self._directory = Directory()
        self._now = SteadyClock()
        self._ticking: asyncio.Task[None] | None = None
        self._asking: asyncio.Task[None] | None = None
        self._probes: set[asyncio.Task[None]] = set()
        self._gauge: Any = None

    async def report(self, body: bytes) -> bytes:
        """See ``Directory.report``."""
        if self._ticking is None:
            self._ticking = asyncio.create_task(self._tick())
            self._asking = asyncio.create_task(self._ask_ray())
        report = _decode_report(body)
        return msgspec.msgpack.encode(self._directory.report(report, self._now()))

    async def place(self, body: bytes) -> bytes:
        """A ``Placement``; empty: no node can take the call."""
        placement = self._directory.place(msgspec.msgpack.decode(body, type=Asked), self._now())
        return b"" if placement is None else msgspec.msgpack.encode(placement)

    async def owner(self, call: str) -> str:
        """The node that has a call; ``MOVING``; empty: none."""
        return self._directory.owner(call) or ""

    async def drain(self, node: str, on: bool, move_in_s: float | None) -> bool:
        """See ``Directory.drain``; ``move_in_s`` from now the calls left are moved."""
        move_at = None if move_in_s is None else self._now() + move_in_s
        return self._directory.drain(node, Drain(on, move_at))

    async def pid(self) -> int:
        """Of the process it runs in."""
        return os.getpid()

    async def status(self) -> bytes:
        """Nodes, calls by id with node and epoch, what moves, what was counted."""
        directory = self._directory
        shown = (
            directory.nodes(self._now()),
            directory.calls(),
            directory.n_moving,
            dict(directory.counts),
        )
        return msgspec.msgpack.encode(shown)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            try:
                self._look(self._now())
            except Exception as exc:  # else nobody would look any more
                limited.error("cluster ticks failed", "a look at the nodes failed", exc_info=exc)

    def _look(self, now: float) -> None:
        self._directory.tick(now)
        for node in self._directory.to_probe(now):
            task = asyncio.create_task(self._probe(node))
            self._probes.add(task)
            task.add_done_callback(self._probes.discard)
        self._export(self._directory.nodes(now))

    async def _ask_ray(self) -> None:
        """Look which nodes Ray has; where it does not say, that is no news."""
        while True:
            await asyncio.sleep(ASK_RAY_S)
            with contextlib.suppress(Exception):  # of Ray there are many kinds
                self._directory.present(await asyncio.to_thread(engine.present))

    async def _probe(self, node: Node) -> None:
        result = await probe(node.public_url)
        self._directory.probed(node.name, result, self._now())

    def _export(self, nodes: tuple[Node, ...]) -> None:
        """How many nodes are wanted, among Ray's own metrics."""
        if self._gauge is None:
            self._gauge = engine.gauge(
                "mediaserver_nodes_wanted", "nodes that the calls of now need"
            )
        self._gauge.set(wanted_of(nodes))


def wanted_of(nodes: tuple[Node, ...], buffer: int = 0) -> int:
    """How many nodes these calls need, by the capacity of the smallest."""
    capacity = min((node.capacity for node in nodes if node.capacity > 0), default=1)
    return wanted_nodes(sum(node.n_calls for node in nodes), buffer, capacity)


async def probe(public_url: str) -> ProbeResult:
    """Whether the media server of this URL answers on ``/healthz``."""
    url = urlsplit(public_url)
    is_tls = url.scheme == "https"
    port = url.port or (443 if is_tls else 80)
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(PROBE_WITHIN_S):
            reader, writer = await asyncio.open_connection(
                url.hostname, port, ssl=True if is_tls else None
            )
            path = url.path.rstrip("/")
            head = (
                f"GET {path}/healthz HTTP/1.1\r\nHost: {url.hostname}\r\nConnection: close\r\n\r\n"
            )
            writer.write(head.encode("ascii"))
            return "answers" if await reader.read(1) else "silent"
    except ConnectionRefusedError:
        return "refused"
    except (OSError, TimeoutError):
        return "silent"
    finally:
        if writer is not None:
            with contextlib.suppress(OSError):
                writer.close()
