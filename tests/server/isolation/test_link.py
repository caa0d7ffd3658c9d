"""Packets between a carrier and a host: real socket pairs, cut and flooded in every way."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mediaserver.logs import LimitedLog, LineLimit
from mediaserver.server.isolation import link as link_module
from mediaserver.server.isolation.link import (
    FULL_BYTES,
    HEAD,
    MAX_PACKET_BYTES,
    MAX_PACKETS_A_TURN,
    Link,
    PacketTooLongError,
)
from tests.server.watching import soon

Packet = tuple[int, int, bytes]


class End:
    """A link, and what came over it."""

    def __init__(self, end: socket.socket) -> None:
        self.came: list[Packet] = []
        self.n_ended = 0
        self.link = Link(end, self._received, self._ended)

    def _received(self, kind: int, call: int, content: memoryview) -> None:
        self.came.append((kind, call, bytes(content)))

    def _ended(self) -> None:
        self.n_ended += 1


@asynccontextmanager
async def linked() -> AsyncIterator[tuple[End, End]]:
    """Both ends."""
    one, other = map(End, socket.socketpair())
    try:
        yield one, other
    finally:
        one.link.close()
        other.link.close()


@asynccontextmanager
async def raw() -> AsyncIterator[tuple[End, socket.socket]]:
    """An end, and the bare socket at its other side."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    end = End(ours)
    try:
        yield end, theirs
    finally:
        end.link.close()
        theirs.close()


def packet(kind: int, call: int, content: bytes) -> bytes:
    """As it lies on the wire."""
    padding = -len(content) % 8
    return HEAD.pack(len(content) + padding, kind, padding, call) + content + bytes(padding)


async def test_packets_come_in_order_and_whole() -> None:
    """Of every length, also none, both ways at once."""
    sent = [(n % 5, n, bytes([n % 256]) * n) for n in range(300)]
    async with linked() as (one, other):
        for kind, call, content in sent:
            one.link.send(kind, call, content[:7], content[7:])
            other.link.send(kind, call, content)
        await soon(lambda: len(one.came) == len(other.came) == 300, 20)
    assert one.came == other.came == sent


async def test_what_is_sent_in_one_turn_goes_out_together() -> None:
    """In one piece, behind the turn in which it was said."""
    async with raw() as (end, theirs):
        end.link.send(1, 2, b"first")
        end.link.send(3, 4, b"second")
        with pytest.raises(BlockingIOError):
            theirs.recv(1)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert theirs.recv(4096) == packet(1, 2, b"first") + packet(3, 4, b"second")


async def test_content_is_aligned() -> None:
    """Arrays of eight-octet values may lie in it, whatever came before."""
    at: list[int] = []
    ours, theirs = socket.socketpair()
    end = Link(ours, lambda _, __, content: at.append(content.nbytes), lambda: None)
    theirs.send(packet(0, 0, b"odd") + packet(0, 0, b"12345678"))
    await soon(lambda: len(at) == 2)
    assert at == [3, 8]
    assert len(packet(0, 0, b"odd")) % 8 == 0
    end.close()
    theirs.close()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 40))
def test_packets_may_be_cut_anywhere(seed: int, n: int) -> None:
    """Octet by octet, or many at once: the same packets come."""
    dice = random.Random(seed)
    sent = [
        (dice.randrange(5), dice.randrange(9), dice.randbytes(dice.randrange(99))) for _ in range(n)
    ]
    octets = b"".join(packet(*each) for each in sent)

    async def cut() -> None:
        async with raw() as (end, theirs):
            at = 0
            while at < len(octets):
                size = dice.choice((1, 2, 7, 16, 17, 500))
                theirs.send(octets[at : at + size])
                at += size
                await asyncio.sleep(0)
            await soon(lambda: len(end.came) == n, 20)
            assert end.came == sent
            assert end.n_ended == 0

    asyncio.run(cut())


@pytest.mark.parametrize(
    "head",
    [
        HEAD.pack(MAX_PACKET_BYTES + 1, 0, 0, 1),
        HEAD.pack(0xFFFFFFFF, 0, 0, 1),
        HEAD.pack(8, 0, 9, 1),
        HEAD.pack(0, 0, 65535, 1),
    ],
)
async def test_a_malformed_head_ends_it(head: bytes) -> None:
    """Once; what came before it was given out, and what comes behind it is not."""
    async with raw() as (end, theirs):
        theirs.send(packet(1, 1, b"good") + head + packet(1, 1, b"late"))
        await soon(lambda: bool(end.n_ended))
        end.link.send(1, 1, b"nobody")
        await asyncio.sleep(0.01)
        assert end.came == [(1, 1, b"good")]
        assert end.n_ended == 1


@pytest.mark.parametrize("rest", [b"", b"\x08", packet(1, 1, b"cut short")[:-1]])
async def test_the_other_side_may_go_at_any_octet(rest: bytes) -> None:
    """It is told once, and half a packet is none."""
    async with raw() as (end, theirs):
        theirs.send(packet(1, 1, b"whole") + rest)
        theirs.close()
        await soon(lambda: bool(end.n_ended))
        assert (end.came, end.n_ended) == ([(1, 1, b"whole")], 1)


