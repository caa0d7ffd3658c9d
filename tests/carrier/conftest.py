"""Real WebSocket servers that speak the literals of protocol.md 1.2."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

Handler = Callable[[ServerConnection], Awaitable[None]]


class Server:
    """One server on loopback.

    Attributes:
        url: where it listens.
        got: every message received, parsed, of all connections.
        sockets: every connection, in the order of connecting.
    """

    def __init__(self, handler: Callable[[Server, ServerConnection], Awaitable[None]]) -> None:
        self.handler = handler
        self.url = ""
        self.got: list[dict[str, Any]] = []
        self.sockets: list[ServerConnection] = []
        self._more = asyncio.Condition()

    async def __call__(self, socket: ServerConnection) -> None:
        self.sockets.append(socket)
        with suppress(ConnectionClosed):
            await self.handler(self, socket)

    async def messages(self, socket: ServerConnection) -> AsyncIterator[dict[str, Any]]:
        """Yield what one connection says, remembering it."""
        async for text in socket:
            assert isinstance(text, str)
            message = json.loads(text)
            self.got.append(message)
            async with self._more:
                self._more.notify_all()
            yield message

    async def seen(self, name: str, times: int = 1) -> None:
        """Return once an event has come so many times."""
        async with asyncio.timeout(5), self._more:
            await self._more.wait_for(lambda: len(self.events(name)) >= times)

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the messages of one event."""
        return [message for message in self.got if message["event"] == name]


async def echo(server: Server, socket: ServerConnection) -> None:
    """Send each payload back."""
    async for message in server.messages(socket):
        if message["event"] == "media":
            payload = message["media"]["payload"]
            await socket.send(f'{{"event":"media","media":{{"payload":"{payload}"}}}}')


async def listen(server: Server, socket: ServerConnection) -> None:
    """Say nothing."""
    async for _ in server.messages(socket):
        pass


async def bot(server: Server, socket: ServerConnection) -> None:
    """Greet, set the mark ``said``, wait for an answer, thank, wait for a key and hang up."""
    await _speak(socket, 0.3)
    await socket.send('{"event":"mark","mark":{"name":"said"}}')
    async for message in server.messages(socket):
        if message["event"] == "media":
            payload = base64.b64decode(message["media"]["payload"])
            if set(payload) - {0x7F, 0xFF}:  # the two codes of silence
                break
    await _speak(socket, 0.1)
    async for message in server.messages(socket):
        if message["event"] == "dtmf":
            break
    await socket.close(1000)


async def _speak(socket: ServerConnection, seconds: float) -> None:
    """As loud as PCMU can, in one message."""
    payload = base64.b64encode(b"\x80" * round(seconds * 8000)).decode()
    await socket.send(f'{{"event":"media","media":{{"payload":"{payload}"}}}}')


ServerAt = Callable[..., Any]


@pytest.fixture
def server_at() -> ServerAt:
    """A context manager that serves a handler of ``(server, socket)`` on a free port."""

    @asynccontextmanager
    async def start(
        handler: Callable[[Server, ServerConnection], Awaitable[None]] | str = "echo",
    ) -> AsyncIterator[Server]:
        named = {"echo": echo, "listen": listen, "bot": bot}
        server = Server(named[handler] if isinstance(handler, str) else handler)
        async with serve(server, "127.0.0.1", 0, compression=None) as listening:
            port = next(iter(listening.sockets)).getsockname()[1]
            server.url = f"ws://127.0.0.1:{port}/media"
            yield server

    return start
