"""``mediaserver cluster demo``: three nodes, calls on all of them, and one node is killed."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import secrets
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from mediaserver.carrier.plan import CallPlan
from mediaserver.carrier.rest.api import FakeTelnyx
from mediaserver.carrier.rest.calls import PhoneCall
from mediaserver.carrier.rest.habits import Habits
from mediaserver.carrier.rest.streams import MediaRequest, default_plan
from mediaserver.cluster.actors.asking import Cluster, ClusterError
from mediaserver.cluster.simulation.simulated import SimulatedCluster, until

NAMES = ("a", "b", "c")
Tell = Callable[[str], None]


def run_demo(n_calls: int, tell: Tell) -> int:
    """Show it; 0 if every call went on."""
    return asyncio.run(_Demo(n_calls, tell).run())


class _Demo:
    """The fake Telnyx here, all else in processes of its own."""

    def __init__(self, n_calls: int, tell: Tell) -> None:
        self._n_calls = n_calls
        self._tell = tell
        self._fake = FakeTelnyx(habits=Habits(plan_for=_plan))

    async def run(self) -> int:
        """Start all, kill a node, tell what became of the calls."""
        with tempfile.TemporaryDirectory(prefix="mediaserver-") as folder:
            async with self._fake as fake:
                cluster = SimulatedCluster(Path(folder), *self._nodes(fake))
                self._tell("starting Ray and three nodes, about 20 s")
                with cluster:
                    for name in NAMES:
                        cluster.add(name)
                    if not await self._is_ready(cluster):
                        self._tell("the nodes did not start")
                        return 1
                    port = cluster.nodes["b"].port
                    fake.report_to(f"http://127.0.0.1:{port}/webhooks/telnyx")
                    return await self._show(cluster)

    def _nodes(self, fake: FakeTelnyx) -> tuple[Sequence[str], dict[str, str]]:
        flags = ["--api-base-url", fake.base_url, "--public-keys", fake.public_key]
        secret = {"MEDIASERVER_AUTH_TOKEN": secrets.token_hex(16), "TELNYX_API_KEY": fake.api_key}
        return [*flags, "--processor", "echo", "--answer"], secret

    async def _is_ready(self, cluster: SimulatedCluster) -> bool:
        def is_ready() -> bool:
            with contextlib.suppress(ClusterError):
                nodes = Cluster(cluster.address).status().nodes
                return sum(not node.suspected for node in nodes) == len(NAMES)
            return False

        return await asyncio.to_thread(_wait, is_ready)

    async def _show(self, cluster: SimulatedCluster) -> int:
        name_of = {node.port: name for name, node in cluster.nodes.items()}
        calls = []
        for _ in range(self._n_calls):
            calls.append(self._fake.ring())
            await asyncio.sleep(0.05)
        if not await until(lambda: all(_port(call) for call in calls), 20.0):
            self._tell("not all calls were answered")
            return 1
        self._tell(f"{len(calls)} calls: {_spread(calls, name_of)}")
        await asyncio.sleep(1.0)
        lost = cluster.nodes["a"]
        cluster.kill(lost)
        began = time.monotonic()
        self._tell("node a is killed: its agent, its media server, Ray's processes")
        moved = await until(
            lambda: all(_port(call) not in (None, lost.port) for call in calls), 20.0
        )
        self._tell(f"{time.monotonic() - began:.1f} s later: {_spread(calls, name_of)}")
        return 0 if moved else 1


def _plan(request: MediaRequest) -> CallPlan:
    """Longer messages: all callers are in one process."""
    return dataclasses.replace(default_plan(request), chunk_ms=60)


def _port(call: PhoneCall) -> int | None:
    """Where a call streams and hears its echo; None: nowhere."""
    stream = call.stream
    if stream is None or not stream.is_live or stream.line is None:
        return None
    if not stream.line.intake.ear.n_fed:
        return None
    return int(stream.request.url.partition("://")[2].partition("/")[0].rpartition(":")[2])


def _spread(calls: Sequence[PhoneCall], name_of: dict[int, str]) -> str:
    where = Counter(name_of.get(_port(call) or 0, "nowhere") for call in calls)
    return ", ".join(f"{n} at {name}" for name, n in sorted(where.items()))


def _wait(check: Callable[[], bool], within_s: float = 60.0) -> bool:
    ends_at = time.monotonic() + within_s
    while not check():
        if time.monotonic() > ends_at:
            return False
        time.sleep(0.2)
    return True
