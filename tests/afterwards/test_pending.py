"""What is left to do, and who waits for it."""

from __future__ import annotations

import asyncio
import threading

from mediaserver.afterwards.pending import Pending


async def test_it_is_settled_when_all_is_done() -> None:
    """Begun and done in any thread; who waits no longer than that is told so."""
    pending = Pending()
    assert await pending.settled()
    pending.begin()
    pending.begin()
    assert not await pending.settled(0.0)
    assert not await pending.settled(0.1)
    waiting = asyncio.create_task(pending.settled(30.0))
    pending.done()
    threading.Timer(0.05, pending.done).start()
    assert await waiting
    assert pending.n == 0
