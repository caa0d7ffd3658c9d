"""Batch processors: one thread, many calls; states never mix, and one bad call harms no other."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import tracemalloc
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from mediaserver import BatchCall, BatchProcessor, ConfigurationError, Settings
from mediaserver.carrier import Audio, CallPlan, place_call
from mediaserver.media.frames import Frame, Int16Array
from mediaserver.processors.batch import State
from mediaserver.processors.chain import Stage
from mediaserver.processors.spec import Spec, spec_of
from mediaserver.server.batching import Batching
from mediaserver.server.calls.view import CallView
from mediaserver.settings import ProcessorSetting
from tests.server import hearbots
from tests.server.conftest import Serving
from tests.server.watching import soon

BOTS = Path(hearbots.__file__)


class Tones(BatchProcessor):
    """Each call sends one value only; its row remembers which, and how many windows there were."""

    rate = 8000
    frame_ms = 20.0
    state = {"value": ((), "i8"), "n": ((3,), "i4")}  # noqa: RUF012 - as users write it

    def process(self, windows: Int16Array, calls: Sequence[BatchCall], state: State) -> list[Any]:
        """What was remembered, what is heard, and the count, for each call."""
        values = windows[:, 0].astype(np.int64)
        assert (windows == windows[:, :1]).all()
        state["n"] += 1
        first = state["n"][:, 0] == 1
        state["value"][first] = values[first]
        found = zip(
            state["value"].tolist(), values.tolist(), state["n"][:, 2].tolist(), strict=True
        )
        return [{"found": each} for each in found]


class FakeView:
    """What a batch asks of a call's view."""

    def __init__(self, number: int) -> None:
        self.id = f"call-{number}"
        self.value = number % 30_000 + 1
        self.state: dict[str, Any] = {}
        self.counted: Counter[str] = Counter()
        self.published: list[Any] = []
        self.played: list[Int16Array] = []

    def count(self, name: str) -> None:
        self.counted[name] += 1

    def publish(self, event: Any) -> None:
        self.published.append(event)

    def play_live(self, samples: Int16Array, rate: int) -> None:
        self.played.append(samples)


def joined(
    batching: Batching,
    view: FakeView,
    spec: Spec,
    failed: Callable[[BaseException], None] | None = None,
    **parameters: Any,
) -> Stage:
    def unexpected(exc: BaseException) -> None:
        raise exc

    return batching.join(cast(CallView, view), spec, parameters, failed or unexpected)


def frame(view: FakeView, index: int, n: int = 160) -> Frame:
    samples = np.full(n, view.value, np.int16)
    return Frame(samples, 8000, "inbound", index, index * 0.02)


def spec(target: type) -> Spec:
    found = spec_of("tested", target)
    assert found is not None
    return found


@pytest.fixture
def batching() -> Batching:
    return Batching(Settings())


async def test_calls_that_come_and_go_never_get_anothers_state(batching: Batching) -> None:
    """1,000 calls join and leave at random; afterwards no row is held."""
    rng = random.Random(1)
    spec_ = spec(Tones)
    live: list[tuple[FakeView, Stage, int]] = []
    n_checked = 0
    before = 0
    for number in range(1000):
        if number == 300:
            gc.collect()
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
        view = FakeView(number)
        live.append((view, joined(batching, view, spec_), rng.randrange(2, 12)))
        for entry in list(live):
            view, stage, left = entry
            for _ in range(rng.randrange(3)):
                stage.process(frame(view, 0, rng.choice([80, 160, 240])))
            live.remove(entry)
            if rng.randrange(left + 1):
                live.append(entry)
            else:
                stage.close()
                n_checked += _check(view)
        if number % 8 == 0:
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.1)
    for view, stage, _ in live:
        stage.close()
        stage.close()  # twice does nothing
        n_checked += _check(view)
    live.clear()
    assert n_checked > 200
    await asyncio.sleep(0.1)
    (batch,) = batching._batches.values()
    assert batch._collector.n_rows == 0
    gc.collect()
    assert tracemalloc.get_traced_memory()[0] - before < 2_000_000
    tracemalloc.stop()
    batching.close()


def _check(view: FakeView) -> bool:
    """What its row said last is its own; whether there was anything."""
    found = view.state.get("found")
    if found is None:
        return False
    remembered, heard, n = found
    assert remembered == heard == view.value
    assert n > 0
    return True


