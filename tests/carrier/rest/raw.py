"""The fake Telnyx, spoken to by plain HTTP: nothing of the project's client is in here."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from mediaserver.carrier.rest.api import FakeTelnyx
from mediaserver.carrier.rest.calls import PhoneCall
from mediaserver.carrier.rest.habits import Habits
from mediaserver.carrier.rest.server import serving

DIAL = {"connection_id": "1494404757140276705", "from": "+13122010094", "to": "+13122123456"}


class Raw:
    """A fake Telnyx, who takes its webhooks as they come, and a media server that listens.

    Attributes:
        fake: the one under test.
        deliveries: headers and exact body of every webhook.
        wire: the events of every media message, in order.
        closed: the close code of every media socket that is gone.
        media_url: of the media server.
        sends: what the media server says to each ``start``.
    """

    def __init__(self, fake: FakeTelnyx, http: httpx.AsyncClient) -> None:
        self.fake = fake
        self.deliveries: list[tuple[httpx.Headers, bytes]] = []
        self.wire: list[str] = []
        self.closed: list[int | None] = []
        self.media_url = ""
        self.sends: list[str] = []
        self._http = http
        self._changed = asyncio.Event()

    async def post(self, path: str, body: Any, key: str | None = None) -> tuple[int, Any]:
        """Status and JSON of one request."""
        key = self.fake.api_key if key is None else key
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        url, headers = self.fake.base_url + path, {"authorization": f"Bearer {key}"}
        reply = await self._http.post(url, content=content, headers=headers)
        return reply.status_code, reply.json()

    async def act(self, call: str, action: str, **body: Any) -> Any:
        """An action that is carried out."""
        status, answer = await self.post(f"/calls/{call}/actions/{action}", body)
        assert (status, answer) == (200, {"data": {"result": "ok"}})

    async def refused(self, call: str, action: str, **body: Any) -> tuple[int, str]:
        """Status and code of an action that is refused."""
        status, answer = await self.post(f"/calls/{call}/actions/{action}", body)
        return status, answer["errors"][0]["code"]

    async def dial(self, **more: Any) -> str:
        """The call_control_id of a call that is being set up."""
        status, answer = await self.post("/calls", DIAL | more)
        assert status == 200
        call: str = answer["data"]["call_control_id"]
        return call

    async def dialled(self, **more: Any) -> str:
        """A call that is answered."""
        call = await self.dial(**more)
        await self.until_event("call.answered")
        return call

    def call(self, call: str) -> PhoneCall:
        """The fake's own side of a call."""
        return self.fake.calls[call]

    def bodies(self) -> list[dict[str, Any]]:
        """Every webhook's body so far."""
        return [json.loads(body) for _, body in self.deliveries]

    def types(self) -> list[str]:
        """Every webhook's type so far."""
        return [body.get("data", body)["event_type"] for body in self.bodies()]

    async def until(self, check: Callable[[], bool]) -> None:
        """Return once ``check()`` holds; looked at when something comes."""
        async with asyncio.timeout(10):
            while not check():
                self._changed.clear()
                await self._changed.wait()

    async def until_event(self, event_type: str, n: int = 1) -> dict[str, Any]:
        """The payload of the n-th webhook of a type, once it is there."""
        await self.until(lambda: self.types().count(event_type) >= n)
        found = [b.get("data", b) for b in self.bodies()]
        event = [each for each in found if each["event_type"] == event_type][n - 1]
        payload: dict[str, Any] = event["payload"]
        return payload

    async def take_webhook(self, request: Request) -> Response:
        headers = httpx.Headers(request.headers.raw)
        self.deliveries.append((headers, await request.body()))
        self._changed.set()
        return PlainTextResponse("OK")

    async def take_media(self, socket: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            async for message in socket:
                event = json.loads(message)["event"]
                self.wire.append(event)
                self._changed.set()
                if event == "start":
                    for text in self.sends:
                        await socket.send(text)
        self.closed.append(socket.close_code)
        self._changed.set()


@asynccontextmanager
async def raw(**settings: Any) -> AsyncIterator[Raw]:
    """All of it running."""
    settings.setdefault("habits", Habits(answer_after_s=0.0, transcript_every_s=0.01))
    held: list[Raw] = []

    async def webhook(request: Request) -> Response:
        return await held[0].take_webhook(request)

    async def media(socket: ServerConnection) -> None:
        await held[0].take_media(socket)

    async with (
        serving(Starlette(routes=[Route("/hooks", webhook, methods=["POST"])])) as hooks_url,
        serve(media, "127.0.0.1", 0) as media_server,
        httpx.AsyncClient(trust_env=False) as http,
        FakeTelnyx(webhook_url=hooks_url + "/hooks", **settings) as fake,
    ):
        held.append(Raw(fake, http))
        port = next(iter(media_server.sockets)).getsockname()[1]
        held[0].media_url = f"ws://127.0.0.1:{port}/media"
        yield held[0]