async def test_one_that_is_gone_is_noticed_by_sending() -> None:
    """Also where nothing is read any more."""
    async with raw() as (end, theirs):
        theirs.close()
        end.link.send(1, 1, b"nobody")
        await soon(lambda: bool(end.n_ended))
        assert end.n_ended == 1


async def test_a_flood_is_given_out_in_turns() -> None:
    """The loop has its turn between them, none is lost, and the next flood fares alike."""
    async with raw() as (end, theirs):
        for _ in range(2):
            end.came.clear()
            most, before = 0, 0
            theirs.send(packet(0, 1, b"") * 1000)
            while len(end.came) < 1000:
                await asyncio.sleep(0)
                most, before = max(most, len(end.came) - before), len(end.came)
            # A turn may hold the end of a pause and one more look at the socket.
            assert 0 < most <= 2 * MAX_PACKETS_A_TURN
        assert end.n_ended == 0


@pytest.mark.parametrize("by_receiver", [True, False])
async def test_it_may_be_closed_in_the_middle_of_a_flood(by_receiver: bool) -> None:
    """By the receiver, or while it pauses: nothing comes any more, and nobody is told an end."""
    came: list[int] = []

    def received(_: int, call: int, __: memoryview) -> None:
        came.append(call)
        if by_receiver and len(came) == 5:
            end.close()

    ours, theirs = socket.socketpair()
    end = Link(ours, received, lambda: came.append(-1))
    theirs.send(packet(0, 1, b"") * 500)
    while not came:  # noqa: ASYNC110  # no turn of the loop is to be missed
        await asyncio.sleep(0)
    end.close()
    n = len(came)
    await asyncio.sleep(0.02)
    assert n == 5 or not by_receiver
    assert came == [1] * n
    assert n < 500
    theirs.close()


async def test_it_is_full_until_the_other_side_reads() -> None:
    """Audio is held back then; who waits goes on, all of them."""
    async with raw() as (end, theirs):
        sent = 0
        while not end.link.is_full:
            end.link.send(1, 1, bytes(60_000))
            sent += HEAD.size + 60_000
            await asyncio.sleep(0)
        assert sent >= FULL_BYTES
        waiting = [asyncio.create_task(end.link.drained()) for _ in range(3)]
        await asyncio.sleep(0.01)
        assert not any(task.done() for task in waiting)
        n = 0
        while n < sent:
            try:
                n += len(theirs.recv(1 << 20))
            except BlockingIOError:
                await asyncio.sleep(0)
        await asyncio.wait_for(asyncio.gather(*waiting), 20)
        await asyncio.wait_for(end.link.drained(), 20)


async def test_closing_lets_go_who_waits() -> None:
    """There is nothing to wait for."""
    async with raw() as (end, _):
        end.link.send(1, 1, bytes(MAX_PACKET_BYTES))
        end.link.send(1, 1, bytes(MAX_PACKET_BYTES))
        task = asyncio.create_task(end.link.drained())
        await asyncio.sleep(0.01)
        assert not task.done()
        end.link.close()
        await asyncio.wait_for(task, 20)


async def test_one_that_reads_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before what waits for it fills the memory."""
    monkeypatch.setattr(link_module, "MAX_UNSENT_BYTES", 2 << 20)
    async with raw() as (end, _):
        for _ in range(4):
            end.link.send(1, 1, bytes(MAX_PACKET_BYTES))
        await soon(lambda: bool(end.n_ended))
        assert not end.link.is_full


async def test_closing_sends_what_it_can() -> None:
    """The last word gets out, once; further ones do nothing."""
    async with raw() as (end, theirs):
        end.link.send(1, 1, b"last word")
        end.link.close()
        end.link.close()
        end.link.send(1, 1, b"too late")
        assert theirs.recv(4096) == packet(1, 1, b"last word")
        assert theirs.recv(4096) == b""
        assert end.n_ended == 0


async def test_what_is_too_long_is_not_sent() -> None:
    """It is the sender's error, and the link goes on."""
    async with linked() as (one, other):
        with pytest.raises(
            PacketTooLongError, match=rf"^{MAX_PACKET_BYTES + 1} octets are too many"
        ):
            one.link.send(1, 1, bytes(MAX_PACKET_BYTES), b"x")
        one.link.send(1, 2, bytes(MAX_PACKET_BYTES))
        await soon(lambda: bool(other.came), 20)
        assert [len(content) for *_, content in other.came] == [MAX_PACKET_BYTES]


async def test_a_packet_that_fails_fails_alone(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one is another call's; a thousand of them are few lines in the log."""
    few = LimitedLog(logging.getLogger("mediaserver.tests"), LineLimit(3))
    monkeypatch.setattr("mediaserver.server.isolation.link.limited", few)
    came: list[int] = []

    def received(kind: int, call: int, content: memoryview) -> None:
        came.append(call)
        if call:
            raise RuntimeError("this one")

    ours, theirs = socket.socketpair()
    end = Link(ours, received, lambda: None)
    theirs.send(packet(0, 1, b"") * 1000 + packet(0, 0, b""))
    await soon(lambda: len(came) == 1001, 20)
    text = "a packet of a processor host's link failed"
    assert [r.getMessage() for r in caplog.records] == [text] * 3
    end.close()
    theirs.close()
