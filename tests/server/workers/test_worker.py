"""A worker's side of the hand-over, in this process: what it reports, and how it ends."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import msgspec
import pytest

from mediaserver.control import encoding
from mediaserver.control.errors import NotFoundError
from mediaserver.control.events import CallHangup, StreamingStarted
from mediaserver.control.results import ActionResult
from mediaserver.errors import ConfigurationError
from mediaserver.observer import StreamRequest
from mediaserver.processes.channel import Channel
from mediaserver.processes.messages import FromChild
from mediaserver.server.workers.messages import (
    CallClosed,
    CallOpened,
    Claim,
    Claimed,
    Command,
    Commanded,
    Drain,
    FromWorker,
    HandedOver,
    HandOver,
    Heartbeat,
    Load,
    Ready,
    Setup,
    Shutdown,
    SocketClosed,
    SocketLost,
    WebhookReported,
)
from mediaserver.server.workers.worker import Worker
from mediaserver.settings import ProcessorSetting, Settings
from mediaserver.tokens import Admission
from tests.server.bots import SEEN
from tests.server.conftest import bot
from tests.server.rawclient import BINARY, CLOSE, TEXT, frame, text

SPOKEN = b"\x35" * 160
REQUEST = StreamRequest("PCMU", 8000, "rtp")
DONE = encoding.encode_result(ActionResult("id"))
STARTED = StreamingStarted(id="e", event_type="streaming.started", client_state=b"\xff")


class Closed(NamedTuple):
    """What is looked at of a ``CallClosed``."""

    call_id: str
    reason: str
    over: bool


class Parent:
    """A parent by hand, and a worker on this loop."""

    def __init__(
        self, *processors: ProcessorSetting, has_client: bool = False, **settings: Any
    ) -> None:
        ours, theirs = socket.socketpair()
        chain = (*processors, ProcessorSetting("echo"))
        given = {
            "backlog_ms": 30_000,
            "catch_up": False,
            "reconnect_grace_s": 0,
            "handler_grace_s": 1,
            **settings,
        }
        serves = Settings(processors=chain, workers=2, **given)
        setup = Setup.of(0, serves, 0.02, has_client=has_client)
        self.told: list[Any] = []
        self.claims: list[Claim] = []
        self.grants = True
        self.n_quiet = 0
        self.counts: dict[str, int] = {}
        types = FromWorker | FromChild
        self.channel = Channel(ours, types, self._received, lambda: None)
        self.worker = Worker(setup, theirs, encoding)
        self.work = asyncio.create_task(self.worker.run())
        self._changed = asyncio.Event()

    async def until(self, *messages: object) -> None:
        """Wait until these have been told last, in whatever order."""
        async with asyncio.timeout(10):
            while sorted(map(repr, self.told[-len(messages) :])) != sorted(map(repr, messages)):
                self._changed.clear()
                await self._changed.wait()

    async def land(self, call_id: str, behind: bytes = b"", **start: Any) -> Peer:
        """Hand over a call that has just begun."""
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            peer = socket.create_connection(listener.getsockname())
            accepted, _ = listener.accept()
        peer.setblocking(False)
        accepted.setblocking(False)
        message = {"event": "start", "stream_id": "s", "start": {"call_control_id": call_id}}
        message["start"].update(start)  # type: ignore[attr-defined]  # a dict, three words ago
        self.channel.send(
            HandOver(
                len(self.claims),
                call_id,
                Admission.OPEN,
                "/media",
                {},
                json.dumps(message).encode(),
                {"binary": 2},
                behind,
            ),
            accepted.detach(),
        )
        return Peer(loop, peer)

    def _received(self, message: Any, _: int | None) -> None:
        if isinstance(message, CallClosed):
            self.told.append(Closed(message.call_id, message.summary.reason, message.over))
        elif isinstance(message, Load):
            self.n_quiet = message.n_quiet
        elif isinstance(message, Heartbeat):
            for name, n in message.counts.items():
                self.counts[name] = self.counts.get(name, 0) + n
        elif isinstance(message, Claim):
            self.channel.send(Claimed(message.number, self.grants))
            self.claims.append(message)
        else:
            self.told.append(message)
        self._changed.set()


class Peer:
    """The far end of a handed-over connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop, end: socket.socket) -> None:
        self._loop, self.end = loop, end

    async def send(self, octets: bytes) -> None:
        await self._loop.sock_sendall(self.end, octets)

    async def audio(self) -> bytes:
        """The next media message's audio."""
        while True:
            opcode, body = await self._frame()
            assert opcode == TEXT
            message = json.loads(body)
            if message["event"] == "media":
                return base64.b64decode(message["media"]["payload"])

    async def close_code(self) -> int:
        """Read to the close frame and hang up; its code, or 1006 where none came."""
        try:
            while (came := await self._frame())[0] != CLOSE:
                pass
        except EOFError:
            return 1006
        finally:
            self.end.close()
        return int.from_bytes(came[1][:2], "big")

    async def _frame(self) -> tuple[int, bytes]:
        first, size = await self._octets(2)
        if size == 126:
            size = int.from_bytes(await self._octets(2), "big")
        return first & 0x0F, await self._octets(size)

    async def _octets(self, size: int) -> bytes:
        data = b""
        async with asyncio.timeout(10):
            while len(data) < size:
                try:
                    more = await self._loop.sock_recv(self.end, size - len(data))
                except ConnectionError:
                    more = b""
                if not more:
                    raise EOFError
                data += more
        return data


