"""What every bridge does: connect, again and again, up to an end; here over the stand-ins."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import numpy as np
import pytest

from mediaserver import Call, ConfigurationError
from mediaserver.bridges import (
    AudioSocket,
    Realtime,
    RealtimeSession,
    ServiceDownError,
    ServiceRefusedError,
)
from mediaserver.testing import RealtimeService
from tests.bridges.on_call import QUICK, on_call
from tests.examples.agents import KEYS, heard_s, speak, tone

KEY = KEYS["OPENAI_API_KEY"]
ANSWER = [tone(0.3, 24_000)]


def talking(service: RealtimeService, **session: Any) -> Any:
    """A handler that talks with a service to the end of its call."""

    async def handle(call: Call) -> str:
        made = RealtimeSession(url=service.url, **session)
        async with Realtime(call, made, QUICK) as bot:
            await bot.finished()
        return "over"

    return handle


async def test_the_callers_audio_reaches_the_service_whole() -> None:
    """At the service's rate, and the connection is closed with the call."""
    async with RealtimeService(ANSWER, KEY) as service, on_call(talking(service)) as on:
        await speak(on.caller, 0.2)
        await on.call.wait_until(lambda: heard_s(on.call, 300) > 0.25, 20)
        await on.call.hang_up()
        assert await on.result() == "over"
        heard = np.concatenate(service.heard)
        loud = np.abs(heard.astype(np.int32)) > 4000
        assert 0.1 < np.count_nonzero(loud) / 24_000 < 0.25
        assert service.problems == []
        assert service.n_connections == 1
        assert on.counted("bridge_lost") == 0


async def test_what_is_said_while_there_is_no_connection_is_sent_later() -> None:
    """The pre-roll: a service that comes late hears the question."""
    service = RealtimeService(ANSWER, KEY)
    await service.start()
    await service.stop()
    async with on_call(talking(service)) as on:
        await speak(on.caller, 0.2)
        await service.start()
        try:
            await on.call.wait_until(lambda: heard_s(on.call, 300) > 0.25, 20)
        finally:
            await service.stop()
        assert on.counted("bridge_lost") > 0


async def test_a_lost_connection_is_made_again() -> None:
    """The next question is answered, and the settings went first again."""
    async with RealtimeService(ANSWER, KEY) as service, on_call(talking(service)) as on:
        await service.wait_until(lambda: service.heard)
        service.cut()
        await service.wait_until(lambda: service.n_connections == 2)
        await speak(on.caller, 0.2)
        await on.call.wait_until(lambda: heard_s(on.call, 300) > 0.25, 20)
        assert [event["type"] for event in service.events] == ["session.update"] * 2
        assert on.counted("bridge_lost") == 1


async def test_a_refused_key_is_no_reason_to_try_again(caplog: pytest.LogCaptureFixture) -> None:
    """Nor does the key stand in what is told, though the service repeats it."""
    caplog.set_level(logging.DEBUG)
    async with RealtimeService(ANSWER, "another key") as service, on_call(talking(service)) as on:
        with pytest.raises(ServiceRefusedError, match="status 401") as refused:
            await on.result()
        assert KEY not in str(refused.value)
        assert (on.counted("bridge_refused"), on.counted("bridge_lost")) == (1, 0)
    assert KEY not in caplog.text
    assert f"Bearer {KEY}" not in "".join(record.getMessage() for record in caplog.records)


async def test_too_many_requests_are_tried_again_when_asked() -> None:
    """429 with ``Retry-After``: later, in as many seconds; for too long it is given up."""
    async with RealtimeService(ANSWER, KEY) as service:
        service.refuse_status, service.retry_after_s = 429, 30
        async with on_call(talking(service)) as on:
            with pytest.raises(ServiceDownError, match="status 429"):
                await on.result()
            assert on.counted("bridge_down") == 1
        service.retry_after_s = 0
        async with on_call(talking(service)) as on:
            await asyncio.sleep(0.1)
            service.refuse_status = None
            await service.wait_until(lambda: service.n_connections == 1)


async def test_a_service_that_is_connected_but_says_nothing_is_down() -> None:
    """It has heard a question, and does not answer."""
    async with RealtimeService(ANSWER, KEY) as service, on_call(asking(service)) as on:
        service.is_mute = True
        with pytest.raises(ServiceDownError, match="does not answer"):
            await on.result()


