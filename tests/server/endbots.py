"""Bots that wait for something when their call ends, and note what they learn and when."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np

from mediaserver import Call, CallEndedError, Stop, processor

RATE = 8000


def tone(seconds: float) -> Any:
    samples = 3000 * np.sin(2 * np.pi * 400 * np.arange(int(RATE * seconds)) / RATE)
    return samples.astype(np.int16)


class Notes:
    """Lines of a call in a file that a test reads, whichever process the call is in."""

    def __init__(self, call: Call, directory: Path) -> None:
        self._path = directory / f"{call.id.replace('/', '_').replace(':', '_')}.jsonl"

    def add(self, **what: Any) -> None:
        with self._path.open("a") as file:
            print(json.dumps({"at": time.monotonic(), **what}), file=file)


async def endless(notes: Notes) -> AsyncIterator[Any]:
    try:
        while True:
            yield tone(0.5)
    finally:
        notes.add(source="closed")


@processor
async def waits(call: Call, directory: Path, on: str = "play", work_s: float = 0.0) -> None:
    """Waits on a play, a mark, play after play, a full queue, or an endless source."""
    notes = Notes(call, directory)
    notes.add(began=on)
    if on == "mark":
        await call.play(tone(30))
        mark = await call.mark("far away")
        notes.add(state=await mark.finished(), reason=mark.reason)
    elif on == "loop":
        try:
            while True:
                await (await call.play(tone(0.4))).finished()
        except CallEndedError:
            notes.add(refused="play")
    elif on == "queue":
        plays = [await call.play(tone(45)) for _ in range(2)]
        notes.add(state=plays[-1].state, reason=plays[-1].reason)
    else:
        play = await call.play(endless(notes) if on == "source" else tone(30), RATE)
        notes.add(state=await play.finished(), reason=play.reason, heard=play.heard)
    for say in (lambda: call.play(tone(0.1)), lambda: call.mark("late")):
        try:
            await say()
        except CallEndedError:
            notes.add(ended=True)
    await asyncio.sleep(work_s)
    notes.add(last="line")


@processor
async def says_goodbye(call: Call, directory: Path, seconds: float = 2.0) -> None:
    """Plays and returns; ``on_return`` says what then becomes of the call."""
    await call.play(tone(seconds))


@processor
async def hangs_up_after(call: Call, directory: Path, seconds: float = 1.0) -> None:
    """Says something, and hangs up when it was heard."""
    notes = Notes(call, directory)
    play = await call.play(tone(seconds))
    await call.hangup(after_playout=True)
    notes.add(state=play.state, reason=play.reason)


@processor
async def hangs_up_twice(call: Call, directory: Path) -> None:
    """Hangs up a call that has ended already."""
    notes = Notes(call, directory)
    async for _ in call.frames():
        pass
    await call.hangup()
    await call.hangup()
    notes.add(hung_up=True)


@processor
async def ends(call: Call, directory: Path, how: str = "waits") -> None:
    """Plays for long, ends as told, and notes when its call ended and its play was resolved."""
    notes = Notes(call, directory)
    play = await call.play(tone(30))
    mark = await call.mark("behind it")
    watchers = [asyncio.create_task(_note_end(call, notes))]
    for what, awaited in (("play", play), ("mark", mark)):
        watchers.append(asyncio.create_task(_note_resolved(notes, what, awaited)))
    WATCHERS.update(watchers)
    for task in watchers:
        task.add_done_callback(WATCHERS.discard)
    if how == "waits":
        await play.finished()
    else:
        await asyncio.sleep(0.3)
    notes.add(last=how)
    if how == "raises":
        raise RuntimeError("a bot's own fault")
    if how == "hangs_up":
        await call.hangup()
    if how == "returns":
        play.cancel()


# Tasks that outlive their handler: kept, so that they are not collected.
WATCHERS: set[asyncio.Task[None]] = set()


async def _note_end(call: Call, notes: Notes) -> None:
    async for event in call.events():
        if isinstance(event, Stop):
            notes.add(stop=event.reason)


async def _note_resolved(notes: Notes, what: str, awaited: Any) -> None:
    state = await awaited.finished()
    notes.add(resolved=what, state=state, reason=awaited.reason)
