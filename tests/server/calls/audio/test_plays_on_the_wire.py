"""What becomes of plays and marks, of every kind of source, over real sockets."""

from __future__ import annotations

import asyncio
import io
import wave
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from mediaserver.app import MediaServer
from mediaserver.carrier import CallPlan, FakeCall
from mediaserver.errors import ConfigurationError
from mediaserver.processors.api import AudioSource, Hint, Play
from telephony_codecs import Int16Array
from tests.server.conftest import Serving
from tests.server.playbots import HELD, Mute, bursts, call_of, endless, level, roughness, tone

# Sources.


def encoded_file(kind: str, samples: Int16Array, rate_hz: int) -> bytes:
    """An audio file, made by PyAV."""
    file = io.BytesIO()
    codec_name = {"wav": "pcm_s16le", "flac": "flac", "mp3": "libmp3lame"}[kind]
    with av.open(file, "w", format=kind) as container:
        stream: Any = container.add_stream(codec_name, rate=rate_hz, layout="mono")
        planes = "s16p" if kind == "mp3" else "s16"
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format=planes, layout="mono")
        frame.sample_rate = rate_hz
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    return file.getvalue()


def a_source(kind: str, samples: Int16Array, folder: Path) -> AudioSource:
    if kind == "array":
        return samples
    if kind == "iterator":
        return bursts(samples, 16000, 1)
    if kind == "path":
        path = folder / "clip.wav"
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, 16000, 0, "NONE", ""))
            file.writeframes(samples.astype("<i2").tobytes())
        return path
    return encoded_file(kind, samples, 16000)


@pytest.mark.parametrize("kind", ["array", "iterator", "path", "wav", "flac", "mp3"])
async def test_every_kind_of_source_is_played(serving: Serving, tmp_path: Path, kind: str) -> None:
    """The caller hears the samples themselves, or of MP3 as much of them as it kept."""
    samples = tone(16000, 0.5)
    plan = CallPlan(send_codec="L16", send_rate_hz=16000)
    async with serving(HELD) as server, FakeCall.connect(server.url, plan) as fake:
        play = await (await call_of(plan)).play(a_source(kind, samples, tmp_path), rate=16000)
        assert await asyncio.wait_for(play.finished(), 5) == "played"
        heard = fake.intake.arrivals.audio()
        total_s = play.heard
    if kind == "mp3":
        middle = slice(2400, 2400 + 3200)
        assert roughness(heard[middle], 16000).max() < 300
        assert len(heard) >= len(samples)
    else:
        assert np.array_equal(heard[: len(samples)], samples)
        assert not heard[len(samples) :].any()
        assert total_s == pytest.approx(0.5)


async def breaks(samples: Int16Array) -> AsyncIterator[Int16Array]:
    yield samples
    raise RuntimeError("a source's own fault")


