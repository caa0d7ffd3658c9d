"""Voicemail: a greeting, a beep, the caller's message in a file, thanks, and a hang-up.

mediaserver serve --processor "examples/voicemail.py:voicemail?greeting=greeting.wav"
"""

from __future__ import annotations

import asyncio
import logging
import wave
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from mediaserver import Call, processor

log = logging.getLogger(__name__)
RATE_HZ = 8000


@processor(rate=RATE_HZ)
async def voicemail(
    call: Call,
    greeting: Path,
    folder: Path = Path("messages"),
    most_s: float = 60.0,
    quiet_s: float = 2.0,
    quiet_db: float = -40.0,
) -> None:
    """Take a message, and end when the caller is silent.

    Args:
        call: the call.
        greeting: an audio file of any kind.
        folder: where messages go, a WAV file each.
        most_s: the longest message.
        quiet_s: the message ends after so long without a voice.
        quiet_db: what is below is no voice, in dB of full scale.
    """
    await call.play(greeting)
    beep = await call.play(tone(1000, 0.3), RATE_HZ)
    await beep.finished()
    path = folder / f"{call.id.replace(':', '-')}.wav"
    with new_file(path) as file, suppress(TimeoutError):
        async with asyncio.timeout(most_s):
            await take_down(call, file, quiet_s, quiet_db)
    log.info("call %s: message in %s", call.id, path)
    await call.play(tone(600, 0.3), RATE_HZ)
    await call.hangup(after_playout=True)


@contextmanager
def new_file(path: Path) -> Iterator[wave.Wave_write]:
    """An empty WAV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        yield file


async def take_down(call: Call, file: wave.Wave_write, quiet_s: float, quiet_db: float) -> None:
    """Write what the caller says until they are quiet."""
    heard_s, at_s = 0.0, 0.0
    async for frame in call.frames():
        file.writeframes(frame.samples.astype("<i2").tobytes())
        at_s += len(frame.samples) / RATE_HZ
        if level_db(frame.samples) > quiet_db:
            heard_s = at_s
        if at_s - heard_s >= quiet_s:
            return


def tone(pitch_hz: float, seconds: float) -> np.typing.NDArray[np.int16]:
    """A sine tone."""
    at_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return (8000 * np.sin(2 * np.pi * pitch_hz * at_s)).astype(np.int16)


def level_db(samples: np.typing.NDArray[np.int16]) -> float:
    """Mean level in dB of full scale."""
    power = float(np.mean(samples.astype(np.float64) ** 2)) if len(samples) else 0.0
    return 10 * float(np.log10(power / 32768**2 + 1e-12))
