"""The floor: a uvloop server that returns each byte it gets, knowing no WebSocket and no JSON.

Does not show: anything a media server does; it is what the kernel and uvloop cost alone.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop


class Echo(asyncio.Protocol):
    """Writes back what it reads."""

    _transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport to write to."""
        # uvloop's transports are not instances of asyncio.Transport.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Return it."""
        self._transport.write(data)


async def serve(port: int) -> None:
    """Echo on ``port`` of the loopback until killed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
