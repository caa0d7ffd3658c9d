"""Processors for tests; loaded by file name, as a user's are."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np

from mediaserver.media.frames import Frame
from mediaserver.processors.api import Call, Dtmf, Filter, processor

# What the bots saw, by call; tests read and clear it.
SEEN: dict[str, list[Any]] = {}


def seen(call: Call) -> list[Any]:
    return SEEN.setdefault(call.id, [])


@processor
async def echo_handler(call: Call) -> None:
    """The echo of the README: a handler."""
    async for frame in call.frames():
        await call.play(frame.samples, rate=frame.rate)


@processor
async def listen(call: Call) -> None:
    """Notes every frame."""
    async for frame in call.frames(None):
        seen(call).append(frame)


@processor
async def events(call: Call) -> None:
    """Notes every event."""
    async for event in call.events():
        seen(call).append(event)


@processor
async def facts(call: Call) -> None:
    """Notes what the call says of itself, then waits for its end."""
    seen(call).append(call)
    async for _ in call.frames():
        pass


@processor(rate=16000)
async def wide(call: Call) -> None:
    """Wants 16 kHz."""
    async for frame in call.frames():
        seen(call).append(frame)


@processor
async def raises(call: Call) -> None:
    """Fails at the third frame."""
    n = 0
    async for _ in call.frames():
        n += 1
        if n == 3:
            raise RuntimeError("a bot's own fault")


@processor
async def returns(call: Call) -> None:
    """Has nothing more to do."""


@processor
async def stubborn(call: Call) -> None:
    """Does not end by itself; notes that it was cancelled."""
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        seen(call).append("cancelled")
        raise


@processor
async def after(call: Call) -> None:
    """Uses the call after its end."""
    async for _ in call.frames():
        pass
    try:
        await call.play(np.zeros(160, np.int16))
        seen(call).append("played")
    except Exception as exc:
        seen(call).append(type(exc).__name__)


@processor
async def hangs_up(call: Call) -> None:
    """Ends the call after five frames."""
    n = 0
    async for _ in call.frames():
        n += 1
        if n == 5:
            await call.hangup()


@processor
async def writes(call: Call, directory: Path) -> None:
    """Writes down its process and every event: for calls in another process."""
    with (directory / call.id.replace("/", "_")).open("a") as file:
        print(os.getpid(), file=file, flush=True)
        async for event in call.events():
            print(event, file=file, flush=True)


@processor
async def takes(call: Call, what: Any) -> None:
    """Has a parameter of any kind."""


@processor
async def hangs(call: Call) -> None:
    """Never lets go of its process, once a key was pressed."""
    async for event in call.events():
        while isinstance(event, Dtmf):
            pass


@processor
async def drags(call: Call) -> None:
    """Echoes; holds up its process again and again, once a key was pressed."""
    async for event in call.events():
        while isinstance(event, Dtmf) and event.digit == "1":
            time.sleep(0.5)  # noqa: ASYNC251  # on purpose
            await asyncio.sleep(0.001)


@processor
async def babbles(call: Call) -> None:
    """Writes what is no message into its worker's channel, once a key was pressed."""
    async for event in call.events():
        if isinstance(event, Dtmf):
            no_message = b"\xc1\xc1"
            frame = len(no_message).to_bytes(4, "big") + b"\0" + no_message
            os.write(int(sys.argv[1]), 2 * frame)


async def _breaks() -> AsyncIterator[Any]:
    yield np.full(800, 4, np.int16)
    raise RuntimeError("a source's own fault")


@processor
async def by_key(call: Call) -> None:
    """Does one thing a key, one after the other, and never reads the frames it asked for."""
    unread = call.frames()
    async for event in call.events():
        match event:
            case Dtmf(digit="1"):
                await (await call.play(np.full(800, 1, np.int16))).finished()
            case Dtmf(digit="2"):
                await call.play(np.full(40_000, 2, np.int16))
                await call.mark("never reached")
                await call.clear()
            case Dtmf(digit="3"):
                await (await call.play(Path("missing.wav"))).finished()
            case Dtmf(digit="4"):
                await (await call.mark("reached")).finished()
            case Dtmf(digit="5"):
                await call.play(np.full(40_000, 5, np.int16))
            case Dtmf(digit="6"):
                await (await call.play(_breaks())).finished()
            case Dtmf(digit="0"):
                await call.hangup()
    del unread


