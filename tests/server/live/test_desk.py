"""What a process tells of its calls, without a browser and without HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import numpy as np
import pytest

from mediaserver.carrier import CallPlan, FakeCall
from mediaserver.server.live import forms, tap
from mediaserver.server.live.desk import byte_of
from mediaserver.server.live.tap import _thinned
from tests.server.conftest import Serving, bot, serving
from tests.server.watching import soon

__all__ = ["serving"]


async def look(server: Any, **wanted: Any) -> forms.Look | None:
    argument = msgspec.json.encode(forms.LookFor("v3:a", **wanted)).decode()
    [(_, body)] = await server.service.ask(forms.LOOK, argument)
    return msgspec.msgpack.decode(body, type=forms.Look) if body else None


async def test_what_is_too_old_is_said_to_be_gone(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks too rarely gets the newest, and how much there was before."""
    monkeypatch.setattr(tap, "MOST_CHUNKS", 10)
    plan = CallPlan(call_control_id="v3:a")
    async with serving("echo") as server, FakeCall.connect(server.url, plan) as call:
        await call.send_payload(bytes(160))
        await soon(lambda: server.service.n_calls == 1)
        first = await look(server, audio=True)
        assert first is not None
        for _ in range(20):
            await call.send_payload(bytes(160))
        async with asyncio.timeout(10):
            while (now := await look(server, audio=True, after=first.seq)) is None or now.seq < 30:
                await call.send_payload(bytes(160))
        assert len(now.chunks) == 10
        assert now.skipped == now.seq - first.seq - 10
        of_another = await look(server, after=now.seq + 1000)
        assert of_another is not None
        assert len(of_another.chunks) == 10


async def test_what_is_cleared_is_told(serving: Serving) -> None:
    """As a piece of the bot's side without audio, from when on nothing is heard."""
    plan = CallPlan(call_control_id="v3:a")
    async with serving(bot("facts")) as server, FakeCall.connect(server.url, plan) as call:
        await call.send_payload(bytes(160))
        await soon(lambda: server.service.n_calls == 1)
        assert await look(server)
        [session] = server.service.sessions.values()  # type: ignore[attr-defined]  # of one process
        await session.outbound.play(np.full(8000, 9000, np.int16), 8000)
        session.outbound.clear_now()
        told = await look(server, after=0)
        assert told is not None
        sides = [chunk.side for chunk in told.chunks if chunk.side != forms.CALLER]
        assert sides[-1] == forms.CLEARED
        assert set(sides[:-1]) == {forms.BOT}
        assert max(told.chunks[-2].pairs) == 9000 >> 8
        argument = msgspec.json.encode(forms.Operate("v3:a", "mute")).decode()
        assert (await server.service.ask(forms.OPERATE, argument))[0][1]
        assert session.outbound.playout.is_muted


async def test_what_is_not_understood_is_not_answered(serving: Serving) -> None:
    """Nor is what is asked about a call of nobody's."""
    async with serving("echo") as server:
        for word in (forms.LOOK, forms.OPERATE):
            for argument in ("", "[]", '{"call_id": 7}', '{"call_id": "v3:none", "what": "say"}'):
                assert await server.service.ask(word, argument) == [(None, b"")]


@pytest.mark.parametrize(("level", "byte"), [(0, 0), (1, 0), (33, 0), (1036, 128), (32768, 255)])
def test_levels_are_in_steps_of_db(level: int, byte: int) -> None:
    """From -60 dB below full scale to that."""
    assert byte_of(level) == pytest.approx(byte, abs=1)


@pytest.mark.parametrize(("rate_hz", "thinned_hz"), [(8000, 8000), (16000, 16000), (48000, 16000)])
def test_wide_audio_is_thinned(rate_hz: int, thinned_hz: int) -> None:
    """To what speech needs, as loud and as long as it was."""
    samples = np.full(rate_hz // 50, 1000, np.int16)
    thinned, hz = _thinned(samples, rate_hz)
    assert hz == thinned_hz
    assert len(thinned) == hz // 50
    assert set(thinned) == {1000}
