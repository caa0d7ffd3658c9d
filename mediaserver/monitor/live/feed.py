"""An HTTP response that does not end: it sends parts as soon as they are there.

A part is its length (4 octets, big-endian), its kind (one octet), and its content. It is not a
WebSocket, because a browser could not send the token in the ``Authorization`` field of one.

For a slow browser fewer parts are made: the next part is made only when the last one was sent. A
browser that reads nothing for ``STUCK_S`` is disconnected. A file of audio
is sent in the same way, unchanged.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Protocol, cast

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

JSON, LEVELS, AUDIO = 1, 2, 3
STUCK_S = 20.0
_HEAD = struct.Struct("!IB")
PARTS = [(b"content-type", b"application/octet-stream")]
_FIELDS = [
    (b"cache-control", b"no-store"),
    (b"connection", b"close"),
    # Proxies keep back what is small, else.
    (b"x-accel-buffering", b"no"),
]


def part(kind: int, body: bytes) -> bytes:
    """A part as it is sent."""
    return _HEAD.pack(len(body), kind) + body


def json_part(content: object) -> bytes:
    """A part of JSON."""
    return part(JSON, msgspec.json.encode(content))


class _Connection(Protocol):
    """What our own HTTP port has in the scope's state; another server's has nothing there."""

    def keep_open(self) -> None:
        """It may outlive its usual time."""

    def abort(self) -> None:
        """It is cut."""


class Feed(Response):
    """Sends parts until they end, the browser is gone, or ``is_over`` says so.

    Args:
        parts: makes them; closed at the end. An ``OSError`` of it cuts the connection.
        is_over: the server ends.
        fields: header fields that say what is sent.
    """

    def __init__(
        self,
        parts: AsyncIterator[bytes],
        is_over: Callable[[], bool],
        fields: Sequence[tuple[bytes, bytes]] = PARTS,
    ) -> None:
        super().__init__()
        self._fields = [*fields, *_FIELDS]
        self._parts = parts
        self._is_over = is_over

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        connection = cast(_Connection | None, scope.get("state", {}).get("connection"))
        if connection is not None:
            connection.keep_open()
        await send({"type": "http.response.start", "status": 200, "headers": self._fields})
        gone = asyncio.ensure_future(_gone(receive))
        try:
            async with aclosing(self._parts) as parts:  # type: ignore[type-var]  # a generator's
                async for body in parts:
                    if gone.done() or self._is_over():
                        break
                    message = {"type": "http.response.body", "body": body, "more_body": True}
                    await asyncio.wait_for(send(message), STUCK_S)
            if not gone.done():
                await asyncio.wait_for(send({"type": "http.response.body"}), STUCK_S)
        except OSError:  # stuck for too long, too: a TimeoutError is one
            if connection is None:
                raise
            connection.abort()
        finally:
            gone.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
