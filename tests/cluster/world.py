"""Three simulated nodes, a fake Telnyx with calls on them, and what is seen of each call."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from nacl.signing import SigningKey

from mediaserver.carrier.plan import CallPlan
from mediaserver.carrier.rest.api import FakeTelnyx
from mediaserver.carrier.rest.calls import PhoneCall
from mediaserver.carrier.rest.habits import Habits
from mediaserver.carrier.rest.streams import SPEECH_S, MediaRequest, Stream, default_plan
from mediaserver.cluster.actors.asking import Cluster
from mediaserver.cluster.simulation.simulated import SimulatedCluster, SimulatedNode, until
from tests.ports import free_port

KEY = "KEYofTheSimulatedCluster"
SIGNING = SigningKey(b"simulated cluster, 32 octets key")
NAMES = ("a", "b", "c")
LOOK_S = 0.01
Reading = Literal["refuse", "replace", "reconnect"]


@dataclass
class Seen:
    """What was seen of one call.

    Attributes:
        streams: all its streams so far.
        heard: when audio first came back on each, by the port it goes to.
        doubled_s: for how long two streams were live at once.
    """

    streams: list[Stream] = field(default_factory=list)
    heard: list[tuple[float, int]] = field(default_factory=list)
    told: set[int] = field(default_factory=set)
    doubled_s: float = 0.0


class Rebuilt(NamedTuple):
    """What became of a directory that was killed.

    Attributes:
        n_calls: how many calls it knew.
        away_s: seconds until a new one answered.
        rebuilt_s: seconds from there until that one had all nodes, and these calls where they are.
    """

    n_calls: int
    away_s: float
    rebuilt_s: float


def port_of(url: str) -> int:
    return int(url.partition("://")[2].partition("/")[0].rpartition(":")[2])


class World:
    """A cluster and its fake."""

    def __init__(self, folder: Path) -> None:
        self.fake_port = free_port()
        self.file = folder / "events.jsonl"
        bots = Path(__file__).parent / "bots.py"
        flags = {
            "api-base-url": f"http://127.0.0.1:{self.fake_port}/v2",
            "public-keys": FakeTelnyx(signing_key=SIGNING).public_key,
            "max-calls": "100",
            "processor": f"{bots}:witness?file={self.file}",
            "log-format": "json",
        }
        # A filter echoes from the first frame on, before a handler runs.
        serve = ["--processor", "echo"]
        serve += [text for name, value in flags.items() for text in (f"--{name}", value)]
        env = {
            "TELNYX_API_KEY": KEY,
            "MEDIASERVER_AUTH_TOKEN": "the secret of the cluster",
            # The machine is shared: being late is not what is tried here.
            "MEDIASERVER_SHED_LAG_MS": "100000",
            # What comes late is played late: what is missing then was lost.
            "MEDIASERVER_CATCH_UP": "false",
            "MEDIASERVER_BACKLOG_MS": "60000",
        }
        self.cluster = SimulatedCluster(folder, [*serve, "--answer"], env)
        self.asked: Cluster | None = None
        self.seen: dict[str, Seen] = defaultdict(Seen)
        self.fake: FakeTelnyx | None = None

    @contextmanager
    def running(self) -> Iterator[World]:
        with self.cluster:
            for name in NAMES:
                self.cluster.add(name)
            yield self

    def node(self, name: str) -> SimulatedNode:
        return self.cluster.nodes[name]

    def ask(self) -> Cluster:
        if self.asked is None:
            self.asked = Cluster(self.cluster.address)
        return self.asked

    def forget_ray(self) -> None:
        """The head is gone: this process, too, has to connect anew."""
        from mediaserver.cluster.actors import engine

        engine.ray().shutdown()
        self.asked = None

    def able(self) -> set[str]:
        """Nodes that can take calls, as the directory knows."""
        with contextlib.suppress(Exception):
            status = self.ask().status()
            return {n.name for n in status.nodes if not (n.suspected or n.draining)}
        return set()

    async def ready(self, names: tuple[str, ...] = NAMES, within_s: float = 90.0) -> None:
        """Wait until these nodes can take calls; one that was killed is started again."""
        for name in names:
            keeper = self.node(name).keeper
            if keeper is None or keeper.poll() is not None:
                self.cluster.add(name)
        ends_at = time.monotonic() + within_s
        while not set(names) <= await asyncio.to_thread(self.able):
            assert time.monotonic() < ends_at, self.logs()
            await asyncio.sleep(0.2)

    def logs(self) -> str:
        return "\n".join(
            f"== {n.name}\n{n.log.read_text()[-3000:]}" for n in self.cluster.nodes.values()
        )

    @asynccontextmanager
    async def telnyx(
        self,
        reading: Reading = "refuse",
        webhooks_to: str = "b",
        *,
        speech_s: float = SPEECH_S,
    ) -> AsyncIterator[FakeTelnyx]:
        """A fake that reads a second ``streaming_start`` so; webhooks go to one node."""
        self.seen.clear()
        self.file.unlink(missing_ok=True)
        plan_for = partial(plan, speech_s=speech_s)
        habits = Habits(plan_for=plan_for, second_stream=reading, first_command_s=20.0)
        async with FakeTelnyx(
            api_key=KEY,
            webhook_url=f"http://127.0.0.1:{self.node(webhooks_to).port}/webhooks/telnyx",
            habits=habits,
            signing_key=SIGNING,
            port=self.fake_port,
        ) as fake:
            self.fake = fake
            looking = asyncio.create_task(self._look(fake))
            try:
                yield fake
            finally:
                looking.cancel()
                for call in fake.calls.values():
                    call.hang_up()
                await until(lambda: not any(self.live(c) for c in fake.calls.values()), 10.0)

    async def ring(self, n: int, every_s: float = 0.05) -> list[PhoneCall]:
        """So many calls come in, and talk."""
        assert self.fake is not None
        calls = []
        for _ in range(n):
            calls.append(self.fake.ring())
            await asyncio.sleep(every_s)
        talk = partial(self.all_heard, calls)
        assert await until(talk, 30.0), self.logs()
        return calls

    def live(self, call: PhoneCall) -> list[Stream]:
        return [s for s in self.seen[call.call_control_id].streams if s.is_live]

    def port(self, call: PhoneCall) -> int | None:
        """Where a call streams now, and is heard."""
        live = self.live(call)
        if len(live) != 1 or id(live[0]) not in self.seen[call.call_control_id].told:
            return None
        return port_of(live[0].request.url)

    def all_heard(self, calls: list[PhoneCall]) -> bool:
        return all(self.port(call) is not None for call in calls)

    def on(self, calls: list[PhoneCall], *names: str) -> list[PhoneCall]:
        ports = {self.node(name).port for name in names}
        return [call for call in calls if self.port(call) in ports]

    def back_after(self, calls: list[PhoneCall], since: float) -> list[float]:
        """Seconds until each call was heard on a new stream."""
        found = []
        for call in calls:
            times = [at for at, _ in self.seen[call.call_control_id].heard if at > since]
            found.append(min(times) - since if times else float("inf"))
        return sorted(found)

    def agrees(self, calls: list[PhoneCall]) -> bool:
        """Whether the directory has each call where it streams."""
        with contextlib.suppress(Exception):
            held = {call: node for call, (node, _) in self.ask().status().calls.items()}
            true = {call.call_control_id: self._name(self.port(call)) for call in calls}
            return held == true
        return False

    async def agree(self, calls: list[PhoneCall], within_s: float) -> bool:
        """Whether, in time, all are heard and the directory knows where."""
        ends_at = time.monotonic() + within_s
        while time.monotonic() < ends_at:
            if self.all_heard(calls) and await asyncio.to_thread(self.agrees, calls):
                return True
            await asyncio.sleep(0.1)
        return False

    def _name(self, port: int | None) -> str:
        return next((n.name for n in self.cluster.nodes.values() if n.port == port), "")

    def kill_directory(self, after_s: float) -> Rebuilt:
        """SIGKILL of the directory's process; then wait until the next one knows all."""
        asked = self.ask()
        time.sleep(after_s)
        before = asked.status().calls
        os.kill(asked.directory_pid(), signal.SIGKILL)
        killed_at = time.monotonic()
        while True:
            with contextlib.suppress(Exception):
                asked.directory_pid()
                break
            time.sleep(0.02)
        restarted_at = time.monotonic()
        while True:
            with contextlib.suppress(Exception):
                status = asked.status()
                able = [n for n in status.nodes if not n.suspected]
                if len(able) == len(NAMES) and before.items() <= status.calls.items():
                    break
            time.sleep(0.02)
        known_at = time.monotonic()
        return Rebuilt(len(before), restarted_at - killed_at, known_at - restarted_at)

    def restart_head(self, port: int) -> None:
        """Ray's head is there again, at the same address, and knows nothing."""
        self.forget_ray()
        self.cluster.restart_head(port)

    def n_streams(self, calls: list[PhoneCall]) -> list[int]:
        """How many streams each call has had."""
        return [len(self.seen[call.call_control_id].streams) for call in calls]

    async def n_lost(self, calls: list[PhoneCall], within_s: float = 30.0) -> int:
        """How much of what they have said never came back, in messages of 60 ms.

        First it is waited until all have said all, and have heard it: the callers and Ray's own
        start share a process, so that both may be late, and what is late is not lost.
        """
        lines = [line for c in calls for s in self.live(c) if (line := s.line) is not None]
        assert len(lines) == len(calls)

        def is_back() -> bool:
            ears = [(line.intake.ear, line.plan.seconds) for line in lines]
            return all(ear.n_fed / ear.rate_hz >= seconds for ear, seconds in ears)

        await until(is_back, within_s, 0.5)
        return sum(line.report().lost for line in lines)

    def events(self) -> list[str]:
        """Ids of the webhooks that the calls' bots got."""
        return [told["id"] for told in self.lines() if told["id"]]

    def snapshots(self) -> dict[str, str]:
        """What bots found of their former lives."""
        return {told["call"]: told["snapshot"] for told in self.lines() if "snapshot" in told}

    def lines(self) -> list[dict[str, Any]]:
        text = self.file.read_text() if self.file.exists() else ""
        text = text[: text.rfind("\n") + 1]  # the last line may be half written
        return [json.loads(line) for line in text.splitlines()]

    async def _look(self, fake: FakeTelnyx) -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(LOOK_S)
            now = time.monotonic()
            for call_id, call in fake.calls.items():
                seen = self.seen[call_id]
                if call.stream is not None and call.stream not in seen.streams:
                    seen.streams.append(call.stream)
                live = [stream for stream in seen.streams if stream.is_live]
                if len(live) > 1:
                    seen.doubled_s += now - last
                for stream in live:
                    line = stream.line
                    if line is not None and line.intake.ear.n_fed and id(stream) not in seen.told:
                        seen.told.add(id(stream))
                        seen.heard.append((now, port_of(stream.request.url)))
            last = now


def plan(request: MediaRequest, *, speech_s: float) -> CallPlan:
    """Speech in few, long messages: this process is the callers of all nodes."""
    return dataclasses.replace(default_plan(request, speech_s=speech_s), chunk_ms=60)


def percentile(values: list[float], percent: float) -> float:
    return values[min(len(values) - 1, int(len(values) * percent / 100))]
