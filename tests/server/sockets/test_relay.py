"""A relay passes all octets both ways, keeps to the slower side, and ends with either."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mediaserver.server.sockets.relay import relayed

MANY = bytes(range(256)) * 16_384  # 4 MiB: more than sockets and transports hold


class Mute(asyncio.Protocol):
    """Hears nothing: its transport is to be relayed."""


@asynccontextmanager
async def relay() -> AsyncIterator[
    tuple[asyncio.StreamReader, asyncio.StreamWriter, asyncio.StreamReader, asyncio.StreamWriter]
]:
    """The peer's side of a relayed connection, and the side of who goes on with it."""
    peers, ours = socket.socketpair()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_unix_connection(Mute, sock=ours)
    transport.pause_reading()
    fd = relayed(transport)
    reader, writer = await asyncio.open_unix_connection(sock=peers)
    inner_reader, inner_writer = await asyncio.open_unix_connection(sock=socket.socket(fileno=fd))
    yield reader, writer, inner_reader, inner_writer
    for each in (writer, inner_writer):
        each.transport.abort()
    await all_closed()


async def all_closed() -> None:
    """Give the ends inside the relay the time to hear of it."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize("way", ["in", "out"])
async def test_much_passes_whole(way: str) -> None:
    """Whoever reads late gets all of it, and the end behind it."""
    async with relay() as (reader, writer, inner_reader, inner_writer):
        source, sink = (writer, inner_reader) if way == "in" else (inner_writer, reader)
        source.write(MANY)
        await asyncio.sleep(0.1)  # by now all that is between the two is full
        assert source.transport.get_write_buffer_size() > 0
        source.write_eof()
        assert await asyncio.wait_for(sink.read(), 30) == MANY


@pytest.mark.parametrize("who", ["peer", "process"])
async def test_it_ends_with_either_side(who: str) -> None:
    """The other side hears of it."""
    async with relay() as (reader, writer, inner_reader, inner_writer):
        writer.write(b"begun")
        assert await inner_reader.readexactly(5) == b"begun"
        (writer if who == "peer" else inner_writer).transport.abort()
        other = inner_reader if who == "peer" else reader
        assert await asyncio.wait_for(other.read(), 30) == b""


async def test_a_connection_that_is_gone_at_once_ends_it() -> None:
    """Also where it went before the pair was connected."""
    peers, ours = socket.socketpair()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_unix_connection(Mute, sock=ours)
    fd = relayed(transport)
    transport.abort()
    with peers, socket.socket(fileno=fd) as inner:
        inner.setblocking(False)
        assert await asyncio.wait_for(loop.sock_recv(inner, 10), 30) == b""
    await all_closed()
