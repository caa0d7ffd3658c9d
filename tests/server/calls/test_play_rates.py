"""Audio that is played without a rate has the rate of its processor's frames."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
import pytest

from mediaserver.carrier import Audio, CallPlan, FakeCall
from mediaserver.media.frames import Frame, Int16Array
from mediaserver.processors.api import Call, Filter, processor
from mediaserver.settings import ProcessorSetting
from tests.server.conftest import Serving
from tests.server.playbots import tone


@processor(rate=16000)
async def plays(call: Call) -> None:
    async for frame in call.frames():
        await call.play(frame.samples)


@processor(rate=16000)
async def plays_iterator(call: Call) -> None:
    async def samples() -> AsyncIterator[Int16Array]:
        async for frame in call.frames():
            yield frame.samples

    await (await call.play(samples())).finished()


@processor(rate=24000)
async def plays_live(call: Call) -> None:
    async for frame in call.frames():
        call.play_live(frame.samples)


@processor
async def plays_as_it_comes(call: Call) -> None:
    async for frame in call.frames():
        await call.play(frame.samples)


class Echoes(Filter):
    rate = 16000

    def process(self, frame: Frame) -> Frame:
        assert self.call.rate == frame.rate
        self.call.play_live(frame.samples)
        return frame


class Decides(Filter):
    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self.rate = 48000

    def process(self, frame: Frame) -> Frame:
        self.call.play_live(frame.samples)
        return frame


@pytest.mark.parametrize(
    "bot", ["plays", "plays_iterator", "plays_live", "plays_as_it_comes", "Echoes", "Decides"]
)
async def test_frames_played_back_have_their_pitch(serving: Serving, bot: str) -> None:
    """Whatever rate the processor has its frames at, and whatever comes and goes."""
    plan = CallPlan(
        codec="G722",
        send_codec="L16",
        send_rate_hz=8000,
        audio=Audio(tone(16000, 1.0, 500.0), 16000),
        seconds=1.0,
    )
    async with (
        serving(ProcessorSetting(f"{__name__}:{bot}")) as server,
        FakeCall.connect(server.url, plan) as call,
    ):
        await call.speak()
    heard = call.intake.ear
    samples = heard.between(0, heard.end_s).astype(float)
    spectrum = np.abs(np.fft.rfft(samples))
    peak_hz = np.argmax(spectrum) * heard.rate_hz / len(samples)
    assert 480 < peak_hz < 520
