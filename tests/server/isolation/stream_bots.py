"""A bot that writes a stream badly; what becomes of it goes to a file."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path

import numpy as np

from mediaserver import Call, CallEndedError, Stream, processor
from telephony_codecs import Int16Array

RATE_HZ = 24_000


def glide(seconds: float, rate_hz: int = RATE_HZ) -> Int16Array:
    """A gliding tone: no two pieces of it are alike."""
    at_s = np.arange(round(rate_hz * seconds)) / rate_hz
    wave: Int16Array = np.rint(12000 * np.sin(2 * np.pi * (300 + 150 * at_s) * at_s)).astype("<i2")
    return wave


async def write_badly(stream: Stream, octets: bytes, seed: int) -> None:
    """Write in pieces of 1 to 5,000 bytes, in bursts, with pauses that let the ear run dry."""
    dice, at = random.Random(seed), 0
    while at < len(octets):
        n = dice.choice([1, 2, 3, dice.randint(1, 100), dice.randint(1, 5000)])
        assert stream.write(octets[at : at + n])
        at += n
        if dice.random() < 0.03:
            await asyncio.sleep(dice.choice([0.0, 0.01, 0.05, 0.3]))
    stream.end()


@processor
async def writer(call: Call, notes: Path, seconds: float = 1.0101, seed: int = 0) -> None:
    """One stream to its end, one that is cleared, one that the call's end ends."""
    first = call.stream(RATE_HZ)
    await write_badly(first, glide(seconds).tobytes(), seed)
    told: list[object] = [await first.finished(), first.reason, first.heard]
    second = call.stream(RATE_HZ)
    second.write(glide(5.0))
    await asyncio.sleep(0.3)
    cleared = await call.clear()
    told += [second in cleared, await second.finished(), second.reason, second.write(b"\0\0")]
    third = call.stream(RATE_HZ)
    third.write(glide(5.0))
    await call.hangup()
    told += [await third.finished(), third.reason, third.write(b"\0\0")]
    try:
        call.stream()
    except CallEndedError as error:
        told.append(str(error))
    await asyncio.to_thread(notes.write_text, json.dumps(told))
