"""A worker that is left alone: by its parent, or by the call that it was to have."""

from __future__ import annotations

import asyncio
import sys

import pytest

from mediaserver.server.workers.messages import CallOpened, HandedOver, SocketClosed
from tests.server.conftest import bot
from tests.server.workers.test_worker import (
    REQUEST,
    SPOKEN,
    STOP,
    Closed,
    media,
    parent,
    speak,
    until_asked,
)


async def test_without_a_parent_calls_go_on_to_their_end() -> None:
    """They are told that the server drains; then the worker ends by itself."""
    async with parent(bot("events"), reconnect_grace_s=0) as p:
        peer = await p.land("worker-alone")
        await p.until(CallOpened("worker-alone", REQUEST), HandedOver("worker-alone"))
        p.channel.close()
        for n in range(1, 4):
            await peer.send(media(SPOKEN, n))
            assert await peer.audio() == SPOKEN
        assert not p.work.done()
        await peer.send(STOP)
        assert await peer.close_code() == 1000
        await asyncio.wait_for(p.work, 10)
    seen = [type(event).__name__ for event in sys.modules["bots"].SEEN["worker-alone"]]
    assert seen == ["Draining", "Stop"]


async def test_without_a_parent_a_drain_has_its_limit() -> None:
    """As behind a signal: then calls are closed with 1001."""
    async with parent(drain_s=0.1) as p:
        peer = await p.land("x")
        await p.until(CallOpened("x", REQUEST), HandedOver("x"))
        p.channel.close()
        assert await peer.close_code() == 1001
        await asyncio.wait_for(p.work, 10)


async def test_a_socket_that_another_worker_got_is_left_alone() -> None:
    """Its claim is refused: nothing is read of it, nothing told, and it is closed here alone."""
    async with parent() as p:
        p.grants = False
        peer = await p.land("x", media(SPOKEN))
        assert await peer.close_code() == 1006  # nobody else has it in this test
        p.grants = True
        again = await p.land("y", media(SPOKEN))
        assert await again.audio() == SPOKEN
        await p.until(CallOpened("y", REQUEST), HandedOver("y"))
        assert "x" not in repr(p.told)
        again.end.close()
        await p.until(Closed("y", "lost", True), SocketClosed())


async def test_a_hang_up_ends_with_the_parent(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody is left to answer: an error, at once."""
    async with parent(
        bot("hangs_up"), has_client=True, handler_grace_s=60, on_parent_loss="end"
    ) as p:
        peer = await p.land("x")
        await speak(peer, 5)
        await until_asked(p)
        p.channel.close()
        assert await peer.close_code() == 1001
        await asyncio.wait_for(p.work, 10)
    assert "NetworkError: no answer: the server's main process is gone" in caplog.text
