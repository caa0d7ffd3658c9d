"""Bots that do the same inline and isolated; what they see they write to a file."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np

from mediaserver import (
    AudioFormatError,
    Call,
    CallEndedError,
    ConfigurationError,
    Dtmf,
    Filter,
    Frame,
    MediaServerError,
    processor,
)
from mediaserver.media.frames import Int16Array


class Notes:
    """One file a call; a line each."""

    def __init__(self, directory: Path, call: Call) -> None:
        self._path = directory / f"{call.id.replace(':', '-')}.jsonl"

    def __call__(self, *values: Any) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(values) + "\n")


def tone(seconds: float, rate_hz: int = 8000) -> Int16Array:
    n = round(seconds * rate_hz)
    return (8000 * np.sin(2 * np.pi * 400 * np.arange(n) / rate_hz)).astype(np.int16)


def octets_of(clip: Path) -> bytes:
    return clip.read_bytes()


class Boost(Filter):
    """Doubles, and says what it saw: a filter in front of a handler."""

    def __init__(self, call: Call, notes: Path = Path(), times: int = 2) -> None:
        super().__init__(call)
        self.times = times

    def process(self, frame: Frame) -> Frame:
        louder = (frame.samples * self.times).astype(np.int16)
        return Frame(louder, frame.rate, frame.track, frame.index, frame.start, frame.lost)


class Fails(Filter):
    """Raises at its third frame."""

    def __init__(self, call: Call, notes: Path = Path()) -> None:
        super().__init__(call)
        self.n = 0

    def process(self, frame: Frame) -> Frame:
        self.n += 1
        if self.n == 3:
            raise RuntimeError("a bot's own fault")
        return frame


@processor
async def pid(call: Call, notes: Path) -> None:
    """Where it runs."""
    Notes(notes, call)(os.getpid(), sorted(n for n in os.environ if n.startswith("BOT_")))
    async for _ in call.frames():
        pass


@processor
async def listen(call: Call, notes: Path) -> None:
    """Every frame, and what the call says of itself."""
    note = Notes(notes, call)
    note(
        call.id,
        call.stream_id,
        call.caller,
        call.callee,
        dict(call.parameters),
        dict(call.query),
        call.path,
        call.codec,
        call.rate,
        call.send_codec,
        call.send_rate,
        call.client_state,
    )
    n, peak = 0, 0
    async for frame in call.frames(None):
        assert frame.samples.dtype == np.int16
        assert frame.index == n
        n += 1
        peak = max(peak, int(np.abs(frame.samples.astype(int)).max()))
        last = frame
    note(n, last.rate, last.track, round(last.start, 3), len(last.samples), last.lost, peak)
    note(call.stats.frames_in >= n, call.l16_byte_order)


@processor(rate=16000)
async def wide(call: Call, notes: Path) -> None:
    """Frames at another rate, and pairs."""
    n = sum([len(frame.samples) async for frame in call.frames()])
    Notes(notes, call)(call.rate, n)


@processor
async def pairs(call: Call, notes: Path) -> None:
    """Both tracks together."""
    blocks = [block async for block in call.pairs()]
    Notes(notes, call)(int(sum(len(block) for block in blocks)), blocks[0].shape[1])


@processor
async def events(call: Call, notes: Path) -> None:
    """Every event."""
    note = Notes(notes, call)
    async for event in call.events():
        typed = getattr(event, "event", None)
        note(type(event).__name__, str(event)[:60], type(typed).__name__)


@processor
async def plays(call: Call, notes: Path, clip: Path) -> None:
    """Every kind of source, one behind the other, and what becomes of it."""
    note = Notes(notes, call)

    async def arrays() -> AsyncIterator[Int16Array]:
        for _ in range(5):
            yield tone(0.02)

    async def octets() -> AsyncIterator[bytes]:
        raw = tone(0.1).tobytes()
        for at in range(0, len(raw), 333):
            yield raw[at : at + 333]

    async def fails() -> AsyncIterator[Int16Array]:
        yield tone(0.1)
        raise RuntimeError("a source's own fault")

    sources: list[tuple[Any, int | None]] = [
        (tone(0.1), None),
        (tone(0.1, 16000), 16000),
        (tone(0.1).tobytes(), 8000),
        (clip, None),
        (str(clip), None),
        (octets_of(clip), None),
        (arrays(), None),
        (octets(), 8000),
        (fails(), None),
        (Path("no such file.wav"), None),
    ]
    played = [await call.play(source, rate) for source, rate in sources]
    for play in played:
        state = await play.finished()
        note(state, play.reason, round(play.heard, 1))
    wrong: list[Any] = [[0] * 160, tone(0.1).astype(float), np.zeros((2, 80), np.int16), None, 7]
    for value in wrong:
        try:
            await call.play(value)
        except AudioFormatError:
            note("AudioFormatError")
    try:
        await call.play(tone(0.1), rate=7)
    except AudioFormatError:
        note("no such rate")
    call.play_live(tone(0.02))
    await call.hangup()
    try:
        await call.play(tone(0.1))
    except CallEndedError:
        note("CallEndedError")


@processor(rate=16000)
async def asks_oddly(call: Call, notes: Path) -> None:
    """Marks, rates and tracks that there are not; the first frame, which nobody can change."""
    note = Notes(notes, call)

    async def said(ask: Callable[[], Any]) -> None:
        try:
            result = ask()
            await result if asyncio.iscoroutine(result) else None
        except Exception as exc:
            note(type(exc).__name__)
        else:
            note("accepted")

    names: list[Any] = [None, 5, b"x", "a\udcffb"]
    for name in names:
        await said(lambda name=name: call.mark(name))
    rates: list[Any] = [0, -8000, 8000.0, "8000", 11025, True]
    for rate in rates:
        await said(lambda rate=rate: call.play(tone(0.02), rate))
        await said(lambda rate=rate: call.stream(rate))
        await said(lambda rate=rate: call.play_live(tone(0.02), rate))
    await said(lambda: call.frames("inbuond"))  # type: ignore[arg-type]
    await said(lambda: call.frames(since="yesterday"))  # type: ignore[arg-type]
    frame = await anext(call.frames())
    note(frame.rate, frame.samples.flags.writeable)


@processor
async def barge_in(call: Call, notes: Path) -> None:
    """Clears what plays."""
    note = Notes(notes, call)
    first = await call.play(tone(0.3))
    long = await call.play(tone(10.0))
    mark = await call.mark("end")
    cancelled = await call.play(tone(5.0))
    cancelled.cancel()
    note(await first.finished(), round(first.heard, 1))
    await asyncio.sleep(0.3)
    note(long.state, 0.0 < long.heard < 1.0)
    heard = await call.clear()
    note(list(heard) == [long], long.state, long.reason, 0.0 < heard[long] < 2.0)
    note(mark.state, await cancelled.finished(), cancelled.reason)
    note(await call.clear() == {})
    again = await call.mark("again")
    await call.play(tone(0.1))
    note(await again.finished())
    async for _ in call.frames():
        pass


@processor
async def messages(call: Call, notes: Path) -> None:
    """Messages of its own."""
    note = Notes(notes, call)
    note(await call.send({"event": "bot", "n": 1}))
    for wrong in ({"no": "event"}, {"event": "x", "big": "x" * 70_000}):
        try:
            await call.send(wrong)
        except ValueError:
            note("ValueError")
    async for _ in call.frames():
        pass


@processor
async def resumes(call: Call, notes: Path) -> None:
    """A play that outlives its socket, and one that does not."""
    note = Notes(notes, call)
    lost = await call.play(tone(0.6))
    kept = await call.play(tone(0.6), resume=True)
    note(await lost.finished(), lost.reason)
    note(await kept.finished(), round(kept.heard, 1))
    async for _ in call.frames():
        pass


@processor
async def whole_clips(call: Call, notes: Path, clip: Path) -> None:
    """Mode mp3."""
    note = Notes(notes, call)

    async def arrays() -> AsyncIterator[Int16Array]:
        yield tone(0.02)

    for refused in (lambda: call.play(tone(0.1), live=True), lambda: call.play(arrays())):
        try:
            await refused()
        except ConfigurationError:
            note("ConfigurationError")
    for source in (clip, tone(0.3)):
        play = await call.play(source)
        note(await play.finished())
    await call.hangup()


@processor
async def raises(call: Call, notes: Path) -> None:
    """Fails."""
    async for frame in call.frames():
        if frame.index == 2:
            raise RuntimeError("a bot's own fault")


@processor
async def stubborn(call: Call, notes: Path) -> None:
    """Works on behind its call; notes that it was cancelled."""
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        Notes(notes, call)("cancelled")
        raise


@processor
async def worded(call: Call, notes: Path, volume: int = 1) -> None:
    """Has a parameter that calls may set."""
    Notes(notes, call)(volume)


@processor
async def hangs_up(call: Call, notes: Path) -> None:
    """Ends the phone call; notes what came of it."""
    note = Notes(notes, call)
    await call.play(tone(0.2))
    try:
        await call.hangup(after_playout=True)
    except Exception as exc:
        note(type(exc).__name__)
    else:
        note("hung up")


@processor
async def spawns(call: Call, notes: Path) -> None:
    """A task that ends with the call, one that fails, and lines in the log."""
    note = Notes(notes, call)

    async def forever() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            note("ended")

    async def fails() -> None:
        raise RuntimeError("a task's own fault")

    async def answer() -> int:
        return 42

    call.spawn(forever())
    call.spawn(fails())
    note(await call.spawn(answer()))
    call.log.warning("a line with %d words", 5)
    async for _ in call.frames():
        pass


@processor
async def slow(call: Call, notes: Path) -> None:
    """Reads nothing for a while: its queues fill."""
    frames, events = call.frames(), call.events()
    await asyncio.sleep(1.6)
    stats = call.stats
    Notes(notes, call)(stats.queued_frames > 5, stats.queued_events, stats.frames_in > 5)
    async for _ in events:
        pass
    del frames


@processor
async def stutters(call: Call, notes: Path) -> None:
    """A source that pauses longer than what it gave lasts."""

    async def source() -> AsyncIterator[Int16Array]:
        for _ in range(3):
            yield tone(0.1)
            await asyncio.sleep(0.5)

    play = await call.play(source())
    await play.finished()
    async for _ in call.frames():
        pass


@processor
async def told(call: Call, notes: Path) -> None:
    """What changes while it runs: events, and the call's facts with them."""
    note = Notes(notes, call)
    async for event in call.events():
        kind = type(event).__name__
        note(kind, call.stream_id, call.send_codec, call.send_rate, call.parameters["a"])
        if kind == "Reconnected":
            play = await call.play(tone(0.1, call.send_rate), call.send_rate)
            note(await play.finished(), round(play.heard, 1))