def media(payload: bytes, chunk: int = 1) -> bytes:
    audio = base64.b64encode(payload).decode()
    body = {"payload": audio, "track": "inbound", "chunk": str(chunk)}
    return text({"event": "media", "media": body, "stream_id": "s"})


STOP = text({"event": "stop", "stop": {}, "stream_id": "s"})


@asynccontextmanager
async def parent(*processors: ProcessorSetting, **settings: Any) -> AsyncIterator[Parent]:
    """A parent whose worker is ready, and in the end has ended by itself."""
    parent = Parent(*processors, **settings)
    await parent.until(Ready())
    yield parent
    parent.channel.close()
    await asyncio.wait_for(parent.work, 10)


async def test_a_call_from_landing_to_stop() -> None:
    """What was read behind ``start`` is served first; then the socket; each end is told once."""
    async with parent() as p:
        frame_2 = media(SPOKEN, 2)
        peer = await p.land("x", media(SPOKEN) + frame_2[:9])
        assert await peer.audio() == SPOKEN
        await peer.send(frame_2[9:] + STOP)
        assert await peer.audio() == SPOKEN
        assert await peer.close_code() == 1000
        await p.until(Closed("x", "stop", True), SocketClosed())
        assert p.told[:3] == [Ready(), CallOpened("x", REQUEST), HandedOver("x")]
        assert p.counts == {"calls": 1, "ended.stop": 1}


async def test_refused_calls_are_told() -> None:
    """An unknown codec: 1003 to the peer; the parent hears that it landed and is gone."""
    async with parent() as p:
        peer = await p.land("x", media_format={"encoding": "EVS"})
        assert await peer.close_code() == 1003
        await p.until(HandedOver("x"), SocketClosed())
        assert p.counts == {"refused_format": 1, "closed.1003": 1}


async def test_a_lost_socket_and_the_next() -> None:
    """A call that lost its socket goes on with another one; the parent is told of each step."""
    async with parent(reconnect_grace_s=30) as p:
        (await p.land("x", media(SPOKEN))).end.close()
        await p.until(CallOpened("x", REQUEST), HandedOver("x"), SocketLost("x"), SocketClosed())
        again = await p.land("x")
        await again.send(media(SPOKEN))
        assert await again.audio() == SPOKEN
        await p.until(CallOpened("x", REQUEST), HandedOver("x"))
        assert p.counts["takeovers"] == 1
        event = msgspec.json.encode(CallHangup(id="e", event_type="call.hangup"))
        p.channel.send(WebhookReported("x", "call.hangup", event))
        p.channel.send(WebhookReported("not here", "call.hangup", event))
        assert await again.close_code() == 1000
        await p.until(Closed("x", "hangup", True), SocketClosed())


async def test_events_reach_processors() -> None:
    """Drain and webhooks become events of the call; refusals before it are its own."""
    async with parent(bot("events")) as p:
        peer = await p.land("worker-events", frame(BINARY, b"\x00"))
        await p.until(HandedOver("worker-events"))
        p.channel.send(Drain())
        event = msgspec.json.encode(STARTED)
        p.channel.send(WebhookReported("worker-events", "streaming.started", event))
        await peer.send(STOP)
        await p.until(Closed("worker-events", "stop", True))
        peer.end.close()
        assert p.counts["refused.binary"] == 1
    import sys

    bots = sys.modules["bots"]
    assert SEEN is not bots.SEEN
    events = bots.SEEN["worker-events"]
    assert [type(event).__name__ for event in events] == ["Draining", "Webhook", "Stop"]
    assert events[1].event == STARTED


@pytest.mark.parametrize("how", ["shutdown", "parent gone"])
async def test_the_end_closes_calls_with_1001(how: str) -> None:
    """Told to shut down, or with nobody left to tell it: calls are closed, then it ends."""
    async with parent(on_parent_loss="end") as p:
        peer = await p.land("x")
        await p.until(CallOpened("x", REQUEST), HandedOver("x"))
        late = await p.land("y")
        if how == "shutdown":
            p.channel.send(Shutdown())
        else:
            await p.until(HandedOver("y"))
            p.channel.close()
        assert await peer.close_code() == 1001
        assert await late.close_code() == 1001
        await asyncio.wait_for(p.work, 10)
        if how == "shutdown":
            assert {m.reason for m in p.told if isinstance(m, Closed)} == {"shutdown"}


