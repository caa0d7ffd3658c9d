"""Messages and descriptors between processes: whole, in order, and never blocking."""

from __future__ import annotations

import array
import asyncio
import os
import pickle
import socket
import struct
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediaserver.processes import channel as channel_module
from mediaserver.processes.channel import (
    MAX_MESSAGE_BYTES,
    MAX_QUEUED_BYTES,
    MAX_WAITING_FDS,
    Channel,
    UnsendableError,
    encode,
    receive_blocking,
    send_blocking,
)


class Block(msgspec.Struct, frozen=True, tag=True):
    number: int
    body: bytes = b""


class Word(msgspec.Struct, frozen=True, tag=True):
    text: Any


class Stranger(msgspec.Struct, frozen=True, tag=True):
    """No end here accepts it."""


class End:
    """One side of a channel, and what came there."""

    def __init__(self, end: socket.socket) -> None:
        self.came: list[tuple[Any, int | None]] = []
        self.ended = asyncio.Event()
        self.channel = Channel(end, Block | Word, self._received, self.ended.set, "peer")

    def _received(self, message: object, fd: int | None) -> None:
        self.came.append((message, fd))

    async def until(self, n: int) -> list[tuple[Any, int | None]]:
        async with asyncio.timeout(10):
            while len(self.came) < n:  # noqa: ASYNC110  # a list has no event
                await asyncio.sleep(0.001)
        return self.came


@asynccontextmanager
async def ends() -> AsyncIterator[tuple[End, End]]:
    left, right = map(End, socket.socketpair())
    try:
        yield left, right
    finally:
        left.channel.close()
        right.channel.close()


@asynccontextmanager
async def raw_end() -> AsyncIterator[tuple[socket.socket, End]]:
    """A socket to write anything to, and the channel that reads it."""
    ours, theirs = socket.socketpair()
    right = End(theirs)
    with ours:
        yield ours, right
    right.channel.close()


def framed(body: bytes, has_fd: bool = False) -> bytes:
    return struct.pack("!I?", len(body), has_fd) + body


def pipe_holding(octet: bytes) -> int:
    """A descriptor that reads as ``octet``."""
    reads, writes = os.pipe()
    os.write(writes, octet)
    os.close(writes)
    return reads


def n_open() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_messages_come_whole_and_in_order() -> None:
    """Small ones, none, and ones of many times the socket's buffer."""
    sizes = [0, 1, 3_000_000, 5, 70_000, 1_000_000, 2]
    async with ends() as (left, right):
        for n, size in enumerate(sizes):
            left.channel.send(Block(n, b"x" * size))
        came = await right.until(len(sizes))
        await asyncio.wait_for(left.channel.flushed(), 5)
        right.channel.send(Word("back"))
        assert await left.until(1) == [(Word("back"), None)]
    assert [(block.number, len(block.body)) for block, _ in came] == list(enumerate(sizes))


async def test_descriptors_come_with_their_messages() -> None:
    """Each message has its own, however large it is and whatever goes before and behind."""
    before = n_open()
    async with ends() as (left, right):
        for n in range(60):
            fd = pipe_holding(bytes([n])) if n % 3 else None
            left.channel.send(Block(n, b"x" * (n * 7919 % 200_000)), fd)
        for n, (block, fd) in enumerate(await right.until(60)):
            assert block.number == n
            assert (fd is not None) == bool(n % 3)
            if fd is not None:
                assert os.read(fd, 10) == bytes([n])
                assert not os.get_inheritable(fd)
                os.close(fd)
    assert n_open() <= before


async def test_the_other_sides_end_is_told_once() -> None:
    """Behind what was sent before; sending afterwards does nothing, and keeps no descriptor."""
    before = n_open()
    async with ends() as (left, right):
        left.channel.send(Word("last"))
        left.channel.close()
        left.channel.close()
        await asyncio.wait_for(right.ended.wait(), 5)
        assert right.came == [(Word("last"), None)]
        right.channel.send(Word("nobody"), pipe_holding(b"x"))
        assert right.channel.is_flushed
    assert n_open() <= before


