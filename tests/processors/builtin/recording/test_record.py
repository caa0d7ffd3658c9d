"""Whole recordings of whole calls: pauses, and what is told beside them; isolated as inline."""

from __future__ import annotations

import threading
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mediaserver.afterwards.pending import PENDING
from mediaserver.app import MediaServer
from mediaserver.carrier import CallPlan, CallReport, place_call
from mediaserver.carrier.plan import Audio, speech
from mediaserver.media.frames import Int16Array
from mediaserver.processors.builtin.recording.sidecar import Sidecar, decode_sidecar
from mediaserver.processors.builtin.recording.tape import WRITING
from mediaserver.settings import ProcessorSetting, Settings
from tests.processors.builtin.recording import recordbots
from tests.server.watching import soon

BOTS = recordbots.__file__


async def recorded(
    folder: Path, bot: str, plan: CallPlan, *names: str, isolate: bool, **more: Any
) -> CallReport:
    """Place a call that is recorded."""
    record = ProcessorSetting("record", {"directory": str(folder), **more})
    # The bot first: what it plays in its first lines is heard all the same.
    chain = (
        ProcessorSetting(f"{BOTS}:{bot}"),
        *map(ProcessorSetting, names),
        record,
    )
    settings = Settings(port=0, processors=chain, isolate=isolate, reconnect_grace_s=0)
    async with MediaServer(settings) as server:
        return await place_call(server.url, plan)


def read(path: Path) -> tuple[Int16Array, int]:
    with wave.open(str(path)) as file:
        n_channels, rate_hz = file.getnchannels(), file.getframerate()
        samples = np.frombuffer(file.readframes(10**7), "<i2").astype(np.int16)
    return samples.reshape(-1, n_channels), rate_hz


def only_sidecar(folder: Path) -> Sidecar:
    (path,) = folder.glob("*.json")
    return decode_sidecar(path.read_bytes())


@pytest.mark.parametrize("isolate", [False, True])
async def test_a_pause_is_silent_on_both_sides(tmp_path: Path, isolate: bool) -> None:
    """In its place, and the JSON file says from when to when; plays and marks are there, too."""
    noise = np.random.default_rng(1).integers(1000, 5000, 8000 * 3).astype(np.int16)
    plan = CallPlan(audio=Audio(noise, 8000), seconds=1.8, linger_s=0.2)
    await recorded(tmp_path, "pauses", plan, isolate=isolate)
    sidecar = only_sidecar(tmp_path)
    ((paused, resumed),) = sidecar.pauses
    assert 0.55 <= paused < resumed
    assert resumed - paused >= 0.55
    samples, rate_hz = read(tmp_path / sidecar.files[0])
    assert rate_hz == 8000
    begins, ends = round(paused * 8000), round(resumed * 8000)
    # The JSON file rounds to a millisecond.
    assert not samples[begins + 8 : ends - 8].any()
    for part in (samples[begins - 800 : begins - 8], samples[ends + 8 : ends + 800]):
        assert (np.count_nonzero(part, axis=0) > 700).all()
    (play,) = sidecar.plays
    assert play.at is not None
    assert abs(play.at - np.argmax(samples[:, 1] != 0) / 8000) < 0.01
    assert play.heard == pytest.approx(min(3.0, sidecar.seconds), abs=0.5)
    assert [mark.name for mark in sidecar.marks] == ["said"]
    assert sidecar.layout == "stereo"
    assert sidecar.summary is not None
    assert sidecar.summary.recordings == (str(tmp_path / sidecar.files[0]),)
    assert sidecar.summary.caller == "…94"


async def test_speech_is_listed(tmp_path: Path) -> None:
    """Where a detector runs: from when to when the caller spoke."""
    silence = np.zeros(16000, np.int16)
    said = Audio(np.concatenate([silence, speech().samples[:16000], silence]), 16000)
    plan = CallPlan(audio=said, seconds=3.0, linger_s=0.1)
    await recorded(tmp_path, "pauses", plan, "vad", isolate=True, numbers="full")
    sidecar = only_sidecar(tmp_path)
    begun = sidecar.speech[0][0]
    ended = sidecar.speech[-1][1]
    assert 0.8 <= begun <= 1.6
    assert ended is not None
    assert 1.5 <= ended <= 2.6
    assert sidecar.summary is not None
    assert sidecar.summary.caller == "+13122010094"


async def test_layouts_hold_the_same(tmp_path: Path) -> None:
    """Three files, or one channel: each track at its own rate, all in the same place."""
    plan = CallPlan(tracks="both", seconds=0.6, linger_s=0.1, call_control_id="t")
    await recorded(tmp_path, "pauses", plan, isolate=False, layout="tracks")
    sidecar = only_sidecar(tmp_path)
    assert sorted(sidecar.files) == ["t-heard.wav", "t-inbound.wav", "t-outbound.wav"]
    folder = tmp_path / "mono"
    await recorded(folder, "pauses", plan, isolate=False, layout="mono", format="flac")
    assert only_sidecar(folder).files == ("t.flac",)
    assert {path.name for path in folder.iterdir()} == {"t.flac", "t.json"}


async def test_a_disk_that_stands_still_holds_up_no_call(tmp_path: Path) -> None:
    """Calls are carried to their end meanwhile; when it moves again nothing is missing."""
    moves = threading.Event()
    WRITING.put(lambda: moves.wait(60.0) and None)
    chain = (
        ProcessorSetting("record", {"directory": str(tmp_path), "layout": "tracks"}),
        ProcessorSetting("echo"),
    )
    settings = Settings(
        port=0, processors=chain, handler_grace_s=0.2, backlog_ms=30_000, catch_up=False
    )
    async with MediaServer(settings) as server:
        report = await place_call(server.url, CallPlan(seconds=1.5, call_control_id="s"))
        assert (report.lost, report.close_code) == (0, 1000)
        await soon(lambda: server.service.n_calls == 0, 20.0)
        assert PENDING.n == 1
        assert not written(tmp_path)
        moves.set()
        await soon(lambda: PENDING.n == 0, 20.0)
    assert written(tmp_path) == ["s-heard.wav", "s-inbound.wav", "s.json"]
    samples, _ = read(tmp_path / "s-inbound.wav")
    assert len(samples) == pytest.approx(1.5 * 8000, abs=160)


def written(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
