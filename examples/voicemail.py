"""Voicemail: a greeting, a beep, a message up to `#` or silence, thanks, and a hang-up.

mediaserver serve --processor "examples/voicemail.py:voicemail?greeting=greeting.wav"
"""

from __future__ import annotations

import asyncio
import wave
from contextlib import suppress
from pathlib import Path

import numpy as np

from mediaserver import Call, Dtmf, beep, processor, tone

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
    """Take a message, which ends with ``#``, or when the caller is silent.

    Args:
        call: the call.
        greeting: an audio file of any kind.
        folder: where messages go, a WAV file each.
        most_s: the longest message.
        quiet_s: the message ends after so long without a voice.
        quiet_db: what is below is no voice, in dB of full scale.
    """
    await call.play(greeting)
    await (await call.play(beep())).finished()
    path = folder / f"{call.id.replace(':', '-')}.wav"
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
        pressed = asyncio.Event()
        call.spawn(pound(call, pressed))
        with suppress(TimeoutError):
            async with asyncio.timeout(most_s):
                await take_down(call, file, pressed, quiet_s, quiet_db)
    call.log.info("message in %s", path)
    await call.play(tone(600))
    await call.hangup(after_playout=True)


async def pound(call: Call, pressed: asyncio.Event) -> None:
    """Tell when ``#`` is pressed."""
    async for event in call.events():
        if isinstance(event, Dtmf) and event.digit == "#":
            pressed.set()


async def take_down(
    call: Call, file: wave.Wave_write, over: asyncio.Event, quiet_s: float, quiet_db: float
) -> None:
    """Write what the caller says until they are quiet, or it is over."""
    heard_s, at_s = 0.0, 0.0
    async for frame in call.frames():
        file.writeframes(frame.samples.astype("<i2").tobytes())
        at_s += frame.duration
        power = float(np.mean(frame.samples.astype(np.float64) ** 2)) / 32768**2
        if 10 * np.log10(power + 1e-12) > quiet_db:
            heard_s = at_s
        if at_s - heard_s >= quiet_s or over.is_set():
            return
