"""Digits: ahead of the prompt, during it and behind it, and what ends them; with real calls."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest

from mediaserver import CallEndedError, Digits, gather
from mediaserver.carrier import CallPlan, FakeCall
from mediaserver.settings import ProcessorSetting
from tests.server.conftest import Serving, serving
from tests.server.playbots import HELD, call_of, level
from tests.server.watching import soon

__all__ = ["serving"]
BOT = f"{Path(__file__).parent / 'menu_bot.py'}:menu"


def plan() -> CallPlan:
    """One whose ear hears 8 kHz as it is."""
    return CallPlan(send_codec="L16", send_rate_hz=8000)


async def pressed(fake: FakeCall, call: Any, keys: str) -> None:
    """Press keys, and wait until all have come."""
    n_before = len(call.pressed)
    for key in keys:
        await fake.press(key)
    await soon(lambda: len(call.pressed) >= n_before + len(keys), 10)


@pytest.mark.parametrize(
    ("keys", "options", "digits", "reason", "left"),
    [
        ("1234", {"digits": 4}, "1234", "digits", ""),
        ("123456", {"digits": 4}, "1234", "digits", "56"),
        ("12#3", {"digits": 4}, "12", "terminator", "3"),
        ("#1", {}, "", "terminator", "1"),
        ("1*2", {"terminator": "#*"}, "1", "terminator", "2"),
        ("1#2", {"terminator": "", "digits": 3}, "1#2", "digits", ""),
        ("12", {"digits": 4, "between_s": 0.05}, "12", "timeout", ""),
        ("", {"digits": 4, "timeout_s": 0.05}, "", "timeout", ""),
        ("12", {"fresh": True, "timeout_s": 0.05}, "", "timeout", ""),
    ],
)
async def test_keys_from_before_count(
    serving: Serving, keys: str, options: dict[str, Any], digits: str, reason: str, left: str
) -> None:
    """As far as they are wanted; the rest is for the next one, and the prompt is not played."""
    of = plan()
    async with serving(HELD) as server, FakeCall.connect(server.url, of) as fake:
        call = await call_of(of)
        await pressed(fake, call, keys)
        prompt = level(100, 8000, 0.1) if reason == "digits" else None
        found = await asyncio.wait_for(gather(call, prompt, **options), 10)
        assert (found, found.reason) == (digits, reason)
        assert isinstance(found, Digits)
        assert "".join(call.pressed) == left
        assert fake.intake.ear.n_fed == 0


async def test_a_key_clears_the_prompt(serving: Serving) -> None:
    """Nothing is heard behind it; what follows is gathered."""
    of = plan()
    async with serving(HELD) as server, FakeCall.connect(server.url, of) as fake:
        call = await call_of(of)
        gathering = asyncio.ensure_future(gather(call, level(100, 8000, 20.0), 8000, digits=2))
        await fake.wait_until(lambda: fake.intake.ear.n_fed > 800, 10)
        await fake.press("4")
        await fake.wait_until(lambda: bool(fake.intake.ear.cuts), 10)
        await fake.press("2")
        assert await asyncio.wait_for(gathering, 10) == "42"
        assert fake.intake.ear.n_fed < 8000 * 10


async def test_without_barge_in_the_prompt_is_heard(serving: Serving) -> None:
    """To its end, also where all digits were there before it."""
    of = plan()
    async with serving(HELD) as server, FakeCall.connect(server.url, of) as fake:
        call = await call_of(of)
        await pressed(fake, call, "1")
        gathering = gather(call, level(100, 8000, 0.5), 8000, digits=1, barge_in=False)
        assert await asyncio.wait_for(gathering, 10) == "1"
        assert fake.intake.ear.heard_s(fake.now()) == pytest.approx(0.5)
        second = gather(call, level(200, 8000, 0.5), 8000, between_s=0.1, barge_in=False)
        gathering = asyncio.ensure_future(second)
        await fake.wait_until(lambda: bool(np.any(fake.intake.arrivals.audio() == 200)), 10)
        await fake.press("7")
        found = await asyncio.wait_for(gathering, 10)
        assert (found, found.reason) == ("7", "timeout")
        assert np.count_nonzero(fake.intake.arrivals.audio() == 200) == 4000
        assert not fake.intake.ear.cuts


async def test_the_time_runs_from_the_prompts_end(serving: Serving) -> None:
    """A prompt that is longer than the time-out is no time-out; nor is one that cannot be read."""
    of = plan()
    async with serving(HELD) as server, FakeCall.connect(server.url, of):
        call = await call_of(of)
        began = monotonic()
        found = await asyncio.wait_for(
            gather(call, level(1, 8000, 0.6), 8000, timeout_s=0.2, digits=1), 10
        )
        assert (found, found.reason) == ("", "timeout")
        assert monotonic() - began > 0.75
        found = await asyncio.wait_for(gather(call, b"no audio file", timeout_s=0.1), 10)
        assert (found, found.reason) == ("", "timeout")


async def test_the_calls_end_ends_it(serving: Serving) -> None:
    """With what was pressed until then; one that is over before raises, once the keys are taken."""
    of = plan()
    async with serving(HELD) as server:
        async with FakeCall.connect(server.url, of) as fake:
            call = await call_of(of)
            await pressed(fake, call, "12")
            gathering = asyncio.ensure_future(gather(call, digits=9, between_s=60))
            await soon(lambda: not call.pressed, 10)
        found = await asyncio.wait_for(gathering, 10)
        assert (found, found.reason) == ("12", "ended")
        call.pressed.extend("34#")
        prompt = level(1, 8000, 0.1)
        found = await asyncio.wait_for(gather(call, prompt, digits=1), 10)
        assert (found, found.reason) == ("3", "digits")
        found = await asyncio.wait_for(gather(call), 10)
        assert (found, found.reason) == ("4", "terminator")
        for prompt in (None, level(1, 8000, 0.1)):
            with pytest.raises(CallEndedError):
                await asyncio.wait_for(gather(call, prompt), 10)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"digits": 0}, "digits is 1"),
        ({"terminator": "x"}, "terminator"),
        ({"timeout_s": 0}, "more than 0"),
        ({"between_s": float("nan")}, "more than 0"),
    ],
)
async def test_what_cannot_be_gathered_is_said(
    serving: Serving, options: dict[str, Any], why: str
) -> None:
    """Before anything is played or taken."""
    of = plan()
    async with serving(HELD) as server, FakeCall.connect(server.url, of) as fake:
        call = await call_of(of)
        await pressed(fake, call, "1")
        with pytest.raises(ValueError, match=why):
            await gather(call, level(1, 8000, 1.0), **options)
        assert (list(call.pressed), fake.intake.ear.n_fed) == (["1"], 0)


async def test_many_gathers_leave_nothing_behind(serving: Serving) -> None:
    """Their events are not kept, so that no queue fills which nobody reads."""
    of = plan()
    async with serving(HELD) as server, FakeCall.connect(server.url, of) as fake:
        call = await call_of(of)
        for _ in range(20):
            await gather(call, timeout_s=0.001)
        await pressed(fake, call, "123")
        assert call.stats.queued_events == 0


async def test_a_menu_in_a_processor_host(serving: Serving, tmp_path: Path) -> None:
    """The same in a process apart: a prompt that is a tone, a key during it, the next behind."""
    notes, of = tmp_path / "notes", plan()
    bot = ProcessorSetting(BOT, {"notes": str(notes)}, isolate="process")
    async with serving(bot) as server, FakeCall.connect(server.url, of) as fake:
        await fake.wait_until(lambda: fake.intake.ear.n_fed > 800, 30)
        await fake.press("1")
        await fake.wait_until(lambda: bool(fake.intake.ear.cuts), 10)
        await fake.press("2")
        await fake.press("3")
        await asyncio.wait_for(fake.closed.wait(), 20)
    assert json.loads(notes.read_text()) == ["12", "digits", "3", "timeout"]
