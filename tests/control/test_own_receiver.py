"""A receiver of webhooks in a web application of the user's own, and the calls of its server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette

from mediaserver import MediaServer, ProcessorSetting, Settings, WebhookReceiver, webhook_route
from mediaserver.carrier.rest.api import FakeTelnyx
from mediaserver.carrier.rest.habits import Habits
from mediaserver.carrier.rest.server import serving
from mediaserver.control.events import Event
from tests.control.test_end_to_end import KEY, World
from tests.control.test_from_a_bot import bot, in_both, written
from tests.ports import free_port
from tests.server.watching import soon
from tests.server.workers.crews import status


@asynccontextmanager
async def own_application(fake: FakeTelnyx, receiver: WebhookReceiver) -> AsyncIterator[None]:
    """The user's web application, where Telnyx delivers to."""
    async with serving(Starlette(routes=[webhook_route(receiver, "/hooks")])) as url:
        fake.webhook_url = f"{url}/hooks"
        yield


def settings_of(fake: FakeTelnyx, *processors: ProcessorSetting, workers: int = 1) -> Settings:
    port = free_port()
    return Settings(
        port=port,
        public_url=f"http://127.0.0.1:{port}",
        processors=processors,
        workers=workers,
        auth_token="secret",
        api_key=KEY,
        api_base_url=fake.base_url,
        answer=True,
        auto_restart=True,
    )


@in_both
async def test_its_webhooks_reach_the_bots(tmp_path: Path, workers: int) -> None:
    """Events of a call come to ``call.events()``, and incoming calls are answered by it."""
    habits = Habits(answer_after_s=0.0, s_per_character=0.01)
    async with FakeTelnyx(api_key=KEY, habits=habits) as fake:
        receiver = WebhookReceiver([fake.public_key])
        settings = settings_of(fake, bot("story", tmp_path), workers=workers)
        async with (
            own_application(fake, receiver),
            MediaServer(settings, webhooks=receiver) as server,
        ):
            w = World(fake, server)
            assert w.server.webhooks is receiver
            fake.ring()
            assert "SpeakEnded completed b'\\xff'" in await written(tmp_path)
            await w.until_event("call.hangup")
            assert await status(server, "/webhooks/telnyx") == 404, "it serves none itself"
            await asyncio.gather(*(call.aclose() for call in fake.calls.values()))
            await fake.webhooks.flush()
        await receiver.aclose()


async def test_a_receiver_outlives_its_server() -> None:
    """A closed server hears no more; handlers of the user's own, and a next server, do."""
    seen: list[str] = []
    habits = Habits(answer_after_s=0.0)
    async with FakeTelnyx(api_key=KEY, habits=habits) as fake:
        receiver = WebhookReceiver([fake.public_key])

        @receiver.on("*")
        def see(event: Event) -> None:
            seen.append(event.event_type)

        async with own_application(fake, receiver):
            for n in (1, 2):
                settings = settings_of(fake, ProcessorSetting("echo"))
                async with MediaServer(settings, webhooks=receiver):
                    fake.ring()
                    await soon(lambda n=n: seen.count("streaming.started") == n, 20)  # type: ignore[misc]  # its n
                assert [h for hs in receiver._handlers.values() for h in hs] == [see]
                await asyncio.gather(*(call.aclose() for call in fake.calls.values()))
            await fake.webhooks.flush()
            assert [c.command for c in fake.commanded].count("answer") == 2
            assert receiver.counts["handler_failed"] == 0
        await receiver.aclose()


async def test_without_any_receiver_there_is_none() -> None:
    """As before: no key, none given."""
    async with MediaServer(Settings(port=0)) as server:
        assert server.webhooks is None


def test_off_forgets_a_handler() -> None:
    """For each type that it was registered for; a stranger is no error."""
    receiver = WebhookReceiver(["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="])
    seen: list[Event] = []
    for event_type in ("call.hangup", "*"):
        receiver.on(event_type)(seen.append)
    receiver.off(seen.append)
    receiver.off(print)
    assert not any(receiver._handlers.values())
