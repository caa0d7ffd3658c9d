"""The examples that speak with services, against stand-ins, called by the fake Telnyx."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from mediaserver.carrier import CallPlan, FakeCall
from mediaserver.testing import RealtimeService
from tests.examples.agents import KEYS, Talker, Where, heard_s, serving, tone, wav_of

GREETING_HZ, ANSWER_HZ, CLIP_HZ = 300, 600, 1000


async def inline_and_isolated(run: Callable[[Where], Coroutine[Any, Any, None]]) -> None:
    """Both at once: they wait for most of their time."""
    async with asyncio.TaskGroup() as both:
        both.create_task(run("none"))
        both.create_task(run("process"))


async def test_voice_agent(tmp_path: Path) -> None:
    """Greeting, answer, barge-in with what was heard told, a dead service: clip and hang-up."""
    clip = wav_of(tmp_path / "sorry.wav", tone(0.6, 8000, CLIP_HZ), 8000)

    async def run(where: Where) -> None:
        answers = [tone(0.8, 24_000, GREETING_HZ), tone(6.0, 24_000, ANSWER_HZ)]
        async with RealtimeService(answers, KEYS["OPENAI_API_KEY"]) as service:
            bot = {"url": service.url, "sorry": str(clip)}
            async with serving(where, "voice_agent.py:agent", **bot) as server:
                async with FakeCall.connect(server.url, CallPlan(seconds=60.0)) as call:
                    async with Talker(call) as caller:
                        await conversation(service, call, caller)

    await inline_and_isolated(run)


async def conversation(service: RealtimeService, call: FakeCall, caller: Talker) -> None:
    """What happens, second by second."""
    await call.wait_until(lambda: heard_s(call, GREETING_HZ) > 0.75, 20)
    await asyncio.sleep(0.4)  # its end is told by a mark
    await caller.say(0.6)
    await call.wait_until(lambda: heard_s(call, ANSWER_HZ) > 1.0, 20)
    await caller.say(0.4)
    await service.wait_until(lambda: service.truncations)
    (cut,) = service.truncations
    (clear,) = call.intake.ear.cuts
    assert clear.n_samples > 0
    heard_ms = 1000 * heard_s(call, ANSWER_HZ)
    assert abs(cut.heard_ms - heard_ms) <= 60, (cut, heard_ms)
    assert service.problems == []
    await service.stop()
    gone_s = call.now()
    await asyncio.wait_for(call.closed.wait(), 30)
    assert heard_s(call, CLIP_HZ) > 0.5
    assert call.record.close_code == 1000
    assert call.now() - gone_s < 20