async def speak(peer: Peer, n: int) -> None:
    """Some frames of a call."""
    for number in range(1, n + 1):
        await peer.send(media(SPOKEN, number))


async def until_asked(p: Parent) -> Command:
    """The worker's request to hang up."""
    async with asyncio.timeout(10):
        while True:
            for message in p.told:
                if isinstance(message, Command):
                    return message
            await asyncio.sleep(0.005)


async def test_a_hang_up_is_asked_of_the_parent() -> None:
    """By a message; its answer lets the processor go on."""
    async with parent(bot("hangs_up"), has_client=True) as p:
        peer = await p.land("x")
        await speak(peer, 5)
        asked = await until_asked(p)
        assert (asked.call_id, asked.method) == ("x", "hangup")
        assert encoding.decode_arguments(asked.arguments) == ([], {})
        assert p.worker._calls.sessions["x"].ended, "its media is over before that"
        p.channel.send(Commanded(asked.request, DONE))
        assert await peer.close_code() == 1000
        await p.until(Closed("x", "hangup", True), SocketClosed())
        assert "processor_errors" not in p.counts
        peer.end.close()


async def test_a_hang_up_that_failed_is_the_processors_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The same class as in a single process."""
    async with parent(bot("hangs_up"), has_client=True) as p:
        peer = await p.land("x")
        await speak(peer, 5)
        asked = await until_asked(p)
        p.channel.send(Commanded(asked.request, b"", encoding.encode_error(NotFoundError(404))))
        assert await peer.close_code() == 1000
        await p.until(Closed("x", "hangup", True), SocketClosed())
        assert p.counts["processor_errors"] == 1
        peer.end.close()
    assert "NotFoundError: HTTP 404" in caplog.text


async def test_without_a_control_client_a_hang_up_ends_the_media() -> None:
    """The parent is not asked, for it said that it cannot."""
    async with parent(bot("hangs_up")) as p:
        peer = await p.land("x")
        await speak(peer, 5)
        assert await peer.close_code() == 1000
        await p.until(Closed("x", "hangup", True), SocketClosed())
        assert not any(isinstance(message, Command) for message in p.told)


async def test_a_hang_up_is_answered_while_the_worker_ends() -> None:
    """In the handlers' grace the parent still answers."""
    async with parent(bot("hangs_up"), has_client=True, handler_grace_s=60) as p:
        peer = await p.land("x")
        await speak(peer, 5)
        asked = await until_asked(p)
        p.channel.send(Shutdown())
        p.channel.send(Commanded(asked.request, DONE))
        assert await peer.close_code() == 1001
        await asyncio.wait_for(p.work, 10)
        assert "processor_errors" not in p.counts


async def test_a_lost_descriptor_is_a_lost_call_only() -> None:
    """Where this process may open no more files, the parent hears that the socket is gone."""
    async with parent() as p:
        p.channel.send(HandOver(1, "x", Admission.OPEN, "/media", {}, b"{}", {}, b""))
        await p.until(HandedOver("x"), SocketClosed())
        assert p.counts == {"refused_no_descriptor": 1}


async def test_what_is_no_socket_is_told_as_gone() -> None:
    """A descriptor that cannot be used harms no other call."""
    async with parent() as p:
        unconnected = socket.socket()
        p.channel.send(
            HandOver(1, "x", Admission.OPEN, "/media", {}, b"{}", {}, b""), unconnected.detach()
        )
        await p.until(HandedOver("x"), SocketClosed())
        peer = await p.land("y", media(SPOKEN))
        assert await peer.audio() == SPOKEN
        peer.end.close()
        await p.until(Closed("y", "lost", True), SocketClosed())


async def test_a_processor_that_fails_when_it_is_made(caplog: pytest.LogCaptureFixture) -> None:
    """It is bypassed, said and counted, as one that fails later; the call goes on."""
    async with parent(bot("Unmade")) as p:
        peer = await p.land("x", media(SPOKEN))
        assert await peer.audio() == SPOKEN
        await p.until(CallOpened("x", REQUEST), HandedOver("x"))
        await peer.send(STOP)
        assert await peer.close_code() == 1000
        await p.until(Closed("x", "stop", True), SocketClosed())
        assert p.counts["processor_errors"] == 1
    assert "bots.py:Unmade failed" in caplog.text


async def test_a_processor_that_is_not_there() -> None:
    """It is found before the worker says that it is ready."""
    ours, theirs = socket.socketpair()
    settings = Settings(processors=(ProcessorSetting("bogus"),), workers=2)
    with ours, theirs, pytest.raises(ConfigurationError, match="bogus"):
        Worker(Setup.of(0, settings, 0.02), theirs, encoding)
