"""Sources that cannot be played: what is refused at once, and what fails later, alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mediaserver
from mediaserver.carrier import CallPlan, FakeCall
from mediaserver.processors.api import Call
from tests.server.conftest import Serving
from tests.server.playbots import HELD, call_of, level, stalls, tone

in_both_modes = pytest.mark.parametrize("mode", ["rtp", "mp3"])


def plan_of(mode: Any) -> CallPlan:
    if mode == "mp3":
        return CallPlan(mode="mp3")
    return CallPlan(send_codec="L16", send_rate_hz=8000)


async def stays_whole(call: Call) -> None:
    """The next good clip is heard to its end."""
    play = await call.play(tone(8000, 0.1), rate=8000)
    assert await asyncio.wait_for(play.finished(), 8) == "played"


# Refused at once.

NO_AUDIO: dict[str, Any] = {
    "float64": np.zeros(160),
    "float32": np.zeros(160, np.float32),
    "int32": np.zeros(160, np.int32),
    "uint8": np.zeros(160, np.uint8),
    "two-dimensional": np.zeros((160, 1), np.int16),
    "two channels": np.zeros((2, 160), np.int16),
    "a scalar": np.array(7, np.int16),
    "a list": [0] * 160,
    "a tuple": (0,) * 160,
    "None": None,
    "a generator": (level(1, 8000, 0.02) for _ in range(2)),
}


@pytest.mark.parametrize(("mode", "live"), [("rtp", False), ("rtp", True), ("mp3", False)])
async def test_what_is_no_audio_is_refused(serving: Serving, mode: str, live: bool) -> None:
    """``play`` raises AudioFormatError, the public one, each time; a good clip is played then."""
    plan = plan_of(mode)
    async with serving(HELD) as server, FakeCall.connect(server.url, plan):
        call = await call_of(plan)
        for source in NO_AUDIO.values():
            with pytest.raises(mediaserver.AudioFormatError):
                await call.play(source, live=live)
        await stays_whole(call)


@in_both_modes
async def test_a_rate_there_is_not_is_refused(serving: Serving, mode: str) -> None:
    """Of arrays: AudioFormatError, and the next clip is played."""
    plan = plan_of(mode)
    async with serving(HELD) as server, FakeCall.connect(server.url, plan):
        call = await call_of(plan)
        for rate in (7, -8000, 10**9):
            with pytest.raises(mediaserver.AudioFormatError):
                await call.play(level(1, 8000, 0.1), rate=rate)
        await stays_whole(call)


async def silent_for_ever() -> AsyncIterator[Any]:
    while True:
        yield level(1, 8000, 0.02)


async def test_a_rate_there_is_not_is_refused_for_streams(serving: Serving) -> None:
    """Of iterators, too: nothing of them is pulled."""
    plan = plan_of("rtp")
    source = silent_for_ever()
    async with serving(HELD) as server, FakeCall.connect(server.url, plan):
        call = await call_of(plan)
        with pytest.raises(mediaserver.AudioFormatError):
            await call.play(source, rate=7)
        await stays_whole(call)
    assert source.ag_frame is not None, "never begun, so never ended"  # type: ignore[attr-defined]  # generators only


@pytest.mark.parametrize("what", ["float64", "int32", "two-dimensional", "a list"])
async def test_a_filter_gets_the_public_error(serving: Serving, what: str) -> None:
    """``play_live`` raises AudioFormatError as well, and what follows is heard."""
    plan = plan_of("rtp")
    async with serving(HELD) as server, FakeCall.connect(server.url, plan):
        call = await call_of(plan)
        with pytest.raises(mediaserver.AudioFormatError):
            call.play_live(NO_AUDIO[what])
        await stays_whole(call)


async def yields(what: Any) -> AsyncIterator[Any]:
    yield what


@pytest.mark.parametrize("what", ["float64", "two-dimensional", "a scalar", "a list", "None"])
async def test_a_stream_of_no_audio_fails(serving: Serving, what: str) -> None:
    """An iterator that yields something else ends as failed, and what follows is heard."""
    plan = plan_of("rtp")
    async with serving(HELD) as server, FakeCall.connect(server.url, plan):
        call = await call_of(plan)
        play = await call.play(yields(NO_AUDIO[what]))
        assert await asyncio.wait_for(play.finished(), 5) == "failed"
        await stays_whole(call)


# Failing later.


def broken(what: str, folder: Path) -> Any:
    """A file or octets that cannot be read as audio."""
    path = folder / "clip.wav"
    if what == "a text file":
        path.write_text("no audio at all\n" * 100)
    elif what == "an empty file":
        path.touch()
    elif what == "a folder":
        return folder
    elif what == "a name that no file can have":
        return Path("clip\0.wav")
    elif what == "a cut WAV file":
        path.write_bytes(b"RIFF\x24\x00\x00\x00WAVEfmt ")
    return {"octets": b"\x01\x02" * 500, "no octets": b""}.get(what, path)


BROKEN = (
    "a missing file",
    "a text file",
    "an empty file",
    "a folder",
    "a name that no file can have",
    "a cut WAV file",
    "octets",
    "no octets",
)


@in_both_modes
@pytest.mark.parametrize("what", BROKEN)
async def test_what_cannot_be_read_fails_alone(
    serving: Serving, tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: str, what: str
) -> None:
    """Its play ends as failed and is logged; the ones before and behind it are played."""
    plan = plan_of(mode)
    async with (
        serving(HELD) as server,
        FakeCall.connect(server.url, plan) as fake,
        stalls() as machine,
    ):
        call = await call_of(plan)
        plays = [
            await call.play(tone(8000, 0.1), rate=8000),
            await call.play(broken(what, tmp_path)),
            await call.play(tone(8000, 0.1), rate=8000),
        ]
        assert plays[1].state == "queued", "play() returns before the file is read"
        states = await asyncio.wait_for(asyncio.gather(*(p.finished() for p in plays)), 8)
        assert plays[1].heard == 0
        # Behind a stall two messages come closer to each other than they were sent.
        assert fake.record.complaints == [] or machine.worst_s > 0.03
        assert not fake.closed.is_set()
    assert states == ["played", "failed", "played"]
    assert sum("cannot play" in record.message for record in caplog.records) == 1


@in_both_modes
async def test_a_broken_file_counts_as_a_failed_play(
    serving: Serving, tmp_path: Path, mode: str
) -> None:
    """The processor goes on: no error of it is counted."""
    plan = plan_of(mode)
    async with serving(HELD) as server, FakeCall.connect(server.url, plan):
        call = await call_of(plan)
        play = await call.play(tmp_path / "missing.wav")
        assert await asyncio.wait_for(play.finished(), 5) == "failed"
        assert server.service.n_calls == 1
        assert server.service.counters["processor_errors"] == 0


@in_both_modes
async def test_a_broken_file_can_be_cleared(serving: Serving, tmp_path: Path, mode: str) -> None:
    """``clear`` before it was read ends it as cleared, once; it does not fail behind that."""
    plan = plan_of(mode)
    async with serving(HELD) as server, FakeCall.connect(server.url, plan):
        call = await call_of(plan)
        play = await call.play(tmp_path / "missing.wav")
        cleared = await call.clear()
        await stays_whole(call)
        assert list(cleared) == [play]
        assert play.state == "cleared"