class Faulty(Filter):
    """Raises on every frame."""

    def process(self, frame: Frame) -> Frame:
        raise ValueError("a filter's own fault")


class Unmade(Filter):
    """Raises when it is made."""

    def __init__(self, call: Call) -> None:
        raise ValueError("a filter's own fault")

    def process(self, frame: Frame) -> Frame:
        return frame


class Reads(Filter):
    """Writes down, while it is made, what the call says of itself: also of another process."""

    def __init__(self, call: Call, directory: Path) -> None:
        super().__init__(call)
        said = (call.id, call.codec, call.rate, dict(call.parameters), call.l16_byte_order)
        (directory / call.id.replace("/", "_")).write_text(repr(said))

    def process(self, frame: Frame) -> Frame:
        return frame


class Half(Filter):
    """Halves the level; a parameter that a call may set."""

    def __init__(self, call: Call, divisor: int = 2) -> None:
        super().__init__(call)
        self.divisor = divisor

    def process(self, frame: Frame) -> Frame:
        samples = (frame.samples // self.divisor).astype(np.int16)
        return Frame(samples, frame.rate, frame.track, frame.index, frame.start, frame.lost)


@processor
async def pauses(call: Call, ahead_s: float = 1.0) -> None:
    """Works half a second before each second of a tone, as a synthesis does."""
    tone = (8000 * np.sin(np.arange(8000) / 3)).astype(np.int16)

    async def synthesis() -> Any:
        for _ in range(4):
            await asyncio.sleep(0.5)
            yield tone

    await (await call.play(synthesis(), 8000, ahead_s=ahead_s)).finished()


@processor
async def sends(call: Call) -> None:
    """Sends messages of its own, and some that are none."""
    began = time.monotonic()
    for n in range(10):
        assert await call.send({"event": "mine", "n": n})
    seen(call).append(time.monotonic() - began)
    errors = []
    for wrong in ({"n": 1}, ["event"], {"event": "x", "long": "x" * 70_000}):
        try:
            await call.send(wrong)  # type: ignore[arg-type]  # wrong on purpose
        except ValueError as exc:
            errors.append(type(exc).__name__)
    seen(call).append(errors)


@processor
async def resumed(call: Call, path: str) -> None:
    """Plays steps that a lost socket does not end."""
    steps = np.repeat(np.arange(1, 101, dtype=np.int16) * 100, 160)
    play = await call.play(steps, 8000, resume=True)
    seen(call).append((await play.finished(), play.reason, play.heard))


@processor
async def resumed_file(call: Call, path: str) -> None:
    """The same from a file."""
    play = await call.play(Path(path), resume=True)
    seen(call).append((await play.finished(), play.reason, play.heard))


@processor
async def leaves_on_key(call: Call) -> None:
    """Returns when a key is pressed."""
    async for event in call.events():
        if isinstance(event, Dtmf):
            return


@processor
async def fails_on_key(call: Call) -> None:
    """Fails when a key is pressed."""
    async for event in call.events():
        if isinstance(event, Dtmf):
            raise RuntimeError("a bot's own fault")


@processor
async def cancels_itself(call: Call) -> None:
    """Waits for a task that it has cancelled."""
    task = asyncio.ensure_future(asyncio.sleep(10))
    await asyncio.sleep(0.1)
    task.cancel()
    await task


@processor
async def plays_in_a_group(call: Call) -> None:
    """Plays from a task group until the call is over."""

    async def play() -> None:
        while True:
            await (await call.play(np.zeros(800, np.int16))).finished()

    async with asyncio.TaskGroup() as group:
        group.create_task(play())


@processor
async def swallows(call: Call) -> None:
    """Takes no notice of being cancelled, until a test lets it go."""
    over = asyncio.Event()
    seen(call).append(over)
    while not over.is_set():
        try:
            await over.wait()
        except asyncio.CancelledError:
            continue
    seen(call).append("ended")


@processor
async def works_on(call: Call) -> None:
    """Has something to do behind the call's end."""
    async for _ in call.frames():
        pass
    await asyncio.sleep(1.0)
    seen(call).append("finished")
