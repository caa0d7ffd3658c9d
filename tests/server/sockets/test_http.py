"""What is used of uvicorn's HTTP protocol, over real sockets.

``H11Protocol`` is no public API of uvicorn's: these tests are the contract with it, and
``make versions`` runs them with older ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from mediaserver.server.sockets import http
from mediaserver.server.sockets.first_bytes import MAX_HEAD_BYTES
from mediaserver.server.sockets.http import HttpHost, make_app

PATIENCE_S = 20.0
HEALTHY = b'{"status":"ok","calls":3}'
Endpoint = Callable[[Request], Awaitable[Response]]


class Wellbeing:
    """Health as the routes ask for it."""

    draining = False
    is_able = True
    overload = ""
    n_calls = 3


class Running(NamedTuple):
    """A host that listens."""

    host: HttpHost
    port: int
    health: Wellbeing
    counts: list[str]


class Answer(NamedTuple):
    """One response."""

    status: int
    headers: dict[str, str]
    body: bytes


@asynccontextmanager
async def running(prefix: str = "", **endpoints: Endpoint) -> AsyncIterator[Running]:
    """Serve the health routes and ``/NAME`` for each endpoint."""
    routes = [Route(f"/{name}", each, methods=["GET", "POST"]) for name, each in endpoints.items()]
    health = Wellbeing()
    counts: list[str] = []
    host = HttpHost(make_app(health, lambda: False, routes, prefix), counts.append)
    listener = await asyncio.get_running_loop().create_server(
        lambda: host.protocol(None), "127.0.0.1", 0
    )
    async with asyncio.timeout(PATIENCE_S):
        async with listener:
            yield Running(host, listener.sockets[0].getsockname()[1], health, counts)
            await host.close()


async def answer(reader: asyncio.StreamReader) -> Answer:
    """Read one response: its length is told, or it ends with the connection."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:] if line)}
    length = headers.get("content-length")
    body = await (reader.read() if length is None else reader.readexactly(int(length)))
    return Answer(int(head[0].split()[1]), headers, body)


async def ask(running: Running, request: bytes) -> Answer:
    """Return the answer to one request on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    try:
        writer.write(request)
        return await answer(reader)
    finally:
        writer.close()


def get(path: str) -> bytes:
    """A request without a body."""
    return f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode()


async def size(request: Request) -> Response:
    """Say how long the body was."""
    return JSONResponse(len(await request.body()))


async def broken(_: Request) -> Response:
    """Fail."""
    raise ZeroDivisionError


async def test_health_is_told_at_root_and_behind_the_prefix() -> None:
    """200 while calls are taken, 503 otherwise, 426 where a WebSocket belongs, 404 elsewhere."""
    async with running("/voice") as server:
        for prefix in ("", "/voice"):
            assert (
                await ask(server, get(prefix + "/healthz"))
            ).body == b'{"status":"ok","calls":3}'
            assert (await ask(server, get(prefix + "/readyz"))).status == 200
        assert (await ask(server, get("/media"))).headers["upgrade"] == "websocket"
        assert (await ask(server, get("/media/token"))).status == 426
        assert (await ask(server, get("/nothing"))).status == 404
        server.health.is_able = False
        assert (await ask(server, get("/readyz"))).body == b'{"status":"no worker","calls":3}'
        server.health.draining = True
        refused = await ask(server, get("/readyz"))
    assert (refused.status, refused.body) == (503, b'{"status":"draining","calls":3}')


async def test_a_connection_carries_several_requests_also_in_one_segment() -> None:
    """Answered in order; nothing tells which server it is."""
    async with running(size=size) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        post = b"POST /size HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
        writer.write(post + get("/healthz") + post)
        answers = [await answer(reader) for _ in range(3)]
        assert [each.body for each in answers] == [b"3", HEALTHY, b"3"]
        assert not any("server" in each.headers for each in answers)
        writer.close()


async def test_a_body_longer_than_any_buffer_and_one_in_chunks_arrive_whole() -> None:
    """Reading stops while the application is slower, and goes on."""
    async with running(size=size) as server:
        n = 1 << 20
        head = f"POST /size HTTP/1.1\r\nHost: h\r\nContent-Length: {n}\r\n\r\n".encode()
        assert (await ask(server, head + bytes(n))).body == str(n).encode()
        chunked = b"POST /size HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert (await ask(server, chunked + b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")).body == b"3"


async def test_bad_requests_and_broken_applications_are_answered() -> None:
    """400 and 500, and the next connection is served."""
    async with running(broken=broken) as server:
        assert (await ask(server, b"\x16\x03\x01 this is no HTTP\r\n\r\n")).status == 400
        assert (await ask(server, get("/broken"))).status == 500
        assert (await ask(server, get("/healthz"))).status == 200


async def test_a_head_without_end_is_refused() -> None:
    """What comes behind the first request of a connection has the same cap as the first."""
    async with running() as server:
        endless = get("/healthz")[:-2] + b"X: " + b"a" * (MAX_HEAD_BYTES + 1)
        assert (await ask(server, get("/healthz"))).status == 200
        assert (await ask(server, endless)).status == 400


async def test_where_connections_are_too_many_the_oldest_gives_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So who comes is always answered."""
    monkeypatch.setattr(http, "MAX_CONNECTIONS", 3)
    async with running() as server:
        idle = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(3)]
        assert (await ask(server, get("/healthz"))).status == 200
        assert await idle[0][0].read() == b""
        for _, writer in idle:
            writer.close()


