"""``StandIn``: a speech service on this machine, that does what a test wants; the base of all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Self
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

# A test's logs are about the test.
_quiet = logging.getLogger(f"{__name__}.websockets")
_quiet.setLevel(logging.CRITICAL)


class StandIn:
    """A speech service at ``ws://127.0.0.1``, on a free port: ``async with`` runs it.

    It checks each message that it is sent against the documented protocol.

    Args:
        key: the key that it accepts.

    Attributes:
        url: its address.
        problems: what was wrong with the messages that it was sent; a test asserts it is empty.
        n_connections: how many connections were ever made.
        queries: the parameters of each connection's URL.
        refuse_status: it refuses connections with this status; None: it accepts them.
        retry_after_s: the ``Retry-After`` of such a refusal.
        is_mute: it accepts everything and answers nothing.
    """

    path: str = "/"
    key_header: str = "Authorization"
    key_format: str = "Bearer {}"

    def __init__(self, key: str = "key-of-the-stand-in") -> None:
        self.key = key
        self.problems: list[str] = []
        self.n_connections: int = 0
        self.queries: list[dict[str, str]] = []
        self.refuse_status: int | None = None
        self.retry_after_s: int | None = None
        self.is_mute: bool = False
        self._server: Server | None = None
        self._live: set[ServerConnection] = set()
        self._changed = asyncio.Event()
        self._port = 0

    @property
    def url(self) -> str:
        """Without parameters."""
        return f"ws://127.0.0.1:{self._port}{self.path}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; behind ``stop()`` at the same port again."""
        self._server = await serve(
            self._hold,
            "127.0.0.1",
            self._port,
            process_request=self._judge,
            logger=_quiet,
            max_size=2**22,
            close_timeout=1,
        )
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """The service is gone: its connections are cut, and none can be made."""
        assert self._server is not None
        self._server.close(close_connections=False)
        self.cut()
        await self._server.wait_closed()

    def cut(self) -> None:
        """Cut all connections, without a word; new ones can be made."""
        for connection in self._live:
            connection.transport.abort()

    async def say(self, data: str | bytes) -> None:
        """Say something on all connections, which may be no message at all."""
        for connection in set(self._live):
            await connection.send(data)

    async def close(self, code: int, reason: str = "") -> None:
        """Close all connections with a code."""
        for connection in set(self._live):
            await connection.close(code, reason)

    async def wait_until(self, condition: Callable[[], object], within_s: float = 20.0) -> None:
        """Wait for something to be true of it; a TimeoutError where it does not become so."""
        async with asyncio.timeout(within_s):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    # What a stand-in is made of.

    async def talk(self, connection: ServerConnection) -> None:
        """Speak the protocol on one connection, to its end."""
        raise NotImplementedError

    def judge_query(self, query: dict[str, str]) -> list[str]:
        """What is wrong with the parameters of a URL."""
        return []

    def changed(self) -> None:
        """Something is new: for those who ``wait_until``."""
        self._changed.set()

    def wrong(self, *lines: str) -> None:
        """Note problems."""
        self.problems += lines
        self.changed()

    def _judge(self, connection: ServerConnection, request: Request) -> Response | None:
        """The handshake: status 401 without the key, 404 elsewhere."""
        parts = urlsplit(request.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if self.refuse_status is not None:
            refusal = connection.respond(HTTPStatus(self.refuse_status), "not now\n")
            if self.retry_after_s is not None:
                refusal.headers["Retry-After"] = str(self.retry_after_s)
            return refusal
        if parts.path != self.path:
            self.wrong(f"the path is {parts.path}, not {self.path}")
            return connection.respond(HTTPStatus.NOT_FOUND, "no such path\n")
        given = request.headers.get(self.key_header, "")
        if given != self.key_format.format(self.key):
            # As real ones do, it repeats what it was given.
            return connection.respond(HTTPStatus.UNAUTHORIZED, f"incorrect key: {given}\n")
        self.wrong(*self.judge_query(query))
        self.queries.append(query)
        return None

    async def _hold(self, connection: ServerConnection) -> None:
        self.n_connections += 1
        self._live.add(connection)
        self.changed()
        try:
            await self.talk(connection)
        except ConnectionClosed:
            pass
        finally:
            self._live.discard(connection)
            self.changed()