@pytest.mark.parametrize("what", ["iterator", "path", "bytes"])
async def test_a_source_that_fails_fails_its_play_alone(
    serving: Serving, tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What it gave is heard, it ends as failed, it is logged; the next play goes on."""
    sources: dict[str, AudioSource] = {
        "iterator": breaks(level(500, 8000, 0.2)),
        "path": tmp_path / "missing.wav",
        "bytes": b"no audio file at all",
    }
    plan = CallPlan(send_codec="L16", send_rate_hz=8000)
    async with serving(HELD) as server, FakeCall.connect(server.url, plan) as fake:
        call = await call_of(plan)
        failed = await call.play(sources[what])
        following = await call.play(level(700, 8000, 0.1))
        states = [await failed.finished(), await following.finished()]
        heard = fake.intake.arrivals.audio()
    assert states == ["failed", "played"]
    expected = [500] * 1600 * (what == "iterator") + [700] * 800
    assert heard[: len(expected)].tolist() == expected
    assert any("source failed" in r.message or "cannot play" in r.message for r in caplog.records)


async def test_a_cancelled_play_is_not_heard_any_more(serving: Serving) -> None:
    """Of one that waits nothing, of one that plays no more than its lead; the next goes on."""
    plan = CallPlan(send_codec="L16", send_rate_hz=8000)
    async with serving(HELD) as server, FakeCall.connect(server.url, plan) as fake:
        call = await call_of(plan)
        playing = await call.play(endless(100, 8000))
        waiting = await call.play(level(200, 8000, 0.5))
        last = await call.play(level(300, 8000, 0.1))
        await asyncio.sleep(0.3)
        waiting.cancel()
        playing.cancel()
        states = await asyncio.gather(*(p.finished() for p in (playing, waiting, last)))
        heard = fake.intake.arrivals.audio()
        assert playing.heard == pytest.approx(np.count_nonzero(heard == 100) / 8000, abs=0.001)
        assert waiting.heard == 0
    assert states == ["cleared", "cleared", "played"]
    assert 200 not in heard
    assert np.count_nonzero(heard == 300) == 800


# Marks, and the end of the socket.


async def test_marks_come_back_when_the_caller_gets_there(serving: Serving) -> None:
    """One behind a play is played with it; one behind audio that is cleared is cleared."""
    plan = CallPlan(send_codec="L16", send_rate_hz=8000)
    async with serving(HELD) as server, FakeCall.connect(server.url, plan) as fake:
        call = await call_of(plan)
        first = await call.play(level(100, 8000, 0.2))
        reached = await call.mark("half way")
        await call.play(level(200, 8000, 5.0))
        never = await call.mark("half way")
        before = [reached.state, never.state]
        assert await asyncio.wait_for(reached.finished(), 5) == "played"
        assert first.state == "played"
        assert fake.intake.ear.heard_s(fake.now()) >= 0.2
        await call.clear()
        assert await asyncio.wait_for(never.finished(), 5) == "cleared"
        assert reached.state == "played"
        await fake.wait_until(lambda: len(fake.intake.ear.cuts) == 1)
    assert before == ["queued", "queued"]


@pytest.mark.parametrize("grace_s", [0, 5])
async def test_what_is_outstanding_when_the_socket_dies_is_cleared(
    serving: Serving, grace_s: float
) -> None:
    """At once, also where the call waits for another socket: whoever waits is told."""
    plan = CallPlan(send_codec="L16", send_rate_hz=8000)
    async with serving(HELD, reconnect_grace_s=grace_s) as server:
        async with FakeCall.connect(server.url, plan) as fake:
            await fake.send_payload(b"\xff" * 160)  # a call without media is not waited for
            call = await call_of(plan)
            playing = await call.play(level(100, 8000, 5.0))
            fed = await call.play(endless(200, 8000))
            mark = await call.mark("end")
            await asyncio.sleep(0.2)
            fake.cut()
            ends = (each.finished() for each in (playing, fed, mark))
            assert await asyncio.wait_for(asyncio.gather(*ends), 5) == ["cleared"] * 3
            assert 0 < playing.heard < 5
            assert fed.heard == 0
        assert server.service.n_calls == (1 if grace_s else 0)
        if grace_s:
            await call.hangup()
            await asyncio.wait_for(server.service.drained(), 5)


# mp3 mode.


async def test_mp3_mode_plays_files_and_arrays_one_a_second(
    serving: Serving, tmp_path: Path
) -> None:
    """Each is an MP3 file that the caller hears; live audio is refused, the call goes on."""
    plan = CallPlan(mode="mp3", seconds=0.5)
    async with serving(HELD, "echo") as server, FakeCall.connect(server.url, plan) as fake:
        call = await call_of(plan)
        plays = [
            await call.play(tone(8000, 0.4), rate=8000),
            await call.play(a_source("path", tone(16000, 0.4), tmp_path)),
        ]
        await fake.speak()  # into an echo that cannot be
        for refused in (
            call.play(tone(8000, 0.4), rate=8000, live=True),
            call.play(endless(100, 8000)),
        ):
            with pytest.raises(ConfigurationError, match="needs mode rtp"):
                await refused
        assert server.service.n_calls == 1
        plays.append(await call.play(a_source("mp3", tone(16000, 0.4), tmp_path)))
        states = await asyncio.wait_for(asyncio.gather(*(p.finished() for p in plays)), 8)
        arrivals, complaints = fake.intake.arrivals, fake.record.complaints
        silent, ear = fake.intake.silent, fake.intake.ear
        processor_errors = server.service.counters["processor_errors"]
    assert states == ["played"] * 3
    assert complaints == []
    assert silent == {}
    assert np.diff(arrivals.at_s).min() > 0.98, "the fake's own tolerance"
    for samples in arrivals.samples:
        loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > 8000)
        assert 0.35 < (loud[-1] - loud[0]) / ear.rate_hz < 0.45
    assert processor_errors == 1, "the echo is bypassed, once"


# Silence on purpose.


async def test_keepalive_sends_silence_while_nothing_plays(serving: Serving) -> None:
    """From the call's start, and again behind a play; without the setting nothing comes."""
    plan = CallPlan(send_codec="PCMU")
    async with serving(HELD, keepalive=True) as server:
        async with FakeCall.connect(server.url, plan) as fake:
            arrivals = fake.intake.arrivals
            await fake.wait_until(lambda: len(arrivals.at_s) >= 15)
            assert not arrivals.audio().any()
            n_before = len(arrivals.at_s)
            play = await (await call_of(plan)).play(level(8031, 8000, 0.1))
            assert await play.finished() == "played"
            await fake.wait_until(lambda: len(arrivals.at_s) >= n_before + 20)
            heard = arrivals.audio()
        assert np.count_nonzero(heard) == 800
        assert not heard[-160:].any()
    async with serving(HELD) as server, FakeCall.connect(server.url, CallPlan()) as fake:
        await asyncio.sleep(0.3)
        assert not fake.intake.arrivals.at_s


# Hints: whether the far end plays at all.


async def hints_after(
    server: MediaServer, fake: FakeCall, plays: Callable[[], AsyncIterator[Play]]
) -> list[str]:
    """Names of the hints of a call that was played into, looked at as if 6 s had gone by."""
    call = await call_of(fake.plan)
    events = call.events()
    async for _ in plays():
        pass
    session = server.service.sessions[fake.plan.call_control_id]
    now = asyncio.get_running_loop().time()
    for second in range(1, 7):
        session.look(now + second)
    await fake.hang_up()
    return [event.name async for event in events if isinstance(event, Hint)]


@pytest.mark.parametrize(
    ("far_end", "mode", "hint"),
    [(Mute, "rtp", ["no_marks"]), (FakeCall, "mp3", ["early_marks"]), (FakeCall, "rtp", [])],
    ids=["no mark comes back", "marks come back at once", "all is well"],
)
async def test_a_far_end_that_does_not_play_is_hinted(
    serving: Serving, far_end: type[FakeCall], mode: str, hint: list[str]
) -> None:
    """Marks that never come, or before their audio can be heard: mode mp3, or none, there."""
    plan = CallPlan(mode=mode, tell_formats=False)  # type: ignore[arg-type]  # one of the two
    async with serving(HELD) as server, far_end.connect(server.url, plan) as fake:
        call = await call_of(plan)

        async def plays() -> AsyncIterator[Play]:
            for _ in range(3):
                play = await call.play(tone(8000, 0.3), rate=8000)
                if far_end is not Mute:
                    await asyncio.wait_for(play.finished(), 5)
                yield play
            await asyncio.sleep(0.4)

        assert await hints_after(server, fake, plays) == hint


async def test_a_long_play_and_keepalive_are_no_reason_for_a_hint(serving: Serving) -> None:
    """Audio that nobody has asked a mark for yet says nothing of the far end."""
    plan = CallPlan()
    async with serving(HELD, keepalive=True) as server:
        async with FakeCall.connect(server.url, plan) as fake:
            call = await call_of(plan)

            async def plays() -> AsyncIterator[Play]:
                yield await call.play(tone(8000, 30.0), rate=8000)
                await fake.wait_until(lambda: len(fake.intake.arrivals.at_s) > 3)
                session = server.service.sessions[plan.call_control_id]
                session.look(asyncio.get_running_loop().time())

            assert await hints_after(server, fake, plays) == []
