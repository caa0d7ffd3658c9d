"""What the tests of speech examples share: a server, a caller, what was heard."""

from __future__ import annotations

import asyncio
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any, Literal

import numpy as np

from mediaserver.app import MediaServer
from mediaserver.carrier import FakeCall
from mediaserver.settings import ProcessorSetting, Settings
from mediaserver.testing.calls import Caller
from telephony_codecs import Int16Array

EXAMPLES = Path(__file__).parents[2] / "examples"
Where = Literal["none", "process"]
KEYS = {
    "OPENAI_API_KEY": "sk-canary-of-the-realtime-service",
    "DEEPGRAM_API_KEY": "canary-of-the-transcription-service",
    "CARTESIA_API_KEY": "sk_car_canary-of-the-synthesis-service",
}


@asynccontextmanager
async def serving(
    where: Where, example: str, *before: str, **parameters: Any
) -> AsyncIterator[MediaServer]:
    """A server with one example, and perhaps built-ins before it; a host gets the keys."""
    first = ProcessorSetting(str(EXAMPLES / example), parameters, isolate=where)
    settings = Settings(
        port=0,
        processors=(*map(ProcessorSetting, before), first),
        host_env=tuple(KEYS),
        reconnect_grace_s=0,
    )
    async with MediaServer(settings) as server:
        yield server
        assert server.service.counters["processor_errors"] == 0


def tone(seconds: float, rate_hz: int, pitch_hz: float = 300.0, level: int = 8000) -> Int16Array:
    """A sine tone."""
    at_s = np.arange(round(seconds * rate_hz)) / rate_hz
    return (level * np.sin(2 * np.pi * pitch_hz * at_s)).astype(np.int16)


async def speak(caller: Caller, seconds: float) -> None:
    """Have the caller make a sound for so long."""
    await caller.say(tone(seconds, 8000), 8000)


class Lag:
    """How late this machine is: ``async with`` watches it.

    Attributes:
        most_ms: the longest time by which something that was due came late.
    """

    def __init__(self) -> None:
        self.most_ms = 0.0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Lag:
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()

    async def _watch(self) -> None:
        while True:
            begin = monotonic()
            await asyncio.sleep(0.005)
            self.most_ms = max(self.most_ms, 1000 * (monotonic() - begin) - 5)


def heard_s(call: FakeCall, pitch_hz: float) -> float:
    """Seconds in which the caller has heard a tone of this pitch so far."""
    ear = call.intake.ear
    samples = ear.between(0, max(0.0, min(ear.end_s, call.now())))
    n_window = ear.rate_hz // 50
    windows = samples[: len(samples) // n_window * n_window].reshape(-1, n_window).astype(float)
    if not len(windows):
        return 0.0
    at_s = np.arange(n_window) / ear.rate_hz
    power = np.abs(windows @ np.exp(-2j * np.pi * pitch_hz * at_s)) * 2 / n_window
    return 0.02 * float(np.count_nonzero(power > 2000))


def wav_of(path: Path, samples: Int16Array, rate_hz: int) -> Path:
    """A WAV file."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(samples.astype("<i2").tobytes())
    return path
