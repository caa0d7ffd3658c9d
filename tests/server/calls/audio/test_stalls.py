"""Stalls, bursts and holds in virtual time: what was said when is recorded and paired there.

``STALLED_CALLS=600`` in the environment tries so many random calls instead of 50.
"""

from __future__ import annotations

import asyncio
import os
import random
import wave
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pybase64 import b64encode

from mediaserver.carrier import CallPlan
from mediaserver.media.frames import Frame, Int16Array, Track
from mediaserver.processors.api import Call, Filter, processor
from mediaserver.server.service import SingleProcessService
from mediaserver.settings import ProcessorSetting, Settings
from telephony_codecs import codec
from tests.server.playbots import VirtualStream

RATE_HZ = 8000
FRAME = RATE_HZ // 50
N_CALLS = int(os.environ.get("STALLED_CALLS", "50"))
SIDES: tuple[Track, Track] = ("inbound", "outbound")
PAIRS: dict[str, list[Int16Array]] = {}
SEEN: list[Frame] = []
Stretch = tuple[float, float]


def payload(*, beep: bool) -> str:
    samples = np.full(FRAME, 40, np.int16)
    if beep:
        samples[:40] = 20000
    return b64encode(codec("PCMU").encoder().encode(samples)).decode()


BEEP, PLAIN = payload(beep=True), payload(beep=False)


@processor
async def keeps_pairs(call: Call) -> None:
    """Notes both tracks side by side."""
    PAIRS[call.id] = [block async for block in call.pairs()]


class Notes(Filter):
    """Notes frames as they pass."""

    def process(self, frame: Frame) -> Frame:
        SEEN.append(frame)
        return frame


@dataclass
class Said:
    """A call's two sides: when they are on hold, and when what they say does not get through.

    A beep begins each second of each side.
    """

    seconds: float
    holds: dict[Track, list[Stretch]] = field(default_factory=dict)
    stalls: dict[Track, list[Stretch]] = field(default_factory=dict)
    jitter_s: float = 0.0
    seed: int = 1

    def is_on_hold(self, track: Track, at_s: float) -> bool:
        return any(begin <= at_s < end for begin, end in self.holds.get(track, []))

    def arrivals(self) -> list[tuple[float, float, Track]]:
        """When each frame comes, when it was said, and by whom; in the order of coming."""
        dice = random.Random(self.seed)
        out = []
        for track in SIDES:
            latest = 0.0
            for n in range(round(self.seconds * 50)):
                at = n / 50
                if self.is_on_hold(track, at):
                    continue
                latest = max(latest, at + dice.uniform(0, self.jitter_s))
                for begin, end in self.stalls.get(track, []):
                    if begin <= latest < end:
                        latest = end
                out.append((latest, at, track))
        return sorted(out, key=lambda each: each[:2])

    def beeps_s(self, track: Track) -> list[float]:
        return [at for _, at, of in self.arrivals() if of == track and round(at * 50) % 50 == 0]