class Picky(BatchProcessor):
    """Raises on a call whose value is 13, and hangs as long as it is told to."""

    gate = threading.Event()

    def process(self, windows: Int16Array, calls: Sequence[BatchCall], state: State) -> Any:
        if (windows == 13).any():
            raise ValueError("thirteen")
        if (windows == 14).any():
            return None
        if (windows == 15).any():
            self.gate.wait(60)
        return [np.ones(3, np.int16) if window[0] == 16 else "said" for window in windows]

    def close(self) -> None:
        raise RuntimeError("close")


async def test_one_bad_call_leaves_and_the_others_go_on(batching: Batching) -> None:
    """An error of one call, or no list of results, ends it alone; audio and events go out."""
    failures: dict[str, BaseException] = {}
    views = [FakeView(number - 1) for number in (12, 13, 14, 16)]
    stages = [
        joined(batching, view, spec(Picky), lambda exc, view=view: failures.update({view.id: exc}))  # type: ignore[misc]  # a default binds it
        for view in views
    ]
    for _ in range(3):
        for view, stage in zip(views, stages, strict=True):
            stage.process(frame(view, 0))
        done = views[0].published, views[3].played
        n = len(done[0])
        await soon(lambda n=n, done=done: len(done[0]) > n and len(done[1]) > n)  # type: ignore[misc]  # a default binds it
    assert {view: type(exc).__name__ for view, exc in failures.items()} == {
        "call-12": "ValueError",
        "call-13": "BadResultError",
    }
    assert views[0].published == ["said"] * 3
    for stage in stages:
        stage.close()
    batching.close()


async def test_late_ticks_are_dropped_and_counted(batching: Batching) -> None:
    """A thread that is at work for long gets no second batch; what waits has an end."""
    Picky.gate.clear()
    slow, other = FakeView(14), FakeView(0)
    stages = [joined(batching, slow, spec(Picky)), joined(batching, other, spec(Picky))]
    stages[0].process(frame(slow, 0))
    await soon(lambda: (slow.counted + other.counted)["batch_late"] >= 12)
    for index in range(30):
        stages[1].process(frame(other, index))
    assert other.counted["batch_dropped"] > 15
    assert not other.published
    Picky.gate.set()
    await soon(lambda: len(other.published) >= 8)
    for stage in stages:
        stage.close()
    batching.close()


async def test_what_cannot_be_made_is_said(batching: Batching) -> None:
    """With the processor's name; a call that it refuses leaves no row."""

    class Unmade(BatchProcessor):
        def __init__(self, size: int = 0) -> None:
            1 // size

        def process(self, windows: Int16Array, calls: Sequence[BatchCall], state: State) -> Any:
            raise AssertionError

        def joined(self, call: Any, member: BatchCall) -> None:
            raise LookupError("not this one")

    with pytest.raises(ConfigurationError, match="processor tested: ZeroDivisionError"):
        joined(batching, FakeView(0), spec(Unmade))
    for rate in (0, 11025):
        Unmade.rate = rate
        with pytest.raises(ConfigurationError, match=f"processor tested: rate is one of .* {rate}"):
            joined(batching, FakeView(0), spec(Unmade), size=2)
    Unmade.rate = 8000
    with pytest.raises(LookupError):
        joined(batching, FakeView(0), spec(Unmade), size=1)
    (batch,) = batching._batches.values()
    assert batch._collector.n_members == 0


# On a server.


def listening(name: str, notes: Path, **parameters: Any) -> ProcessorSetting:
    return ProcessorSetting(f"{BOTS}:{name}", {"notes": str(notes), **parameters}, alias=name)


@pytest.mark.parametrize("where", ["none", "process"])
async def test_results_reach_the_call(serving: Serving, tmp_path: Path, where: Any) -> None:
    """A value on ``call.state`` and audio, where the chain runs here and where it is isolated."""
    notes = tmp_path / "notes"
    async with serving(
        ProcessorSetting(f"{BOTS}:Levels", isolate=where),
        ProcessorSetting(f"{BOTS}:Counts", {"notes": str(notes)}, isolate=where),
    ) as server:
        report = await place_call(server.url, CallPlan(seconds=1.5))
        await soon(notes.exists)
        assert server.service.counters["processor_errors"] == 0
    assert int(notes.read_text().split("'n': ")[1].rstrip("}\n")) > 20
    assert report.close_code == 1000


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_batch_that_fails_for_a_call(serving: Serving, workers: int) -> None:
    """That call follows ``on_error``; the others are heard as before."""
    async with serving(
        ProcessorSetting(f"{BOTS}:Levels", {"fail_at": 3}),
        "echo",
        on_error="end",
        workers=workers,
    ) as server:
        bad = CallPlan(seconds=10, call_control_id="v3:one-bad")
        good = CallPlan(seconds=1.5)
        reports = await asyncio.gather(place_call(server.url, bad), place_call(server.url, good))
        await soon(lambda: server.service.counters["processor_errors"] == 1)
    assert [report.hung_up for report in reports] == [False, True]


