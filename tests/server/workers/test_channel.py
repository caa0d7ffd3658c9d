"""Messages and descriptors between processes: whole, in order, and never blocking."""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mediaserver.server.workers.channel import MAX_QUEUED_BYTES, Channel


class End:
    """One side of a channel, and what came there."""

    def __init__(self, end: socket.socket) -> None:
        self.came: list[tuple[Any, int | None]] = []
        self.ended = asyncio.Event()
        self.channel = Channel(
            end, lambda message, fd: self.came.append((message, fd)), self.ended.set
        )

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
            left.channel.send((n, b"x" * size))
        came = await right.until(len(sizes))
        await asyncio.wait_for(left.channel.flushed(), 5)
        right.channel.send("back")
        assert await left.until(1) == [("back", None)]
    assert [(n, len(body)) for (n, body), _ in came] == list(enumerate(sizes))


async def test_descriptors_come_with_their_messages() -> None:
    """Each message has its own, however large it is and whatever goes before and behind."""
    before = n_open()
    async with ends() as (left, right):
        for n in range(60):
            fd = pipe_holding(bytes([n])) if n % 3 else None
            left.channel.send((n, b"x" * (n * 7919 % 200_000)), fd)
        for n, ((number, _), fd) in enumerate(await right.until(60)):
            assert number == n
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
        left.channel.send("last")
        left.channel.close()
        left.channel.close()
        await asyncio.wait_for(right.ended.wait(), 5)
        assert right.came == [("last", None)]
        right.channel.send("nobody", pipe_holding(b"x"))
        assert right.channel.is_flushed
    assert n_open() <= before


async def test_a_side_that_takes_nothing_makes_it_full() -> None:
    """Nothing blocks; the queue says when it is full; its descriptors are closed with it."""
    before = n_open()
    ours, theirs = socket.socketpair()
    with theirs:
        left = End(ours)
        for _ in range(8):
            assert not left.channel.is_full
            left.channel.send(b"x" * (MAX_QUEUED_BYTES // 8 + 200_000), pipe_holding(b"y"))
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
    left.channel.send(b"x" * 1_000_000)
    theirs.close()
    await asyncio.wait_for(left.ended.wait(), 5)


async def test_a_message_that_fails_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the next one is delivered."""
    ours, theirs = socket.socketpair()
    came: list[object] = []

    def received(message: object, _: int | None) -> None:
        came.append(message)
        if message == "bad":
            raise ValueError("as told")

    right = Channel(theirs, received, lambda: None)
    left = End(ours)
    for message in ("good", "bad", "better"):
        left.channel.send(message)
    async with asyncio.timeout(5):
        while len(came) < 3:  # noqa: ASYNC110  # a list has no event
            await asyncio.sleep(0.001)
    assert "a message failed: str" in caplog.text
    left.channel.close()
    right.close()


async def test_what_cannot_be_pickled_is_refused() -> None:
    """The sender is told, keeps its descriptor, and the channel goes on."""
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    async with ends() as (left, right):
        fd = pipe_holding(b"x")
        with pytest.raises((pickle.PickleError, RecursionError)):
            left.channel.send(nested, fd)
        os.close(fd)
        left.channel.send("next")
        assert await right.until(1) == [("next", None)]
        while nested:  # else freeing it recurses as deep
            nested = nested[0]