async def test_a_side_that_takes_nothing_makes_it_full() -> None:
    """Nothing blocks; the queue says when it is full; its descriptors are closed with it."""
    before = n_open()
    ours, theirs = socket.socketpair()
    with theirs:
        left = End(ours)
        for n in range(8):
            assert not left.channel.is_full
            block = Block(n, b"x" * (MAX_QUEUED_BYTES // 8 + 200_000))
            left.channel.send(block, pipe_holding(b"y"))
            if left.channel.is_full:
                break
        assert left.channel.is_full
        assert not left.channel.is_flushed
        left.channel.close()
    assert n_open() <= before


async def test_a_broken_channel_ends() -> None:
    """Where the other side vanishes in the middle of a long message, the sender hears of it."""
    ours, theirs = socket.socketpair()
    left = End(ours)
    left.channel.send(Block(0, b"x" * 1_000_000))
    theirs.close()
    await asyncio.wait_for(left.ended.wait(), 5)


async def test_a_message_that_fails_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the next one is delivered."""
    ours, theirs = socket.socketpair()
    came: list[object] = []

    def received(message: object, _: int | None) -> None:
        came.append(message)
        if message == Word("bad"):
            raise ValueError("as told")

    right = Channel(theirs, Word, received, lambda: None, "the peer")
    left = End(ours)
    for text in ("good", "bad", "better"):
        left.channel.send(Word(text))
    async with asyncio.timeout(5):
        while len(came) < 3:  # noqa: ASYNC110  # a list has no event
            await asyncio.sleep(0.001)
    assert "the peer: a message failed: Word" in caplog.text
    left.channel.close()
    right.close()


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "reason"),
    [(object(), "object"), (1 << 70, "serialize"), ("\udcff", "surrogates")],
)
async def test_what_cannot_be_encoded_is_refused(value: object, reason: str) -> None:
    """The sender is told which message and why, keeps its descriptor, and the channel goes on."""
    async with ends() as (left, right):
        fd = pipe_holding(b"x")
        with pytest.raises(UnsendableError, match=f"Word cannot be sent: .*{reason}"):
            left.channel.send(Word(value), fd)
        os.close(fd)
        left.channel.send(Word("next"))
        assert await right.until(1) == [(Word("next"), None)]


async def test_what_is_nested_too_deep_is_refused() -> None:
    """The encoder's recursion is an error of the one message."""
    value = nested(100_000)
    with pytest.raises(UnsendableError, match="recursion"):
        encode(Word(value))
    while value:  # else freeing it recurses as deep
        value = value[0]


async def test_a_message_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other side would end the channel for it."""
    monkeypatch.setattr(channel_module, "MAX_MESSAGE_BYTES", 1000)
    encode(Block(0, b"x" * 900))
    with pytest.raises(UnsendableError, match="octets are too many"):
        encode(Block(0, b"x" * 1000))


GOOD = framed(msgspec.msgpack.encode(Word("good")))
BAD = {
    "unknown type": framed(msgspec.msgpack.encode(Stranger())),
    "wrong field": framed(msgspec.msgpack.encode({"type": "Block", "number": "1"})),
    "no field": framed(msgspec.msgpack.encode({"type": "Block"})),
    "no object": framed(msgspec.msgpack.encode([1, 2])),
    "no MessagePack": framed(b"\xc1\xc1\xc1"),
    "a pickle": framed(pickle.dumps(Word("x"))),
    "not UTF-8": framed(b"\x81\xa4type\xa1\xff"),
    "nested too deep": framed(b"\x82\xa4type\xa4Word\xa4text" + b"\x91" * 20_000),
    "empty": framed(b""),
    "a descriptor that is not there": framed(b"", has_fd=True),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
async def test_a_malformed_message_stops_no_other(
    bad: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """It is counted and dropped, and logged; the next one is delivered."""
    async with raw_end() as (ours, right):
        ours.sendall(bad * 3 + GOOD)
        assert await right.until(1) == [(Word("good"), None)]
        assert right.channel.n_malformed == 3
        assert not right.ended.is_set()
    assert "peer: message 1 is malformed" in caplog.text


async def test_the_descriptor_of_a_malformed_message_is_closed() -> None:
    """It belongs to no other message."""
    before = n_open()
    async with raw_end() as (ours, right):
        socket.send_fds(ours, [framed(b"\xc1", has_fd=True)], [0])
        ours.sendall(GOOD)
        assert await right.until(1) == [(Word("good"), None)]
    assert n_open() <= before


async def test_a_frame_that_is_too_long_ends_the_channel(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing of it is kept: a length that is garbage would be waited for without end."""
    async with raw_end() as (ours, right):
        ours.sendall(GOOD + struct.pack("!I?", MAX_MESSAGE_BYTES + 1, False))
        await asyncio.wait_for(right.ended.wait(), 5)
        assert right.came == [(Word("good"), None)]
    assert f"a frame of {MAX_MESSAGE_BYTES + 1} octets" in caplog.text


async def test_descriptors_without_messages_end_the_channel() -> None:
    """A peer cannot use up the descriptors of this process."""
    before = n_open()
    async with raw_end() as (ours, right):
        for _ in range(MAX_WAITING_FDS + 1):
            socket.send_fds(ours, [GOOD], [0])
        await asyncio.wait_for(right.ended.wait(), 5)
    assert n_open() <= before


async def test_a_lost_descriptor_leaves_the_others_in_place() -> None:
    """Where this process may open no more, its message comes without, the next with its own."""
    import resource

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    ours, theirs = socket.socketpair()
    right = End(theirs)
    with ours:
        fds = [pipe_holding(b"1"), pipe_holding(b"2")]
        packet = framed(msgspec.msgpack.encode(Word("x")), has_fd=True)
        _send_with_fd(ours, packet, fds[0])
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
        try:
            await right.until(1)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        _send_with_fd(ours, packet, fds[1])
        (_, first), (_, second) = await right.until(2)
        assert first is None
        assert second is not None
        assert os.read(second, 10) == b"2"
        for fd in (*fds, second):
            os.close(fd)
    right.channel.close()


def _send_with_fd(end: socket.socket, packet: bytes, fd: int) -> None:
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))
    assert end.sendmsg([packet], [rights]) == len(packet)


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_no_octets_break_the_reader(pieces: list[bytes]) -> None:
    """Whatever comes, framed or not, the reader raises nothing."""

    async def feed() -> None:
        async with raw_end() as (ours, right):
            loop = asyncio.get_running_loop()
            broken: list[dict[str, Any]] = []
            loop.set_exception_handler(lambda _, context: broken.append(context))
            for n, piece in enumerate(pieces):
                ours.sendall(framed(piece) if n % 2 else piece)
            ours.close()
            await asyncio.wait_for(right.ended.wait(), 5)
            assert broken == []

    asyncio.run(feed())


def test_a_message_where_there_is_no_channel() -> None:
    """Sent and waited for, however long; EOFError where the other side is gone."""
    ours, theirs = socket.socketpair()
    long = Block(7, b"x" * 2_000_000)
    with ours, theirs:
        sender = threading.Thread(target=send_blocking, args=(ours, long))
        sender.start()
        assert receive_blocking(theirs, Block | Word) == long
        sender.join()
        send_blocking(ours, Stranger())
        with pytest.raises(msgspec.ValidationError):
            receive_blocking(theirs, Block)
        theirs.sendall(b"unread")
        ours.sendall(GOOD[:7])
        ours.close()
        with pytest.raises(EOFError):
            receive_blocking(theirs, Word)
