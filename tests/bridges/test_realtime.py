from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mediaserver import Call, Interrupted
from mediaserver.bridges import Realtime, RealtimeSession, ServiceDownError, ServiceRefusedError
from mediaserver.testing import RealtimeService
from tests.bridges.on_call import QUICK, on_call
from tests.examples.agents import KEYS, Lag, heard_s, speak, tone

KEY = KEYS["OPENAI_API_KEY"]


def test_the_session_is_what_is_documented() -> None:
    """In the newer form."""
    session = RealtimeSession(instructions="Be brief.", voice="marin").update()
    assert session == {
        "type": "realtime",
        "instructions": "Be brief.",
        "output_modalities": ["audio"],
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "turn_detection": {
                    "type": "server_vad",
                    "create_response": True,
                    "interrupt_response": True,
                },
            },
            "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "marin"},
        },
    }


def test_further_fields_are_merged_into_it() -> None:
    """One deep inside replaces no other."""
    more = {"audio": {"input": {"turn_detection": None}}, "tools": []}
    session = RealtimeSession(more=more).update()
    assert session["audio"]["input"]["turn_detection"] is None
    assert session["audio"]["input"]["format"]["rate"] == 24000
    assert session["audio"]["output"]["voice"] == "marin"
    assert session["tools"] == []


def test_the_beta_has_its_own_form() -> None:
    """Flat, with names of formats."""
    session = RealtimeSession(dialect="beta", interrupted_by="barge_in", voice="alloy").update()
    assert session == {
        "modalities": ["audio", "text"],
        "voice": "alloy",
        "input_audio_format": "pcm16",
        "output_audio_format": "pcm16",
        "turn_detection": {
            "type": "server_vad",
            "create_response": True,
            "interrupt_response": False,
        },
    }


@pytest.mark.parametrize("dialect", ["ga", "beta"])
async def test_both_forms_are_spoken(dialect: Any) -> None:
    """Question and answer; all that was sent was as documented."""

    async def handle(call: Call) -> list[str]:
        session = RealtimeSession(url=service.url, dialect=dialect)
        async with Realtime(call, session, QUICK) as bot:
            return [event["type"] async for event in bot]

    async with RealtimeService([tone(0.3, 24_000)], KEY) as service, on_call(handle) as on:
        await speak(on.caller, 0.2)
        await on.call.wait_until(lambda: heard_s(on.call, 300) > 0.25, 20)
        await on.call.hang_up()
        kinds = await on.result()
        assert isinstance(kinds, list)
        assert kinds[:2] == ["session.created", "session.updated"]
        assert kinds[-1] == "response.done"
        assert service.problems == []
        assert service.queries == [{"model": "gpt-realtime"}]


@pytest.mark.parametrize("pace", [None, 1.5])
async def test_barge_in_of_the_call_itself(pace: float | None) -> None:
    """The service stops where it still speaks, and knows what was heard."""

    async def handle(call: Call) -> None:
        session = RealtimeSession(url=service.url, interrupted_by="barge_in")
        async with Realtime(call, session, QUICK) as bot:
            bot.create_response()
            async for _ in call.frames():
                if heard_s(on.call, 300) >= 0.6:
                    break
            # As ``barge_in`` does.
            heard = await call.clear()
            told: Any = call
            told.publish(Interrupted(0.6, tuple(heard.items())))
            await bot.finished()

    async with RealtimeService([tone(4.0, 24_000)], KEY) as service:
        service.pace = pace
        async with Lag() as lag, on_call(handle) as on:
            await service.wait_until(lambda: service.truncations)
            (cut,) = service.truncations
            off_ms = abs(cut.heard_ms - 1000 * heard_s(on.call, 300))
            assert off_ms <= 40 + lag.most_ms
            expected = ["session.update", "response.create"]
            expected += ["response.cancel"] if pace else []
            expected.append("conversation.item.truncate")
            await service.wait_until(lambda: len(service.events) == len(expected))
            # Which of the last two is first is a matter of when the next piece of audio comes.
            assert sorted(event["type"] for event in service.events) == sorted(expected)
            assert service.problems == []


async def test_an_answer_that_a_lost_connection_took_is_asked_for_again() -> None:
    """With the same instructions: the caller is not left in silence."""
    async with (
        RealtimeService([tone(0.3, 24_000)], KEY) as service,
        on_call(greeted(service)) as on,
    ):
        service.delay_s = 0.3
        await service.wait_until(lambda: len(service.events) == 2)
        service.cut()
        await on.call.wait_until(lambda: heard_s(on.call, 300) > 0.25, 20)
        asked = [event for event in service.events if event["type"] == "response.create"]
        greet = {"type": "response.create", "response": {"instructions": "Greet the caller."}}
        assert asked == [greet, greet]


async def test_an_answer_that_failed_is_asked_for_once_more() -> None:
    """The second one is heard."""

    async with RealtimeService([tone(0.3, 24_000)], KEY) as service:
        service.fail_codes = ["rate_limit_exceeded"]
        async with on_call(greeted(service)) as on:
            await on.call.wait_until(lambda: heard_s(on.call, 300) > 0.25, 20)
            assert service.problems == []


@pytest.mark.parametrize(
    ("codes", "error"),
    [
        (["server_error", "server_error"], ServiceDownError),
        (["insufficient_quota"], ServiceRefusedError),
    ],
)
async def test_answers_that_keep_failing_are_a_service_that_is_down(
    codes: list[str], error: type[Exception]
) -> None:
    """Twice in a row; where there is no money left, at once."""
    async with RealtimeService([tone(0.3, 24_000)], KEY) as service:
        service.fail_codes = codes
        async with on_call(greeted(service)) as on:
            with pytest.raises(error):
                await on.result()


def greeted(service: RealtimeService) -> Any:
    """A handler whose service speaks first."""

    async def handle(call: Call) -> None:
        async with Realtime(call, RealtimeSession(url=service.url), QUICK) as bot:
            bot.create_response("Greet the caller.")
            await bot.finished()

    return handle


async def test_an_answer_cut_by_a_lost_connection_is_heard_as_far_as_it_came() -> None:
    """And the next answer is not queued behind one that never ends."""
    answers = [tone(3.0, 24_000), tone(0.3, 24_000, 600)]
    async with RealtimeService(answers, KEY) as service, on_call(greeted(service)) as on:
        service.pace = 1.0
        await on.call.wait_until(lambda: heard_s(on.call, 300) > 0.3, 20)
        service.cut()
        await service.wait_until(lambda: service.n_connections == 2)
        await speak(on.caller, 0.2)
        await on.call.wait_until(lambda: heard_s(on.call, 600) > 0.25, 20)
        assert np.abs(heard_s(on.call, 300)) < 2.0