@processor
async def too_long(call: Call, notes: Path) -> None:
    """More at once than goes over a link in one piece."""
    note, events = Notes(notes, call), call.events()
    call.play_live(tone(60.0, 48000), 48000)
    try:
        await call.control.speak("x" * 2_000_000, voice="a")
    except MediaServerError:
        note("MediaServerError")
    async for event in events:
        if isinstance(event, Dtmf):  # a hint may come first: most of the minute is dropped
            note("Dtmf")
            return


@processor
async def greedy(call: Call, notes: Path) -> None:
    """Plays far ahead without waiting, an array or a stream; then, after a clear, a little."""
    note = Notes(notes, call)

    async def stream() -> AsyncIterator[Int16Array]:
        for _ in range(100):
            yield tone(1.0)

    tasks = [call.spawn(call.play(tone(30.0))) for _ in range(4)]
    third, fourth = [await task for task in tasks[2:]]
    note(await third.finished(), third.reason, await fourth.finished())
    first, second = (await call.clear()).keys()
    note(first.state, second.state)
    await call.play(stream(), ahead_s=1000.0)
    await asyncio.sleep(1.0)
    await call.clear()
    play = await call.play(tone(0.1))
    note(await play.finished())


@processor
async def hasty(call: Call, notes: Path) -> None:
    """More marks, plays and commands at once than anybody needs."""
    note = Notes(notes, call)
    await call.play(tone(20.0))
    marks = [await call.mark(f"mark {n}") for n in range(100)]
    while marks[-1].state == "queued":  # noqa: ASYNC110  # nobody may wait for its end
        await asyncio.sleep(0.02)
    note(sum(mark.state == "cleared" for mark in marks))
    plays = [await call.play(tone(0.02)) for _ in range(2)]
    note([await play.finished() for play in plays])
    await call.clear()
    asked = [call.control.answer() for _ in range(100)]
    results = [str(r) for r in await asyncio.gather(*asked, return_exceptions=True)]
    note([any(text in result for result in results) for text in ("at once", "API key")])
    note(await call.send({"event": "bot"}))


