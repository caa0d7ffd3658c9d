"""The media server in a web application of the user's own: real hosts, real calls."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from mediaserver import ConfigurationError, MediaServer, Settings, asgi
from mediaserver.asgi import MediaApp
from mediaserver.asgi.socket import AsgiSocket
from mediaserver.carrier import CallPlan, FakeCall, place_call
from mediaserver.carrier.messages import TOKEN_HEADER, ClearIn
from mediaserver.carrier.rest.api import FakeTelnyx
from mediaserver.carrier.rest.habits import Habits
from mediaserver.server.sockets.media_socket import Pings
from mediaserver.settings import ProcessorSetting
from tests.asgi.hosting import HOSTS, HostName, hosted
from tests.server.conftest import bot
from tests.server.watching import seen, soon

ROOT = Path(__file__).parents[2]
under = pytest.mark.parametrize("host", HOSTS)
KEY = "KEY-of-the-mount"


def media(*processors: str | ProcessorSetting, **more: Any) -> MediaApp:
    chain = tuple(ProcessorSetting(p) if isinstance(p, str) else p for p in processors)
    defaults = {"backlog_ms": 30_000, "catch_up": False, "reconnect_grace_s": 0}
    return asgi.app(Settings(processors=chain, **{**defaults, **more}))


@asynccontextmanager
async def mounted(app: MediaApp, host: HostName) -> AsyncIterator[str]:
    """In a FastAPI application that has a route of its own; the URL of its root."""
    web = FastAPI(lifespan=app.lifespan)
    web.get("/hello")(lambda: "hello")
    web.mount("/telnyx", app)
    async with hosted(web, host) as port:
        yield f"http://127.0.0.1:{port}"


def is_cleared(call: FakeCall) -> bool:
    return any(isinstance(each.command, ClearIn) for each in call.received)


def stream_url(root: str, path: str = "/telnyx/media") -> str:
    return f"ws{root.removeprefix('http')}{path}"


@under
async def test_a_call_is_echoed_beside_the_users_routes(host: HostName) -> None:
    """All audio comes back, in order and bit for bit; HTTP is served by whom it is for."""
    app = media("echo")
    async with mounted(app, host) as root, httpx.AsyncClient() as client:
        plan = CallPlan(seconds=1.0, linger_s=20)
        report = await place_call(stream_url(root), plan)
        assert (await client.get(f"{root}/hello")).json() == "hello"
        assert (await client.get(f"{root}/telnyx/healthz")).json() == {"status": "ok", "calls": 0}
        assert (await client.get(f"{root}/telnyx/readyz")).status_code == 200
        assert (await client.get(f"{root}/telnyx/media")).status_code == 426
        assert (await client.get(f"{root}/telnyx/nothing")).status_code == 404
        await soon(lambda: app.server.service.n_connections == 0, 20)
    assert (report.error, report.returned, report.lost) == (None, 50, 0)
    assert report.close_code == 1000


@under
async def test_plays_marks_and_clear(host: HostName) -> None:
    """A bot that uses only ``Call`` runs unchanged: its menu is heard, a key silences it."""
    clip = str(ROOT / "mediaserver/carrier/speech.wav")
    prompt = ProcessorSetting(f"{ROOT}/examples/prompt_bot.py:menu", {"prompt": clip})
    app = media(prompt)
    async with mounted(app, host) as root:
        async with FakeCall.connect(stream_url(root), CallPlan(seconds=5)) as call:
            await call.wait_until(lambda: call.intake.ear.n_fed > 0, 30)
            await call.press("1")
            await call.wait_until(lambda: is_cleared(call), 30)
        await soon(lambda: app.server.service.n_calls == 0, 20)


@under
async def test_a_second_socket_takes_a_call_over(host: HostName) -> None:
    """The call goes on in the same session."""
    app = media("echo", bot("events"), reconnect_grace_s=30)
    async with mounted(app, host) as root:
        plan = CallPlan(seconds=1.5, reconnect_at_s=0.7, linger_s=1)
        await place_call(stream_url(root), plan)
        await soon(lambda: app.server.service.n_calls == 0, 30)
    names = [type(event).__name__ for event in seen(plan)]
    assert names[-2:] == ["Reconnected", "Stop"]


@under
async def test_webhooks_commands_and_streams(host: HostName) -> None:
    """An incoming call is answered with a stream to the mount; its hang-up reaches the bot."""
    async with FakeTelnyx(api_key=KEY, habits=Habits(answer_after_s=0.0)) as fake:
        web = Starlette()
        async with hosted(web, host) as port:
            public_url = f"http://127.0.0.1:{port}/telnyx"
            app = media(
                "echo",
                public_url=public_url,
                api_key=KEY,
                api_base_url=fake.base_url,
                public_keys=fake.public_key,
                auth_token="secret",
                answer=True,
            )
            web.routes.append(Mount("/telnyx", app))
            async with app.lifespan():
                fake.webhook_url = f"{public_url}/webhooks/telnyx"
                call = fake.ring()
                await soon(lambda: app.server.service.n_calls == 1, 30)
                await soon(lambda: call.stream is not None, 20)
                call.hang_up()
                await soon(lambda: app.server.service.n_calls == 0, 30)
                assert app.server.webhooks is not None
                assert app.server.webhooks.counts["accepted"] >= 3
                await asyncio.gather(*(each.aclose() for each in fake.calls.values()))
                await fake.webhooks.flush()


@under
async def test_refusals(host: HostName) -> None:
    """A wrong token, a page from elsewhere and a path that is none are refused before the call."""
    app = media("echo", auth_token="right")
    async with mounted(app, host) as root:
        for path, headers, status in (
            ("/telnyx/media", {TOKEN_HEADER: "wrong"}, 401),
            ("/telnyx/media", {"Origin": "https://evil.example"}, 403),
            ("/telnyx/nothing", {}, 404),
        ):
            with pytest.raises(InvalidStatus) as caught:
                await connect(stream_url(root, path), additional_headers=headers)
            assert caught.value.response.status_code in (status, 403), path
        report = await place_call(stream_url(root), CallPlan(seconds=0.2, token="right"))
        assert report.error is None
        counters = app.server.service.counters
    assert (counters["refused_token"], counters["refused_origin"]) == (1, 1)


@under
async def test_bad_messages_cost_themselves(host: HostName) -> None:
    """Binary, rubbish and what is too long: counted; only the last ends the socket, with 1009."""
    app = media("echo")
    async with mounted(app, host) as root:
        async with connect(stream_url(root), ping_interval=None) as socket:
            await socket.send(b"\x00\x01")
            await socket.send("{")
            await socket.send(json.dumps({"event": "connected", "version": "1.0.0"}))
            await soon(lambda: app.server.service.counters["refused.not_json"] == 1, 20)
            await socket.send("x" * 200_000)
            with pytest.raises(ConnectionClosed) as caught:
                await socket.recv()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1009
        assert app.server.service.counters["refused.binary"] == 1
        await soon(lambda: app.server.service.n_connections == 0, 20)


@under
async def test_an_abrupt_end_is_noticed(host: HostName) -> None:
    """The call whose socket was cut is over, as its grace is 0."""
    app = media("echo")
    async with mounted(app, host) as root:
        call = FakeCall.connect(stream_url(root), CallPlan(seconds=5))
        async with call:
            await soon(lambda: app.server.service.n_calls == 1, 20)
            call.cut()
            await soon(lambda: app.server.service.n_calls == 0, 20)


@under
async def test_by_itself_with_the_hosts_lifespan(host: HostName) -> None:
    """Served as the application itself it starts and ends with its host."""
    app = media("echo")
    async with hosted(app, host) as port:
        report = await place_call(f"ws://127.0.0.1:{port}/media", CallPlan(seconds=0.2))
        assert report.error is None
        assert app.server.service.port == port
    assert app.server.service.draining


@under
async def test_without_a_lifespan_it_starts_with_the_first_request(host: HostName) -> None:
    """Mounted where nobody tells it: calls are carried all the same; it is ended by ``aclose``."""
    app = media("echo")
    web = Starlette(routes=[Mount("/telnyx", app)])
    async with hosted(web, host) as port:
        url = f"ws://127.0.0.1:{port}/telnyx/media"
        reports = await asyncio.gather(*(place_call(url, CallPlan(seconds=0.2)) for _ in range(3)))
        assert [report.error for report in reports] == [None] * 3
        await app.aclose()
        await app.aclose()


@under
async def test_the_hosts_end_ends_the_calls(host: HostName) -> None:
    """Handlers get their ``Stop``, and no task is left behind."""
    app = media(bot("events"), "echo")
    plan = CallPlan(seconds=60)
    async with mounted(app, host) as root:
        call = asyncio.create_task(place_call(stream_url(root), plan))
        await soon(lambda: app.server.service.n_calls == 1, 30)
    await call
    assert app.server.service.n_calls == 0
    assert type(seen(plan)[-1]).__name__ == "Stop"
    left = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert not [name for name in left if name.startswith(("events", "echo", "end of"))]


async def test_a_slow_peer_blocks_its_call_alone() -> None:
    """What is queued for it is bounded: its playout waits, and goes on behind that."""
    sent: list[dict[str, Any]] = []
    gate = asyncio.Event()
    incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    blocked: list[bool] = []

    class Noted:
        may_be_silent_s = None

        def opened(self, socket: Any) -> None:
            self.socket = socket

        def writing_blocked(self, is_blocked: bool) -> None:
            blocked.append(is_blocked)

        def closing(self) -> None:
            pass

        def socket_closed(self, code: int, reason: str) -> None:
            self.end = code, reason

    async def send(message: Any) -> None:
        sent.append(message)
        if message["type"] == "websocket.send":
            await gate.wait()

    connection: Any = Noted()
    socket = AsgiSocket(connection, None, incoming.get, send, Pings())
    running = asyncio.create_task(socket.run())
    await soon(lambda: hasattr(connection, "socket"))
    for _ in range(40):
        socket.send_text(b"x" * 10_000)
    assert blocked == [True]
    gate.set()
    await soon(lambda: blocked == [True, False])
    socket.close(1000, "done")
    await soon(lambda: sent[-1]["type"] == "websocket.close")
    await incoming.put({"type": "websocket.disconnect", "code": 1000})
    await running
    assert connection.end == (1000, "done")


def test_workers_are_refused() -> None:
    """The mount carries its calls in the host's process."""
    with pytest.raises(ConfigurationError, match="workers must be 1"):
        asgi.app(Settings(workers=2))


def test_it_is_made_of_the_same_server() -> None:
    """Webhook handlers and the control client are the server's."""
    app = asgi.app(Settings(api_key="KEY"))
    assert isinstance(app.server, MediaServer)
    assert app.server.client is not None