class AtOnce(ThreadPoolExecutor):
    """Does the work where it is asked for: a call takes less time than a thread's turn."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@asynccontextmanager
async def service_of(*names: str, directory: Path) -> AsyncIterator[SingleProcessService]:
    chain = tuple(
        ProcessorSetting(name, {"directory": str(directory), "layout": "tracks"})
        if name == "record"
        else ProcessorSetting(f"{__name__}:{name}")
        for name in names
    )
    service = SingleProcessService(
        Settings(processors=chain, reconnect_grace_s=0, chunk_numbering="per_track")
    )
    yield service
    await service.close()


async def carry(
    said: Said, directory: Path, *, at_once: bool = True, per_turn: int = 50
) -> tuple[dict[Track, Int16Array], Int16Array]:
    """The recordings of such a call, and its pairs; what passed the chain is in ``SEEN``.

    Args:
        said: the call.
        directory: of the recordings.
        at_once: the disk takes no time.
        per_turn: frames that come before the readers have their turn.
    """
    SEEN.clear()
    if at_once:
        asyncio.get_running_loop().set_default_executor(AtOnce())
    plan = CallPlan(tracks="both", seconds=said.seconds)
    async with service_of("Notes", "record", "keeps_pairs", directory=directory) as service:
        stream = VirtualStream(service, plan)
        chunks = dict.fromkeys(SIDES, 0)
        last = 0.0
        session = stream.connection.session
        assert session is not None
        for n, (came, at, track) in enumerate(said.arrivals()):
            chunks[track] += 1
            payload = BEEP if round(at * 50) % 50 == 0 else PLAIN
            stream.media(came, chunks[track], payload, track)
            if n % per_turn == 0:
                for _ in range(20):  # the readers' turn, also behind what they write
                    await asyncio.sleep(0)
            last = came
        stream.stop(max(said.seconds, last))
        async with asyncio.timeout(10):
            while service.n_calls:  # noqa: ASYNC110  # there is no event for it
                await asyncio.sleep(0.001)
    stem = plan.call_control_id.replace(":", "_")
    recorded: dict[Track, Int16Array] = {}
    for track in SIDES:
        with wave.open(str(directory / f"{stem}-{track}.wav")) as file:
            recorded[track] = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    return recorded, np.concatenate(PAIRS.pop(plan.call_control_id))


def beeps_in(samples: Int16Array) -> npt.NDArray[np.float64]:
    loud = np.flatnonzero(samples > 10000)
    return np.asarray(loud[np.diff(loud, prepend=-FRAME) > FRAME // 2] / RATE_HZ)


def assert_right(said: Said, recorded: dict[Track, Int16Array], within_s: float = 0.1) -> None:
    """Each recording is as long as the call, and each beep lies where it was said."""
    for track, samples in recorded.items():
        last = max(at for _, at, of in said.arrivals() if of == track) + 0.02
        assert len(samples) / RATE_HZ == pytest.approx(last, abs=within_s)
        heard, due = beeps_in(samples), said.beeps_s(track)
        assert len(heard) == len(due)
        assert heard == pytest.approx(due, abs=within_s)


def both(*stretches: Stretch) -> dict[Track, list[Stretch]]:
    return {track: list(stretches) for track in SIDES}


CASES = {
    "all of two seconds comes at their end": Said(12, stalls=both((4, 6))),
    "several stalls": Said(12, stalls=both((1, 1.5), (3, 6), (6.4, 6.9))),
    "a stall at the start": Said(12, stalls=both((0, 1.5))),
    "a hold": Said(12, holds={"outbound": [(4, 6)]}),
    "a stall on hold": Said(12, holds={"outbound": [(3, 6)]}, stalls=both((5, 6.8))),
    "a stall while on hold": Said(14, holds={"outbound": [(3, 8)]}, stalls=both((4, 6))),
    "the end soon after a hold": Said(8.4, holds=both((5, 7.8))),
}


@pytest.mark.parametrize("name", CASES)
async def test_recording_and_pairs_are_call_time(tmp_path: Path, name: str) -> None:
    """Length, beeps and starts are right through stalls and holds, both tracks together."""
    said = CASES[name]
    recorded, pairs = await carry(said, tmp_path)
    assert_right(said, recorded)
    disturbed = [
        end for part in (said.holds, said.stalls) for ends in part.values() for _, end in ends
    ]
    settled_s = max(disturbed) + 1.0
    came = dict.fromkeys(SIDES, 0)
    spoken = {t: [at for _, at, of in said.arrivals() if of == t] for t in SIDES}
    for frame in SEEN:
        at = spoken[frame.track][came[frame.track]]
        came[frame.track] += 1
        if at > settled_s:
            assert frame.start == pytest.approx(at, abs=0.05)
    for column, track in enumerate(SIDES):
        heard = beeps_in(pairs[:, column])
        due = [at for at in said.beeps_s(track) if at > settled_s]
        assert heard[len(heard) - len(due) :] == pytest.approx(due, abs=0.05)


async def test_a_server_that_stood_still_for_long_loses_nothing(tmp_path: Path) -> None:
    """A backlog of 45 s, as fast as it can be read and with a real disk, is recorded in place."""
    said = Said(60, stalls=both((5, 50)))
    recorded, _ = await carry(said, tmp_path, at_once=False, per_turn=400)
    assert_right(said, recorded)


def random_call(seed: int) -> Said:
    """Talk, and in between stalls, holds, or both on one side or on both sides."""
    dice = random.Random(seed)
    said = Said(0.0, jitter_s=dice.choice([0.0, 0.02]), seed=seed)
    now = dice.uniform(0.0, 2.0)
    for _ in range(dice.randint(2, 6)):
        length_s = dice.uniform(0.1, 3.0)
        sides = dice.choice([SIDES, SIDES, SIDES[:1], SIDES[1:]])
        kind = dice.choice(["stall", "stall", "hold", "stall on hold"])
        for track in sides:
            if kind != "stall":
                said.holds.setdefault(track, []).append((now, now + length_s))
            if kind != "hold":
                begin = now if kind == "stall" else now + length_s - 0.05
                said.stalls.setdefault(track, []).append((begin, now + length_s + 0.3))
        now += length_s + 0.3 + dice.uniform(0.3, 2.5)
    said.seconds = round(now + dice.uniform(0.2, 2.0), 2)
    return said


@pytest.mark.parametrize("seed", range(N_CALLS))
async def test_random_stalls_and_holds_leave_a_recording_right(tmp_path: Path, seed: int) -> None:
    """Whatever stalls and holds a call has, its recordings are as long as it, beeps in place."""
    said = random_call(seed)
    recorded, _ = await carry(said, tmp_path)
    assert_right(said, recorded)
