"""Media servers as nodes, without Ray: agents that ask a directory in this process."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mediaserver.app import MediaServer
from mediaserver.carrier.rest.api import FakeTelnyx
from mediaserver.carrier.rest.calls import PhoneCall
from mediaserver.carrier.rest.habits import Habits
from mediaserver.carrier.rest.webhooks import WebhookFaults
from mediaserver.cluster.directory import MOVING, Directory
from mediaserver.cluster.link import Link, LinkError
from mediaserver.cluster.messages import Asked, Drain, Forward, Held, Node, Reply, Report
from mediaserver.cluster.node.forwarding import ON_ITS_WAY
from mediaserver.cluster.node.member import Member
from mediaserver.control.events import Event
from mediaserver.observer import StreamRequest
from mediaserver.settings import ProcessorSetting, Settings
from tests.ports import free_port

WITHIN_S = 20.0


async def until(check: Callable[[], object]) -> None:
    ends_at = time.monotonic() + WITHIN_S
    while not check():
        assert time.monotonic() < ends_at
        await asyncio.sleep(0.01)


class One:
    """A node: its server, its member, an agent in this process, and the webhooks it handled."""

    def __init__(self, name: str, path: str, fake: FakeTelnyx) -> None:
        self.name = name
        self.path = path
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.member = Member(Node(name=name, public_url=self.url, capacity=50), path, answers=True)
        settings = Settings(
            port=self.port,
            public_url=self.url,
            auth_token="a secret of the cluster",
            api_key=fake.api_key,
            api_base_url=fake.base_url,
            public_keys=fake.public_key,
            processors=(ProcessorSetting("echo"),),
            shed_lag_ms=None,
        )
        self.server = MediaServer(settings, followers=(self.member,))
        self.handled: list[Event] = []
        assert self.server.webhooks is not None
        self.server.webhooks.on("*")(self.handled.append)
        self.link: Link | None = None

    def ids(self, event_type: str) -> list[str]:
        return [each.id for each in self.handled if each.event_type == event_type]


class Nodes:
    """Nodes, one directory, and a fake Telnyx whose webhooks go to the first node."""

    def __init__(self, fake: FakeTelnyx) -> None:
        self.fake = fake
        self.directory = Directory()
        self.one: dict[str, One] = {}
        self.tasks: list[asyncio.Task[None]] = []

    def on(self, name: str) -> list[PhoneCall]:
        port = f":{self.one[name].port}/"
        calls = self.fake.calls.values()
        return [c for c in calls if c.stream and c.stream.is_live and port in c.stream.request.url]

    def held(self) -> Counter[str]:
        return Counter(node for node, _ in self.directory.calls().values())

    async def adopt(self, one: One) -> None:
        """Give a node an agent."""
        reader, writer = await asyncio.open_unix_connection(one.path)

        async def answer(word: str, body: bytes) -> bytes:
            return await self.answer(one, word, body)

        one.link = link = Link(reader, writer, answer)
        self.tasks += [asyncio.create_task(link.run()), asyncio.create_task(self.beat(link))]

    async def beat(self, link: Link) -> None:
        reply = Reply(again=True)
        with contextlib.suppress(LinkError):
            while True:
                body = await link.ask("beat", msgspec.msgpack.encode(reply))
                report = msgspec.msgpack.decode(body, type=Report)
                reply = self.directory.report(report, time.time())
                await asyncio.sleep(0.02)

    async def answer(self, one: One, word: str, body: bytes) -> bytes:
        if word == "place":
            asked = msgspec.msgpack.decode(body, type=Asked)
            return msgspec.msgpack.encode(self.directory.place(asked, time.time()))
        if word == "forward":
            owner = self.directory.owner(msgspec.msgpack.decode(body, type=Forward).call)
            if owner == MOVING:
                return ON_ITS_WAY
            if owner in (None, one.name):
                return b"here"
            link = self.one[owner or ""].link
            assert link is not None
            await link.ask("webhook", body)
            return b"there"
        return b""


@asynccontextmanager
async def running(
    tmp_path: Path, *names: str, agents: bool = True, **fake: Any
) -> AsyncIterator[Nodes]:
    async with AsyncExitStack() as stack:
        carrier = await stack.enter_async_context(FakeTelnyx(**fake))
        nodes = Nodes(carrier)
        for name in names:
            one = nodes.one[name] = One(name, str(tmp_path / name), carrier)
            await stack.enter_async_context(one.server)
            await one.member.start(one.server)
            stack.push_async_callback(one.member.close)
            if agents:
                await nodes.adopt(one)
        carrier.report_to(f"{nodes.one[names[0]].url}/webhooks/telnyx")
        if agents:
            await until(lambda: len(nodes.directory.nodes(time.time())) == len(names))
        yield nodes
        for call in carrier.calls.values():
            call.hang_up()
        await carrier.webhooks.flush()
        await until(lambda: not any(o.server.service.n_calls for o in nodes.one.values()))
        for task in nodes.tasks:
            task.cancel()


async def test_incoming_calls_are_answered_where_they_are_placed(tmp_path: Path) -> None:
    """All nodes get their share, whichever one heard of the call."""
    async with running(tmp_path, "a", "b") as nodes:
        for _ in range(4):
            nodes.fake.ring()
        await until(lambda: nodes.held() == {"a": 2, "b": 2})
        assert (len(nodes.on("a")), len(nodes.on("b"))) == (2, 2)
        assert {epoch for _, epoch in nodes.directory.calls().values()} == {1}


async def test_a_webhook_goes_to_the_owner_of_its_call_once(tmp_path: Path) -> None:
    """Although Telnyx sends each twice, and to another node."""
    async with running(tmp_path, "a", "b", webhook_faults=WebhookFaults(copies=2)) as nodes:
        for _ in range(4):
            nodes.fake.ring()
        await until(lambda: nodes.held() == {"a": 2, "b": 2})
        on_b = {call.call_control_id for call in nodes.on("b")}
        for call in nodes.fake.calls.values():
            call.press("7")
        await nodes.fake.webhooks.flush()
        dtmf = "call.dtmf.received"
        pressed = {d.event_id for d in nodes.fake.webhooks.deliveries if d.event_type == dtmf}
        await until(lambda: len(nodes.one["a"].ids(dtmf) + nodes.one["b"].ids(dtmf)) >= 4)
        assert sorted(nodes.one["a"].ids(dtmf) + nodes.one["b"].ids(dtmf)) == sorted(pressed)
        told = {e.call_control_id for e in nodes.one["b"].handled if e.event_type == dtmf}
        assert told == on_b


async def test_what_an_owner_has_seen_is_dropped_there(tmp_path: Path) -> None:
    """Where two nodes forward the same delivery."""
    async with running(tmp_path, "a") as nodes:
        (one,) = nodes.one.values()
        event = Event(id="twice", event_type="call.bridged", call_control_id="v3:x")
        forward = Forward("v3:x", event.event_type, msgspec.json.encode(event))
        assert one.link is not None
        for _ in range(2):
            await one.link.ask("webhook", msgspec.msgpack.encode(forward))
        await until(lambda: one.ids("call.bridged"))
        assert one.ids("call.bridged") == ["twice"]
        assert one.server.webhooks is not None
        counts = one.server.webhooks.counts
        assert (counts["forwarded"], counts["duplicate"]) == (1, 1)


async def test_a_webhook_waits_for_a_call_that_is_on_its_way(tmp_path: Path) -> None:
    """Its node is gone, and nobody has it yet: it is given to the node where the call arrives."""
    async with running(tmp_path, "a", "b") as nodes:
        here, there = nodes.one["a"], nodes.one["b"]
        assert here.server.webhooks is not None
        call = "v3:on its way"
        gone = Node(name="gone", public_url="http://127.0.0.1:9", capacity=50)
        had, has = ({call: Held(epoch, StreamRequest("PCMU", 8000, "rtp"))} for epoch in (1, 9))
        nodes.directory.report(Report(node=gone, is_full=True, held=had), time.time())
        nodes.directory.probed("gone", "refused", time.time() + 1.0)
        early = Event(id="early", event_type="call.bridged", call_control_id=call)
        here.server.webhooks.dispatch(early)
        await asyncio.sleep(0.3)
        assert nodes.directory.owner(call) == MOVING
        assert not here.ids("call.bridged") + there.ids("call.bridged")
        (second,) = [n for n in nodes.directory.nodes(time.time()) if n.name == "b"]
        nodes.directory.report(Report(node=second, held=has), time.time())
        await until(lambda: there.ids("call.bridged"))
        assert not here.ids("call.bridged")


@pytest.mark.parametrize("reading", ["refuse", "replace"])
async def test_a_drained_node_gives_its_calls_away(tmp_path: Path, reading: Any) -> None:
    """At the deadline, whatever Telnyx does with a second stream; there they end as moved."""
    habits = Habits(second_stream=reading)
    async with running(tmp_path, "a", "b", habits=habits) as nodes:
        for _ in range(4):
            nodes.fake.ring()
        await until(lambda: nodes.held() == {"a": 2, "b": 2})
        nodes.directory.drain("a", Drain(True, time.time()))
        await until(lambda: len(nodes.on("b")) == 4 and nodes.held() == {"b": 4})
        assert all(call.state == "answered" for call in nodes.fake.calls.values())
        await until(lambda: nodes.one["a"].server.service.n_calls == 0)


async def test_a_call_that_lives_elsewhere_is_let_go(tmp_path: Path) -> None:
    """It ends here with the reason `moved`, and its phone call goes on."""
    async with running(tmp_path, "a", "b") as nodes:
        call = nodes.fake.ring()
        await until(lambda: nodes.held() == {"a": 1})
        one = nodes.one["a"]
        assert one.link is not None
        reply = Reply(let_go=(call.call_control_id, "unknown"))
        await one.link.ask("beat", msgspec.msgpack.encode(reply))
        await until(lambda: one.server.service.counters["ended.moved"] == 1)
        assert call.state == "answered"


async def test_without_an_agent_a_node_works_on(tmp_path: Path) -> None:
    """It answers calls itself, and handles their webhooks."""
    async with running(tmp_path, "a", agents=False) as nodes:
        call = nodes.fake.ring()
        (one,) = nodes.one.values()
        await until(lambda: nodes.on("a"))
        call.press("1")
        await until(lambda: one.ids("call.dtmf.received"))


async def test_without_an_agent_the_last_list_places(tmp_path: Path) -> None:
    async with running(tmp_path, "a", "b") as nodes:
        one = nodes.one["a"]
        await until(lambda: nodes.directory.nodes(time.time()))
        await asyncio.sleep(0.2)  # until the list has come
        for task in nodes.tasks:
            task.cancel()
        assert one.link is not None
        one.link.close()
        placed = [(await one.member.place(Asked(call=f"call {n}"))).node for n in range(4)]
        assert sorted(placed) == ["a", "a", "b", "b"]


async def test_a_stream_that_fails_while_nobody_can_be_asked_starts_here(tmp_path: Path) -> None:
    async with running(tmp_path, "a", agents=False) as nodes:
        call = nodes.fake.ring()
        await until(lambda: nodes.on("a"))
        first = call.stream
        assert first is not None
        assert first.line is not None
        first.line.cut()
        await until(lambda: nodes.on("a") and call.stream is not first)
