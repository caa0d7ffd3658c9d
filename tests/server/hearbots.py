"""Bots and batch processors for the tests of what hears calls together."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mediaserver import BatchCall, BatchProcessor, Call, Filter, Frame, Stop, processor
from mediaserver.carrier.plan import speech
from mediaserver.media.frames import Int16Array
from mediaserver.processors.batch import State
from telephony_codecs import resample_clip


def note(notes: str, line: object) -> None:
    with Path(notes).open("a") as file:
        file.write(f"{line}\n")


def keep(notes: str, samples: Int16Array) -> None:
    Path(f"{notes}.raw").write_bytes(samples.tobytes())


def bot_speech() -> Int16Array:
    """What the bot says: 8.6 s at 8 kHz."""
    clip = speech()
    return resample_clip(clip.samples, clip.rate_hz, 8000)


@processor
async def events(call: Call, notes: str) -> None:
    """Note every event but the last."""
    async for event in call.events():
        if not isinstance(event, Stop):
            note(notes, event)


@processor
async def talks(call: Call, notes: str) -> None:
    """Says its sentence, and notes what interrupts it, and how the sentence ended."""
    play = await call.play(bot_speech(), rate=8000)

    async def watch() -> None:
        async for event in call.events():
            if not isinstance(event, Stop):
                note(notes, type(event).__name__)

    call.spawn(watch())
    end = await play.finished()
    note(notes, f"{end} {play.reason} {play.heard:.2f}")
    await call.mark("")
    async for _ in call.frames():
        pass


@processor
async def utterances(call: Call, notes: str, silence_s: float = 0.4) -> None:
    async for each in call.utterances(silence_s=silence_s):
        note(notes, f"{each.start:.3f} {each.speech_start:.3f} {len(each.samples)} {each.is_whole}")
        keep(notes, each.samples)


@processor(history_s=10)
async def late(call: Call, notes: str) -> None:
    """Reads from the start, and from now, one after the other, having waited."""
    async for frame in call.frames():
        if frame.index >= 9:
            break
    now = call.frames()
    past = call.frames(since="start")
    first = await anext(past)
    later = await anext(now)
    note(notes, f"{first.index} {later.index}")


class Levels(BatchProcessor):
    """Gives every kind of result; notes its thread, and how many calls it heard at once."""

    rate = 8000
    frame_ms = 32.0
    state: Mapping[str, Any] = {"n": ((), "i8")}

    def __init__(self, notes: str = "", fail_at: int = -1, slow_s: float = 0.0) -> None:
        self.notes, self.fail_at, self.slow_s = notes, fail_at, slow_s

    def process(self, windows: Int16Array, calls: Sequence[BatchCall], state: State) -> list[Any]:
        assert threading.current_thread() is not threading.main_thread()
        assert windows.shape == (len(calls), 256)
        state["n"] += 1
        time.sleep(self.slow_s)
        for call, n in zip(calls, state["n"], strict=True):
            if n == self.fail_at and call.id.endswith("-bad"):
                raise ArithmeticError("too loud")
        return [
            [{"n": int(n)}, np.full(256, 1000, np.int16) if n == 1 else None] for n in state["n"]
        ]


class Counts(Filter):
    """Notes what the batch processor before it has found, at the end."""

    def __init__(self, call: Call, notes: str) -> None:
        super().__init__(call)
        self.notes = notes

    def process(self, frame: Frame) -> Frame:
        return frame

    def close(self) -> None:
        note(self.notes, f"{self.call.id} {self.call.state}")
