"""A fake Telnyx, a client, a webhook receiver and a media server, all on loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from nacl.signing import SigningKey
from starlette.applications import Starlette
from websockets.asyncio.server import ServerConnection, serve

from mediaserver.carrier.rest.api import FakeTelnyx
from mediaserver.carrier.rest.habits import Habits
from mediaserver.carrier.rest.server import serving
from mediaserver.control import RetryPolicy, TelnyxClient, WebhookReceiver, webhook_route
from mediaserver.control.events import Event


class World:
    """A fake Telnyx, a webhook receiver and a media server that listens, all on loopback."""

    def __init__(self, fake: FakeTelnyx, client: TelnyxClient, media_url: str) -> None:
        self.fake = fake
        self.client = client
        self.actions = client.calls.actions
        self.media_url = media_url
        self.events: list[Event] = []
        self.messages: list[dict[str, Any]] = []
        self.headers: list[Any] = []
        self.paths: list[str] = []
        self._changed = asyncio.Event()

    def saw(self, event: Event) -> None:
        self.events.append(event)
        self._changed.set()

    async def take_media(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        self.headers.append(socket.request.headers)
        self.paths.append(socket.request.path)
        if "refuse" in socket.request.path:
            await socket.close(1008)
        async for message in socket:
            self.messages.append(json.loads(message))
            self._changed.set()

    def types(self) -> list[str]:
        return [event.event_type for event in self.events]

    def wire(self) -> list[str]:
        return [message["event"] for message in self.messages]

    async def until(self, check: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not check():
                self._changed.clear()
                await self._changed.wait()

    async def until_event(self, event_type: str, n: int = 1) -> Event:
        await self.until(lambda: self.types().count(event_type) >= n)
        return [event for event in self.events if event.event_type == event_type][n - 1]

    async def dialled(self, **options: Any) -> str:
        call = await self.client.calls.dial(connection_id="c", from_="+1", to="+2", **options)
        await self.until_event("call.answered")
        return call.call_control_id


@asynccontextmanager
async def world(policy: RetryPolicy | None = None, **settings: Any) -> AsyncIterator[World]:
    """All parts running, joined by real sockets."""
    settings.setdefault("habits", Habits(answer_after_s=0.0, transcript_every_s=0.01))
    key = SigningKey.generate()
    fake = FakeTelnyx(signing_key=key, **settings)
    receiver = WebhookReceiver([fake.public_key])
    held: list[World] = []

    async def take_media(socket: ServerConnection) -> None:
        await held[0].take_media(socket)

    async with (
        serving(Starlette(routes=[webhook_route(receiver)])) as hooks_url,
        serve(take_media, "127.0.0.1", 0) as media,
        fake,
        TelnyxClient(fake.api_key, base_url=fake.base_url, policy=policy) as client,
    ):
        fake.webhook_url = hooks_url + "/webhooks/telnyx"
        port = next(iter(media.sockets)).getsockname()[1]
        held.append(World(fake, client, f"ws://127.0.0.1:{port}/media"))
        receiver.on("*")(held[0].saw)
        yield held[0]
    await receiver.aclose()
