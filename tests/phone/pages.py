"""A page in Python: it speaks as the one in the browser does."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from mediaserver.phone import PhoneServer
from telephony_codecs import Int16Array

WITHIN_S = 20.0
RATE_HZ = 48_000


class Page:
    """One page.

    Attributes:
        socket: to the page's server.
        told: every message that is no audio.
        blocks: all audio, int16 at 48 kHz.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.told: list[dict[str, Any]] = []
        self.blocks: list[Int16Array] = []
        self._more = asyncio.Event()

    async def listen(self) -> None:
        """Take in what comes until the socket is closed."""
        with contextlib.suppress(ConnectionClosed):
            async for message in self.socket:
                if isinstance(message, bytes):
                    self.blocks.append(np.frombuffer(message, "<i2").astype(np.int16))
                else:
                    self.told.append(json.loads(message))
                self._more.set()
        self._more.set()

    async def do(self, what: str, **fields: Any) -> None:
        """Say what is wanted."""
        await self.socket.send(json.dumps({"do": what, **fields}))

    async def call(self, **fields: Any) -> dict[str, Any]:
        """Place a call, and return what is told when it is up."""
        number = len(self.of("call")) + 1
        await self.do("call", number=number, **{"page_rate_hz": RATE_HZ, **fields})
        await self.until(lambda: any(each["number"] == number for each in self.of("call")))
        return self.of("call")[-1]

    def of(self, name: str) -> list[dict[str, Any]]:
        """What was told under this name."""
        return [each for each in self.told if each["event"] == name]

    def entries(self, what: str) -> list[dict[str, Any]]:
        """Lines of the ledger."""
        return [e for each in self.of("ledger") for e in each["entries"] if e["what"] == what]

    @property
    def figures(self) -> dict[str, Any]:
        """The newest figures; none yet: nothing."""
        return self.of("figures")[-1] if self.of("figures") else {}

    @property
    def heard(self) -> Int16Array:
        """All audio so far."""
        return np.concatenate([np.zeros(0, np.int16), *self.blocks])

    async def until(self, check: Callable[[], bool]) -> None:
        """Wait for something that messages bring about."""
        async with asyncio.timeout(WITHIN_S):
            while not check():
                self._more.clear()
                await self._more.wait()


@contextlib.asynccontextmanager
async def opened(phone: PhoneServer, **how: Any) -> AsyncIterator[Page]:
    """A page of this phone."""
    url, _, token = phone.url.partition("#")
    at = f"{url.replace('http:', 'ws:')}call" + (f"?token={token}" if token else "")
    async with connect(at, proxy=None, **how) as socket:
        page = Page(socket)
        listening = asyncio.create_task(page.listen())
        try:
            yield page
        finally:
            await socket.close()
            await listening
