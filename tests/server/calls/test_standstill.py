"""A process that stood still: what waits to be read is read before anybody is judged."""

from __future__ import annotations

import asyncio
import time

from tests.server.conftest import Serving
from tests.server.rawclient import CONNECTED, RawCall, text
from tests.server.watching import soon
from tests.server.workers.crews import call_to, echoes


async def test_a_standstill_is_no_part_of_the_grace(serving: Serving) -> None:
    """The next socket came meanwhile: it takes the call over, though its grace is over."""
    async with serving("echo", reconnect_grace_s=0.5) as server:
        first = await asyncio.to_thread(RawCall, server.service.port)
        await asyncio.to_thread(first.begin)
        await asyncio.to_thread(first.echoed, b"\xd5" * 160)  # without media there is no grace
        await soon(lambda: server.service.n_calls == 1)
        start = {**first.start()}
        first.socket.close()
        await soon(lambda: server.service.n_quiet == 1)  # type: ignore[attr-defined]  # of one process

        def come_back() -> RawCall:
            with_start = CONNECTED + text(start)
            return RawCall(server.service.port, behind=lambda _: with_start)

        coming = asyncio.create_task(asyncio.to_thread(come_back))
        await asyncio.sleep(0)
        time.sleep(2.0)  # noqa: ASYNC251  # the whole loop stands still
        with await coming:
            await soon(lambda: server.service.counters["takeovers"] == 1)
            assert server.service.counters["calls"] == 1


async def test_a_standstill_makes_no_call_quiet(serving: Serving) -> None:
    """So nobody takes it over for it; silence that was listened to does."""
    async with serving("echo") as server:
        async with call_to(server) as call:
            assert await echoes(call, 0x41)
            time.sleep(3.0)  # noqa: ASYNC251  # as above
            await asyncio.sleep(0.05)
            assert server.service.n_quiet == 0  # type: ignore[attr-defined]  # as above
            await soon(lambda: server.service.n_quiet == 1)  # type: ignore[attr-defined]  # as above