async def test_a_connection_ends_behind_its_last_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """The response says so; nothing is counted, as the peer may connect again."""
    monkeypatch.setattr(http, "MAX_REQUESTS", 3)
    async with running() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(get("/healthz") * 5)
        answers = [await answer(reader) for _ in range(3)]
        assert [each.body for each in answers] == [HEALTHY] * 3
        assert [each.headers.get("connection") for each in answers] == [None, None, "close"]
        assert await reader.read() == b""
        assert server.counts == []
        writer.close()


async def test_a_connection_that_asks_without_pause_is_closed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """429 is its last answer; it is counted and said; others are answered."""
    monkeypatch.setattr(http, "monotonic", lambda: 100.0)
    many = http.REQUESTS_PER_SECOND + 100
    async with running() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(get("/healthz") * many)
        statuses = []
        while not statuses or statuses[-1] == 200:
            statuses.append((await answer(reader)).status)
        assert statuses == [200] * http.REQUESTS_PER_SECOND + [429]
        with contextlib.suppress(ConnectionResetError):  # for what was not read
            assert await reader.read() == b""
        assert server.counts == ["refused_requests"]
        assert "was closed: it brought more than 500 HTTP requests in a second" in caplog.text
        assert (await ask(server, get("/healthz"))).status == 200
        writer.close()


async def test_webhooks_at_a_high_pace_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds a second for as long as a connection lives; then it ends without a loss."""
    clock = itertools.count(100.0, 1.0 / (http.REQUESTS_PER_SECOND - 1))
    monkeypatch.setattr(http, "monotonic", lambda: next(clock))
    async with running(size=size) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        post = b"POST /size HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
        for _ in range(http.MAX_REQUESTS):
            writer.write(post)
            assert (await answer(reader)).body == b"3"
        assert await reader.read() == b""
        assert server.counts == []
        writer.close()


async def test_a_connection_that_never_reads_is_closed_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is not waited for until it has taken its last answer."""
    monkeypatch.setattr(http, "monotonic", lambda: 100.0)
    monkeypatch.setattr(http, "REQUESTS_PER_SECOND", 1)
    monkeypatch.setattr(http, "LAST_RESPONSE_S", 0.1)

    async def large(_: Request) -> Response:
        return Response(bytes(16 << 20))

    async with running(large=large) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1)
        writer.write(get("/large") * 2)
        while not writer.transport.is_closing():  # what is written to a cut connection shows it
            writer.write(b"x")
            await asyncio.sleep(0.02)
        assert server.counts == ["refused_requests"]


async def test_a_connection_ends_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle one, and one that never ends its request; a response under way is written first."""
    monkeypatch.setattr(http, "CONNECTION_S", 0.2)
    monkeypatch.setattr(http, "LAST_RESPONSE_S", 5.0)
    may_end = asyncio.Event()

    async def slow(_: Request) -> Response:
        await may_end.wait()
        return PlainTextResponse("at last")

    async with running(slow=slow) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(get("/slow"))
        silent, silent_writer = await asyncio.open_connection("127.0.0.1", server.port)
        assert await silent.read() == b""
        may_end.set()
        assert (await answer(reader)).body == b"at last"
        assert await reader.read() == b""
        writer.close()
        silent_writer.close()


async def test_a_peer_that_never_reads_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its response cannot be written: its connection is aborted a while after its time."""
    monkeypatch.setattr(http, "CONNECTION_S", 0.1)
    monkeypatch.setattr(http, "LAST_RESPONSE_S", 0.2)
    ended = asyncio.Event()

    async def endless(_: Request) -> Response:
        async def body() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield bytes(65536)
                    await asyncio.sleep(0)
            finally:
                ended.set()

        return StreamingResponse(body())

    async with running(endless=endless) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(get("/endless"))
        await ended.wait()
        writer.transport.abort()


async def test_closing_waits_for_responses_and_cuts_the_rest() -> None:
    """One under way is written; idle connections end."""
    began, may_end = asyncio.Event(), asyncio.Event()

    async def slow(_: Request) -> Response:
        began.set()
        await may_end.wait()
        return PlainTextResponse("at last")

    async with running(slow=slow) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        idle, idle_writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(get("/slow"))
        await began.wait()
        closing = asyncio.create_task(server.host.close())
        assert await idle.read() == b""
        may_end.set()
        assert (await answer(reader)).body == b"at last"
        assert await reader.read() == b""
        await closing
        writer.close()
        idle_writer.close()