@processor
async def blurts(call: Call, notes: Path) -> None:
    """More live audio at once than the way to its call takes: ten minutes of it."""
    for _ in range(600):
        call.play_live(tone(1.0))
    at_once = call.stats.dropped_s
    while call.stats.frames_in < 50:  # noqa: ASYNC110  # nobody tells of it
        await asyncio.sleep(0.05)
    Notes(notes, call)(at_once, call.stats.dropped_s)


@processor
async def stuck(call: Call) -> None:
    """In C, with Python's lock, from its tenth frame on: no signal's handler runs, no thread."""
    n = 0
    async for _ in call.frames():
        n += 1
        if n == 10:
            ctypes.PyDLL(None).sleep(600)


@processor
async def events_of_a_task(call: Call, notes: Path) -> None:
    """They are read by a task that the handler starts."""
    note = Notes(notes, call)

    async def read() -> None:
        async for event in call.events():
            note(type(event).__name__)

    await call.spawn(read())


@processor
async def exits(call: Call, notes: Path, by: str) -> None:
    """Users' code that wants to end the program, but not in the handler itself."""

    async def source() -> AsyncIterator[Int16Array]:
        yield tone(0.1)
        sys.exit(3)

    async def closing() -> AsyncIterator[Int16Array]:
        try:
            while True:
                yield tone(0.1)
        finally:
            sys.exit(3)

    async def task() -> None:
        raise KeyboardInterrupt

    if by == "source":
        await call.play(source())
    elif by == "closing":
        await call.play(closing())
        await asyncio.sleep(0.1)
        await call.clear()
    elif by == "task":
        call.state["task"] = asyncio.create_task(task())
    elif by == "spawn":
        call.spawn(task())
    else:
        asyncio.get_running_loop().call_soon(sys.exit)
    await asyncio.sleep(0.3)
    Notes(notes, call)(os.getpid())
    async for _ in call.frames():
        pass


KEPT: list[Call] = []


@processor
async def asks_an_ended_one(call: Call, notes: Path) -> None:
    """The second call hangs up the first one, which is over, and asks for more."""
    KEPT.append(call)
    if len(KEPT) > 1:
        note = Notes(notes, call)
        async with asyncio.timeout(2.0):
            await KEPT[0].hangup()
            await KEPT[0].hangup(after_playout=True)
            note("hung up")
            try:
                await KEPT[0].control.speak("too late")
            except MediaServerError:
                note("refused")
    async for _ in call.frames():
        pass


@processor
async def starts_programs(call: Call, notes: Path) -> None:
    """A program goes on, and a shell cleans up its process group."""
    child = subprocess.Popen(["sleep", "60"])  # noqa: ASYNC220  # as users do it
    Notes(notes, call)(child.pid)
    await asyncio.sleep(0.2)
    await asyncio.to_thread(subprocess.run, "sleep 60 & kill 0", shell=True, check=False)
    async for _ in call.frames():
        pass
