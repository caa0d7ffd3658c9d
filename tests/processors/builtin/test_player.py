"""The built-in player: clips in order, without a seam, with gaps, and for ever."""

from __future__ import annotations

import asyncio
import wave
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from mediaserver.carrier import CallPlan, FakeCall
from mediaserver.settings import ProcessorSetting
from tests.server.conftest import Serving, serving
from tests.server.playbots import level

__all__ = ["serving"]


def plan(**more: Any) -> CallPlan:
    return CallPlan(send_codec="L16", send_rate_hz=8000, **more)


def clip(folder: Path, value: int, seconds: float = 0.2) -> str:
    path = folder / f"{value}.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(level(value, 8000, seconds).astype("<i2").tobytes())
    return str(path)


@pytest.mark.parametrize("where", ["none", "process"])
async def test_clips_follow_each_other_without_a_seam(
    serving: Serving, tmp_path: Path, where: Literal["none", "process"]
) -> None:
    """Each once, in order; then the call stays up."""
    clips = [clip(tmp_path, value) for value in (100, 200, 300)]
    of, player = plan(), ProcessorSetting("player", {"clips": clips}, isolate=where)
    async with serving(player) as server, FakeCall.connect(server.url, of) as fake:
        await fake.wait_until(lambda: fake.intake.ear.n_fed >= 4800, 30)
        heard = fake.intake.arrivals.audio()
        assert len(fake.intake.ear.runs) == 1
        assert not fake.closed.is_set()
    assert heard.tolist() == [100] * 1600 + [200] * 1600 + [300] * 1600


async def test_a_loop_begins_again_behind_its_gap(serving: Serving, tmp_path: Path) -> None:
    """A busy tone made of a file, until the call ends; by text settings as well."""
    player = ProcessorSetting(
        "player", {"clips": clip(tmp_path, 500), "loop": "yes", "gap_s": "0.1"}
    )
    of = plan()
    async with serving(player) as server, FakeCall.connect(server.url, of) as fake:
        await fake.wait_until(lambda: fake.intake.ear.n_fed >= 7200, 30)
        heard = fake.intake.arrivals.audio()[:7200]
        assert server.service.counters["processor_errors"] == 0
    assert np.array_equal(heard, np.tile(np.repeat([500, 0], [1600, 800]), 3))


async def test_a_clip_goes_on_over_a_lost_socket(serving: Serving, tmp_path: Path) -> None:
    """What was not heard on the first is heard on the second."""
    player = ProcessorSetting("player", {"clips": [clip(tmp_path, 700, 1.0)]})
    of = plan(seconds=0.9, reconnect_at_s=0.3)
    async with (
        serving(player, reconnect_grace_s=5) as server,
        FakeCall.connect(server.url, of) as fake,
    ):
        await fake.speak()
        await fake.wait_until(lambda: fake.intake.ear.n_fed >= 8000 * 0.5, 20)
        assert server.service.counters["processor_errors"] == 0


@pytest.mark.parametrize("wrong", ["missing", "gap", "none"])
async def test_what_cannot_be_played_fails_the_processor(
    serving: Serving, tmp_path: Path, caplog: pytest.LogCaptureFixture, wrong: str
) -> None:
    """It says so in the log, once, and the settings decide about the call."""
    clips = {"missing": ["no such.wav"], "gap": [clip(tmp_path, 1)], "none": []}[wrong]
    given = {"clips": clips, "loop": True, "gap_s": -1 if wrong == "gap" else 0}
    player = ProcessorSetting("player", given)
    of = plan()
    async with serving(player) as server, FakeCall.connect(server.url, of) as fake:
        await asyncio.wait_for(fake.closed.wait(), 20)
        assert server.service.counters["processor_errors"] == 1
    failed = [r for r in caplog.records if "player failed" in r.getMessage()]
    assert len(failed) == 1
