"""Written plays inline and in a processor host: the same samples, and the same ends."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from mediaserver.carrier import CallPlan, FakeCall
from mediaserver.settings import ProcessorSetting
from telephony_codecs import Resampler
from tests.server.conftest import Serving
from tests.server.isolation.stream_bots import RATE_HZ, glide

BOT = f"{Path(__file__).parent / 'stream_bots.py'}:writer"


@pytest.mark.parametrize("mode", ["rtp", "mp3"])
@pytest.mark.parametrize("where", ["none", "process"])
async def test_a_stream_is_the_same_in_both_places(
    serving: Serving, tmp_path: Path, where: Literal["none", "process"], mode: Literal["rtp", "mp3"]
) -> None:
    """Every sample once and in order, one clip in mode mp3; known by ``clear()``; ended."""
    notes = tmp_path / "notes"
    bot = ProcessorSetting(BOT, {"notes": str(notes)}, isolate=where)
    plan = CallPlan(mode=mode, send_codec="L16", send_rate_hz=16000)
    if mode == "mp3":
        plan = CallPlan(mode=mode)
    async with serving(bot) as server, FakeCall.connect(server.url, plan) as fake:
        await asyncio.wait_for(fake.closed.wait(), 30)
        heard = fake.intake.arrivals.audio()
        n_runs = len(fake.intake.ear.runs)
    n_samples = len(glide(1.0101))
    first, reason, heard_s, *rest = json.loads(notes.read_text())
    assert (first, reason) == ("played", "finished")
    assert heard_s == pytest.approx(n_samples / RATE_HZ, abs=0.002)
    assert rest[:4] == [True, "cleared", "barge_in", False]
    assert rest[4:] == ["cleared", "ended", False, "the call has ended"]
    if mode == "mp3":
        assert n_runs == 1
        return
    resampler, samples = Resampler(RATE_HZ, 16000), glide(1.0101)
    pieces = [resampler.process(samples[at : at + 480]) for at in range(0, len(samples), 480)]
    wanted = np.concatenate([*pieces, resampler.flush()])
    assert np.array_equal(heard[: len(wanted)], wanted)