def asking(service: RealtimeService) -> Any:
    """A handler whose service is to speak first; it waits for something else meanwhile."""

    async def handle(call: Call) -> None:
        async with Realtime(call, RealtimeSession(url=service.url), QUICK) as bot:
            bot.create_response("Greet the caller.")
            await asyncio.Event().wait()

    return handle


GARBAGE: list[str | bytes] = ["no JSON", "[]", b"\xff\xfe", '{"type":"response.audio.delta"}']


async def test_garbage_is_left_out_and_counted() -> None:
    """The call goes on; where nothing else comes, it is no such service."""
    async with RealtimeService(ANSWER, KEY) as service, on_call(talking(service)) as on:
        await service.wait_until(lambda: service.heard)
        for garbage in GARBAGE:
            await service.say(garbage)
        await speak(on.caller, 0.2)
        await on.call.wait_until(lambda: heard_s(on.call, 300) > 0.25, 20)
        assert on.counted("bridge_odd") == len(GARBAGE)
        for garbage in GARBAGE * 5:
            await service.say(garbage)
        with pytest.raises(ServiceDownError, match="cannot be read"):
            await on.result()


async def test_other_ends_of_the_block_are_what_they_are() -> None:
    """An error of the handler's own, and a cancellation from elsewhere, are not changed."""
    async with RealtimeService(ANSWER, KEY) as service:

        async def fail(call: Call) -> None:
            async with Realtime(call, RealtimeSession(url=service.url), QUICK):
                raise KeyError("mine")

        async def be_cancelled(call: Call) -> str:
            async with Realtime(call, RealtimeSession(url=service.url), QUICK):
                try:
                    async with asyncio.timeout(0.1):
                        await asyncio.Event().wait()
                except TimeoutError:
                    return "in time"
            return "not at all"

        async with on_call(fail) as on:
            with pytest.raises(KeyError, match="mine"):
                await on.result()
        async with on_call(be_cancelled) as on:
            assert await on.result() == "in time"


async def test_without_a_key_it_says_which_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is sent."""

    async def handle(call: Call) -> None:
        monkeypatch.delenv("OPENAI_API_KEY")
        Realtime(call, RealtimeSession())

    async with on_call(handle) as on:
        with pytest.raises(ConfigurationError, match="OPENAI_API_KEY is not set"):
            await on.result()


async def test_a_url_that_is_none_is_a_wrong_setting() -> None:
    """And not one more thing to try again."""

    async def handle(call: Call) -> None:
        async with Realtime(call, RealtimeSession(url="https://api.example.com"), QUICK) as bot:
            await bot.finished()

    async with on_call(handle) as on:
        with pytest.raises(ConfigurationError, match="is no URL of a WebSocket"):
            await on.result()


async def test_a_service_of_your_own_is_a_few_lines() -> None:
    """Raw octets at a rate, JSON back; what is too old for its queue goes, and is counted."""

    class Own(AudioSocket):
        service = "own service"

    async def handle(call: Call) -> float:
        limits = QUICK._replace(queue_s=0.2)
        own = Own(call, "ws://127.0.0.1:9/", {}, "canary", rate=16_000, limits=limits)
        with pytest.raises(ServiceDownError, match="own service: no connection"):
            async with own:
                await own.finished()
        return own.dropped_s

    async with on_call(handle) as on:
        dropped_s = await on.result()
        assert isinstance(dropped_s, float)
        assert 0.1 < dropped_s < 20
        assert on.counted("bridge_audio_dropped") > 5


async def test_an_error_of_a_subclass_reaches_the_handler() -> None:
    """Whether it is made of what it sends or of what it reads."""

    class Sends(Realtime):
        def encode(self, samples: Any) -> str:
            raise KeyError("sent")

    class Reads(Realtime):
        async def received(self, message: dict[str, Any]) -> None:
            raise KeyError("read")

    async with RealtimeService(ANSWER, KEY) as service:
        for kind, told in ((Sends, "sent"), (Reads, "read")):

            async def handle(call: Call, kind: type[Realtime] = kind) -> None:
                async with kind(call, RealtimeSession(url=service.url), QUICK):
                    await asyncio.Event().wait()

            async with on_call(handle) as on:
                with pytest.raises(KeyError, match=told):
                    await on.result()
