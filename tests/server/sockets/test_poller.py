"""Sockets read together: nobody notices, but by the clock."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from mediaserver.server.sockets.poller import SocketPoller

PERIOD_S = 0.01
LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[], Awaitable[None]]], None]:
    """Run a test on this event loop."""

    def on_loop(main: Callable[[], Awaitable[None]]) -> None:
        async def bounded() -> None:
            await asyncio.wait_for(main(), 30)

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(bounded())

    return on_loop


Run = Callable[[Callable[[], Awaitable[None]]], None]


class Peer(asyncio.Protocol):
    """The server's side of one connection, read for by a poller: echoes, and keeps what came."""

    def __init__(self, poller: SocketPoller, all_peers: list[Peer]) -> None:
        self.poller = poller
        self.received = b""
        self.lost: list[Exception | None] = []
        self.on_data: Callable[[bytes], None] = lambda _: None
        self.transport: Any = None
        self.all_peers = all_peers

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        # Only behind this does the transport begin to read.
        asyncio.get_running_loop().call_soon(self.poll)

    def poll(self) -> None:
        self.key = self.poller.add(self.transport, self)
        self.all_peers.append(self)
        assert not self.transport.is_reading()

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.on_data(data)
        if self.poller.handling:
            self.poller.unwritten.append((self.transport, data))
        else:
            self.transport.write(data)

    def eof_received(self) -> None:
        self.transport.write_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        self.poller.remove(self.key)
        self.lost.append(exc)


Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connected(n: int) -> Any:
    """A poller, ``n`` peers it reads for, and the clients at the other ends."""
    loop = asyncio.get_running_loop()
    poller, peers = SocketPoller(PERIOD_S), list[Peer]()
    server = await loop.create_server(lambda: Peer(poller, peers), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    clients: list[Client] = []
    for i in range(n):
        clients.append(await asyncio.open_connection("127.0.0.1", port))
        await until(lambda i=i: len(peers) == i + 1)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
    try:
        yield poller, peers, clients
    finally:
        poller.close()
        server.close()
        for _, writer in clients:
            writer.transport.abort()
        for peer in peers:
            peer.transport.abort()
        await asyncio.sleep(0.01)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for it; the test's own limit bounds the wait."""
    while not condition():  # noqa: ASYNC110 (nothing here tells when a poller has changed)
        await asyncio.sleep(0.001)


def test_every_octet_comes_once_and_in_order(run: Run) -> None:
    """Twenty sockets, random pieces, some far larger than a read: each gets its own back."""

    async def main() -> None:
        dice = random.Random(1)
        async with connected(20) as (_, _, clients):
            said = [dice.randbytes(dice.choice([10, 1000, 300_000])) for _ in clients]

            async def talk(client: Client, text: bytes) -> None:
                at = 0
                while at < len(text):
                    n = dice.choice([1, 300, 9000, 70_000])
                    client[1].write(text[at : at + n])
                    at += n
                    await asyncio.sleep(0)
                assert await client[0].readexactly(len(text)) == text

            await asyncio.gather(*map(talk, clients, said))

    run(main)


def test_many_frames_are_looked_for_and_few_are_waited_for(run: Run) -> None:
    """It ticks while much comes, is woken again when less does, and loses nothing between."""

    async def main() -> None:
        async with connected(10) as (poller, peers, clients):
            assert not poller.is_ticking
            sent = 0
            while not poller.is_ticking:
                for _, writer in clients:
                    writer.write(b"x")
                sent += 1
                await asyncio.sleep(PERIOD_S / 10)
            await until(lambda: not poller.is_ticking)
            assert [len(peer.received) for peer in peers] == [sent] * 10
            clients[0][1].write(b"y")
            await until(lambda: peers[0].received.endswith(b"y"))

    run(main)


def test_the_end_of_a_stream_comes_behind_its_last_octets(run: Run) -> None:
    """Data and FIN in one go: the data is answered, then the connection is lost, once."""

    async def main() -> None:
        async with connected(3) as (_, peers, clients):
            reader, writer = clients[1]
            writer.write(b"last words")
            writer.write_eof()
            assert await reader.read() == b"last words"
            await until(lambda: bool(peers[1].lost))
            assert [peer.lost for peer in peers] == [[], [None], []]
            clients[0][1].write(b"still here")
            assert await clients[0][0].readexactly(10) == b"still here"

    run(main)


def test_a_reset_is_the_end_of_one_connection(run: Run) -> None:
    """A peer that resets its connection is lost, once; the others' go on."""

    async def main() -> None:
        async with connected(2) as (_, peers, clients):
            reports: list[dict[str, Any]] = []
            asyncio.get_running_loop().set_exception_handler(lambda _, r: reports.append(r))
            raw = clients[0][1].get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            clients[0][1].transport.abort()
            await until(lambda: bool(peers[0].lost))
            clients[1][1].write(b"still here")
            assert await clients[1][0].readexactly(10) == b"still here"
            assert [len(peer.lost) for peer in peers] == [1, 0]
            assert not reports

    run(main)


@pytest.mark.parametrize("error", [ValueError("bad"), SystemExit(3)])
def test_who_fails_on_a_frame_fails_alone(run: Run, error: BaseException) -> None:
    """A protocol that raises is reported and loses its connection; its neighbours do not."""

    async def main() -> None:
        reports: list[dict[str, Any]] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, report: reports.append(report))
        async with connected(20) as (_, peers, clients):
            n_failed = 0

            def fail(_: bytes) -> None:
                nonlocal n_failed
                n_failed += 1
                raise error

            peers[2].on_data = fail
            for _, writer in clients:
                writer.write(bytes(50_000))  # several reads, in rounds
            for i, (reader, _) in enumerate(clients):
                if i != 2:
                    assert await reader.readexactly(50_000) == bytes(50_000)
            await until(lambda: bool(peers[2].lost))
            assert n_failed == 1
            assert [report["exception"] for report in reports] == [error]
            assert not any(peer.lost for i, peer in enumerate(peers) if i != 2)

    run(main)


def test_a_frame_may_end_its_neighbours_connections(run: Run) -> None:
    """Connections ended while others of the same round are handled harm nobody else."""

    async def main() -> None:
        async with connected(6) as (poller, peers, clients):

            def end_neighbours(_: bytes) -> None:
                for peer in peers[1:5]:
                    peer.transport.abort()

            peers[0].on_data = end_neighbours
            for _, writer in clients:
                writer.write(b"hello")
            for i in (0, 5):
                assert await clients[i][0].readexactly(5) == b"hello"
            await until(lambda: all(peer.lost for peer in peers[1:5]))
            assert not peers[0].lost
            assert not peers[5].lost
            assert not poller.unwritten

    run(main)


def test_a_closed_poller_leaves_the_reading_to_the_transports(run: Run) -> None:
    """Behind ``close`` data still comes, and so does the end."""

    async def main() -> None:
        async with connected(2) as (poller, peers, clients):
            for peer in peers:
                poller.remove(peer.key)
                poller.remove(peer.key)  # twice does nothing
                peer.key = poller.add(peer.transport, peer)
            poller.close()
            clients[0][1].write(b"still read")
            assert await clients[0][0].readexactly(10) == b"still read"
            clients[1][1].write_eof()
            await until(lambda: bool(peers[1].lost))

    run(main)
