"""The cluster's side within a media server: what it has, and what it is told to do."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
import uuid
from collections.abc import Callable, Mapping

import msgspec

from mediaserver.app import MediaServer
from mediaserver.cluster.link import Link, LinkError, listen
from mediaserver.cluster.messages import (
    Asked,
    Forward,
    Held,
    Node,
    Placement,
    Reply,
    Report,
    Take,
    Tried,
)
from mediaserver.cluster.node.forwarding import Forwarder
from mediaserver.cluster.node.starting import Starter
from mediaserver.cluster.placement import choose
from mediaserver.control import encoding
from mediaserver.control.events import Event
from mediaserver.logs import LimitedLog, shown
from mediaserver.observer import MOVED, CallSummary, ReportedEvent, StreamRequest

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

# The directory answers in milliseconds; where it does not, the node places by itself.
PLACE_WITHIN_S = 0.5
# A call that failed while nobody could be asked is started again here.
ALONE_AFTER_S = 1.0
SNAPSHOT_EVERY_S = 1.0
END_AFTER_S = 0.2
MAX_SNAPSHOT = 1000
_FAILED = ("lost", "worker", "shutdown")

_decode_reply = msgspec.msgpack.Decoder(Reply).decode


class Changes:
    """What is to be reported next."""

    def __init__(self) -> None:
        self.held: dict[str, Held] = {}
        self.closed: set[str] = set()
        self.broken: set[str] = set()
        self.stopped: set[str] = set()
        self.over: set[str] = set()
        self.tried: list[Tried] = []


class Member:
    """Follows the calls of a server, and does what the agent brings; a ``CallObserver``.

    Give it to ``MediaServer`` as a follower. **Call ``start`` with the server once it is
    entered; at the end call ``close``.** Without an agent the server goes on with its calls.

    Args:
        node: name, URL, capacity, zone and labels.
        path: where the agent connects, a Unix socket.
        answers: incoming calls are answered, each with a stream to where it is placed.
    """

    def __init__(self, node: Node, path: str, *, answers: bool = False) -> None:
        self._node = msgspec.structs.replace(node, instance=uuid.uuid4().hex)
        self._path = path
        self._answers_calls = answers
        self._held: dict[str, Held] = {}
        self._webhook_of: dict[str, Callable[[ReportedEvent], None]] = {}
        self._changes = Changes()
        self._nodes: tuple[Node, ...] = ()
        self._link: Link | None = None
        self._listening: asyncio.Server | None = None
        self._server: MediaServer | None = None
        self._forwarder: Forwarder | None = None
        self._starter: Starter | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._answers: Mapping[str, Callable[[bytes], bytes]] = {
            "beat": self._beat,
            "webhook": self._webhook,
            "end": self._end,
        }

    async def start(self, server: MediaServer) -> None:
        """Be reached by an agent.

        Raises:
            OSError: the path of the socket cannot be had.
        """
        self._server = server
        assert server.client is not None
        self._starter = Starter(server.settings, self._node.name)
        if server.webhooks is not None:
            self._forwarder = Forwarder(
                server.webhooks, self._held.__contains__, self._forward, self._seen
            )
            if self._answers_calls:
                server.webhooks.on("call.initiated")(self._initiated)
        self._listening = await listen(self._path, self._connected)
        self._spawn(self._watch_snapshots(server))

    async def close(self) -> None:
        """Be reached no more."""
        if self._listening is not None:
            self._listening.close()
        if self._link is not None:
            self._link.close()
        if self._forwarder is not None:
            self._forwarder.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._starter is not None:
            await self._starter.aclose()

    # CallObserver.

    def opened(
        self, call_id: str, request: StreamRequest, webhook: Callable[[ReportedEvent], None]
    ) -> None:
        """See ``CallObserver``."""
        epoch = 0 if self._server is None else self._server.service.gate.epoch_of(call_id)
        self._webhook_of[call_id] = webhook
        self._hold(call_id, Held(epoch, request))

    def lost(self, call_id: str) -> None:
        """See ``CallObserver``."""
        held = self._held.get(call_id)
        if held is not None:
            self._hold(call_id, msgspec.structs.replace(held, is_lost=True))

    def closed(self, summary: CallSummary) -> None:
        """See ``CallObserver``."""
        call_id = summary.call_id
        self._webhook_of.pop(call_id, None)
        if self._held.pop(call_id, None) is None:
            return
        self._changes.held.pop(call_id, None)
        self._changes.closed.add(call_id)
        if summary.reason in _FAILED:
            self._changes.broken.add(call_id)
        elif summary.reason == "hangup":
            self._changes.over.add(call_id)
        self._tell()

    def _hold(self, call_id: str, held: Held) -> None:
        self._held[call_id] = self._changes.held[call_id] = held
        self._changes.closed.discard(call_id)
        self._tell()

    async def _watch_snapshots(self, server: MediaServer) -> None:
        """Once a second: what processors keep for another life of their call."""
        while True:
            await asyncio.sleep(SNAPSHOT_EVERY_S)
            for _, body in await server.service.ask("snapshots"):
                kept = msgspec.msgpack.decode(body, type=dict[str, str])
                for call, text in kept.items():
                    held = self._held.get(call)
                    if held is not None and held.snapshot != text and self._fits(call, text):
                        self._hold(call, msgspec.structs.replace(held, snapshot=text))

    def _fits(self, call: str, text: str) -> bool:
        if len(text) <= MAX_SNAPSHOT:
            return True
        limit = "a snapshot of call %s is not kept: it has more than %d characters"
        limited.warning("snapshots too long", limit, shown(call), MAX_SNAPSHOT, call=call)
        return False

    # What programs ask.

    async def place(self, asked: Asked) -> Placement:
        """Where a new call goes; by the last list of nodes, where the directory is away."""
        try:
            body = await self._ask("place", msgspec.msgpack.encode(asked), PLACE_WITHIN_S)
            return msgspec.msgpack.decode(body, type=Placement)
        except LinkError:
            node = choose(self._nodes, asked) or self._node
            self._nodes = tuple(
                msgspec.structs.replace(n, n_calls=n.n_calls + (n.name == node.name))
                for n in self._nodes
            )
            return Placement(asked.call, node.name, node.public_url, 1)

    # The agent.

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def answer(word: str, body: bytes) -> bytes:
            self._adopted_by(link)
            return self._answers[word](body)

        link = Link(reader, writer, answer)
        await link.run()
        if self._link is link:
            self._link = None
            limited.info("cluster agent", "the cluster's agent is gone: the calls go on")

    def _adopted_by(self, link: Link) -> None:
        """Who has asked something is the agent; the newest is the one."""
        former = self._link
        if former is link:
            return
        self._link = link
        text = "the cluster's agent is here: it finds %d calls"
        limited.info("cluster agent", text, len(self._held))
        if former is not None:
            former.close()

    async def _ask(self, word: str, body: bytes = b"", within_s: float = 2.0) -> bytes:
        if self._link is None:
            raise LinkError("no agent")
        return await self._link.ask(word, body, within_s)

    def _tell(self) -> None:
        """Have the agent ask for a report now."""
        if self._link is not None:
            self._spawn(self._told())

    async def _told(self) -> None:
        with contextlib.suppress(LinkError):
            await self._ask("changed")

    def _spawn(self, work: object) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)  # type: ignore[call-overload]  # a coroutine
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _beat(self, body: bytes) -> bytes:
        """Do what the directory says, and report."""
        reply = _decode_reply(body)
        if reply.nodes is not None:
            self._nodes = reply.nodes
        if reply.drain is not None:
            what = "drains" if reply.drain.on else "takes calls"
            limited.each(logging.INFO, "cluster drain", "node %s %s", self._node.name, what)
            self._node = msgspec.structs.replace(
                self._node, draining=reply.drain.on, move_at=reply.drain.move_at
            )
        for call in reply.let_go:
            self._let_go(call)
        for take in reply.take:
            self._spawn(self._take(take))
        return msgspec.msgpack.encode(self._report(is_full=reply.again))

    def _end(self, _: bytes) -> bytes:
        """End as on SIGTERM: the agent's keeper starts the next one."""
        # The answer leaves first: a server without calls is gone at once.
        asyncio.get_running_loop().call_later(END_AFTER_S, os.kill, os.getpid(), signal.SIGTERM)
        return self._node.instance.encode()

    def _report(self, *, is_full: bool) -> Report:
        changes, self._changes = self._changes, Changes()
        return Report(
            node=msgspec.structs.replace(self._node, n_calls=len(self._held)),
            is_full=is_full,
            held=dict(self._held) if is_full else changes.held,
            closed=tuple(changes.closed),
            broken=tuple(changes.broken),
            stopped=tuple(changes.stopped),
            over=tuple(changes.over),
            tried=tuple(changes.tried),
        )

    def _let_go(self, call: str) -> None:
        webhook = self._webhook_of.get(call)
        if webhook is not None:
            text = "call %s goes on at another node, and ends here"
            limited.info("calls let go", text, shown(call), call=call)
            webhook(Event(id=uuid.uuid4().hex, event_type=MOVED, call_control_id=call))

    async def _take(self, take: Take) -> None:
        assert self._starter is not None
        outcome = await self._starter.take(take)
        self._changes.tried.append(Tried(take.call, take.epoch, outcome))
        self._tell()

    # Webhooks.

    async def _forward(self, body: bytes) -> bytes:
        return await self._ask("forward", body)

    def _webhook(self, body: bytes) -> bytes:
        forward = msgspec.msgpack.decode(body, type=Forward)
        assert self._forwarder is not None
        self._forwarder.receive(encoding.decode_event(forward.event_type, forward.event))
        return b""

    def _seen(self, event: Event) -> None:
        """A webhook that arrived here: what it says of where a call is."""
        call = event.call_control_id
        if call is None:
            return
        if event.event_type == "call.hangup":
            self._changes.over.add(call)
        elif event.event_type == "streaming.failed":
            self._changes.broken.add(call)
            if self._link is None:
                self._spawn(self._start_here(call))
        elif event.event_type == "streaming.stopped":
            self._changes.stopped.add(call)
        else:
            return
        self._tell()

    async def _start_here(self, call: str) -> None:
        """Nobody can be asked: a call whose stream failed is started again here."""
        assert self._starter is not None
        await asyncio.sleep(ALONE_AFTER_S)
        held = self._held.get(call)
        if self._link is None and (held is None or held.is_lost):
            epoch, request = (1, None) if held is None else (held.epoch + 1, held.request)
            await self._starter.take(Take(call=call, epoch=epoch, request=request))

    async def _initiated(self, event: Event) -> None:
        """A call comes in: it is answered with a stream to the node where it is placed."""
        assert self._starter is not None
        if event.call_control_id is not None and self._starter.answers(event):
            placement = await self.place(Asked(call=event.call_control_id))
            await self._starter.answer(event, placement, time.time())