async def test_what_a_batch_processor_cannot_have_is_refused() -> None:
    """Its parameters are the same for all calls; and it must be one."""
    setting = ProcessorSetting(f"{BOTS}:Levels", {"fail_at": 1}, allow=("fail_at",))
    from mediaserver.server.calls.selection import load_processors

    with pytest.raises(ConfigurationError, match="the same for all calls"):
        load_processors(Settings(processors=(setting,)))
    assert spec_of("x", BatchProcessor) is None


async def test_frames_since_the_start(serving: Serving, tmp_path: Path) -> None:
    """A handler that declared a history gets it; ``frames()`` begins now."""
    notes = tmp_path / "notes"
    async with serving(listening("late", notes)) as server:
        await place_call(server.url, CallPlan(seconds=2.0))
        await soon(notes.exists)
    first, later = map(int, notes.read_text().split())
    assert first == 0
    assert later >= 9


def silence_and_speech() -> Audio:
    """Two phrases, with 1.5 s of silence before and between."""
    quiet = np.zeros(12_000, np.int16)
    said = hearbots.bot_speech()[8000:20_000]
    return Audio(np.concatenate([quiet, said, quiet, said, quiet]), 8000)


@pytest.mark.parametrize("where", ["none", "process"])
async def test_utterances(serving: Serving, tmp_path: Path, where: Any) -> None:
    """Each comes whole, with the audio before it; also where the bot is isolated."""
    notes = tmp_path / "notes"
    bot = ProcessorSetting(f"{BOTS}:utterances", {"notes": str(notes)}, isolate=where)
    async with serving("vad", bot) as server:
        await place_call(server.url, CallPlan(audio=silence_and_speech()))
        assert server.service.counters["processor_errors"] == 0
    lines = [line.split() for line in notes.read_text().splitlines()]
    assert 2 <= len(lines) <= 4
    start, speech_start = float(lines[0][0]), float(lines[0][1])
    assert start == pytest.approx(speech_start - 0.4, abs=0.001)
    assert speech_start == pytest.approx(1.5, abs=0.3)


def caller(*, speaks: bool) -> Audio:
    """The echo of ``talks``, 0.4 s late and 12 dB down, in noise; and perhaps a caller at 5 s."""
    said = hearbots.bot_speech().astype(np.float64)
    track = np.random.default_rng(1).normal(0, 20, len(said) + 8000)
    track[3200 : 3200 + len(said)] += said * 10 ** (-12 / 20)
    if speaks:
        voice = np.interp(np.arange(0, 16_000, 1 / 1.2), np.arange(16_000), said[8000:24_000])
        track[40_000 : 40_000 + len(voice)] += voice
    return Audio(track.clip(-32768, 32767).astype(np.int16), 8000)


@pytest.mark.long
@pytest.mark.parametrize("isolate", [False, True])
async def test_the_caller_interrupts_and_the_echo_does_not(
    serving: Serving, tmp_path: Path, isolate: bool
) -> None:
    """From end to end: what the bot says is cleared by a voice, and heard to its end without."""
    quiet, voice = tmp_path / "quiet", tmp_path / "voice"
    for notes in (quiet, voice):
        async with serving("barge_in", listening("talks", notes), isolate=isolate) as server:
            plan = CallPlan(seconds=10, audio=caller(speaks=notes is voice))
            await place_call(server.url, plan)
    assert quiet.read_text().split()[:2] == ["played", "finished"]
    assert "Interrupted" in voice.read_text().split()
    end, reason, heard = voice.read_text().replace("Interrupted\n", "").split()
    assert (end, reason) == ("cleared", "barge_in")
    assert 4.5 < float(heard) < 6.5


async def test_barge_in_cannot_be_isolated(serving: Serving, tmp_path: Path) -> None:
    """It says so, and the call goes on."""
    async with serving(ProcessorSetting("barge_in", isolate="process"), "echo") as server:
        report = await place_call(server.url, CallPlan(seconds=0.5, linger_s=20))
        await soon(lambda: server.service.counters["processor_errors"] == 1)
    assert report.echo_problem is None
