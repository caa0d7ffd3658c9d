"""A peer that ends its stream and resets the connection behind it."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from tests.server.conftest import Serving
from tests.server.rawclient import RawCall
from tests.server.watching import soon


@pytest.mark.parametrize("poll_ms", [0, 2])
async def test_a_reset_behind_the_end_is_no_error(serving: Serving, poll_ms: int) -> None:
    """There is nothing left to end: the call is lost, and no exception reaches the loop."""
    unhandled: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: unhandled.append(str(context)))
    async with serving("echo", poll_ms=poll_ms) as server:
        call = await asyncio.to_thread(RawCall, server.service.port)
        call.begin()
        await soon(lambda: server.service.n_calls == 1)
        # Both before the server's next turn, as this is its thread.
        call.socket.shutdown(socket.SHUT_WR)
        call.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        call.socket.close()
        await soon(lambda: server.service.n_calls == server.service.n_connections == 0)
    assert unhandled == []
