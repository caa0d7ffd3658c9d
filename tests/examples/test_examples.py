"""Every example, as users load it: by file name, in a real server, called by the fake Telnyx."""

from __future__ import annotations

import asyncio
import io
import logging
import math
import os
import re
import signal
import subprocess
import sys
import wave
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from mediaserver.app import MediaServer
from mediaserver.carrier import Audio, CallPlan, FakeCall, place_call, place_calls
from mediaserver.carrier.plan import speech
from mediaserver.carrier.rest.api import FakeTelnyx
from mediaserver.carrier.rest.faults import RestFault
from mediaserver.carrier.rest.habits import Habits
from mediaserver.carrier.turns import Turn
from mediaserver.settings import ProcessorSetting, Settings
from telephony_codecs import resample_clip
from tests.control.test_end_to_end import world
from tests.ports import free_port

EXAMPLES = Path(__file__).parents[2] / "examples"
Where = Literal["none", "process"]
TESTED = {
    "attendant",
    "bridge",
    "echo_bot",
    "embed",
    "gain_filter",
    "listening_bot",
    "prompt_bot",
    "supervisor",
    "talk_over",
    "voicemail",
    # In ``test_agents.py``.
    *("voice_agent", "speech_agent", "live_transcript", "keyword_alarm", "ivr", "reminder"),
}


@pytest.fixture(params=["none", "process"], ids=["inline", "isolated"])
def where(request: pytest.FixtureRequest) -> Where:
    """In the server's process, or in a processor host."""
    found: Where = request.param
    return found


@asynccontextmanager
async def serving(
    where: Where, example: str, *others: str, allow: tuple[str, ...] = (), **parameters: Any
) -> AsyncIterator[MediaServer]:
    """A server with one example and perhaps built-ins behind it."""
    first = ProcessorSetting(str(EXAMPLES / example), parameters, allow, isolate=where)
    chain = (first, *map(ProcessorSetting, others))
    # A busy machine may stall for longer than live audio may wait: nothing is dropped here.
    settings = Settings(
        port=0, processors=chain, backlog_ms=30_000, catch_up=False, reconnect_grace_s=0
    )
    async with MediaServer(settings) as server:
        yield server
        assert server.service.counters["processor_errors"] == 0


def steady(level: int, seconds: float = 1.0, rate_hz: int = 8000) -> Audio:
    """A square wave of 200 Hz."""
    n_samples = round(seconds * rate_hz)
    high = np.arange(n_samples) // (rate_hz // 400) % 2 == 0
    return Audio(np.where(high, level, -level).astype(np.int16), rate_hz)


def heard_by(call: FakeCall) -> np.ndarray[Any, Any]:
    """Everything the caller has heard so far."""
    ear = call.intake.ear
    return ear.between(0, max(0.0, ear.end_s))


def test_every_example_is_tested() -> None:
    """There is no example but those in this module and its neighbour; none is long."""
    files = list(EXAMPLES.glob("*.py"))
    assert {path.stem for path in files} == TESTED
    assert max(path.read_text().count("\n") for path in files) <= 80


async def test_echo_bot(where: Where) -> None:
    """All of the caller's audio comes back, bit for bit."""
    async with serving(where, "echo_bot.py:echo") as server:
        report = await place_call(server.url, CallPlan(seconds=1.0))
    assert report.echo_problem is None
    assert report.bit_exact


async def test_listening_bot(where: Where) -> None:
    """What was said comes back as a whole, behind the silence that ends it."""
    silence = np.zeros(16_000, np.int16)
    clip = speech()
    said = resample_clip(clip.samples, clip.rate_hz, 8000)[8000:24_000]
    audio = Audio(np.concatenate([silence, said, silence, silence, silence]), 8000)
    async with serving(where, "listening_bot.py:listen", "vad") as server:
        report = await place_call(server.url, CallPlan(audio=audio, linger_s=0.5))
    assert report.close_code == 1000
    assert report.heard is not None
    heard = report.heard.between(0, report.heard.end_s).astype(np.int32)
    assert np.abs(heard).max() > 0.5 * np.abs(said.astype(np.int32)).max()


@pytest.fixture
def prompt(tmp_path: Path) -> Path:
    """Twenty seconds of a square wave in a file."""
    return prompt_of(tmp_path, 20.0)


def prompt_of(folder: Path, seconds: float) -> Path:
    path = folder / "prompt.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(steady(8000, seconds).samples.astype("<i2").tobytes())
    return path


async def test_prompt_bot_is_cut_short_by_a_key(where: Where, prompt: Path) -> None:
    """A key empties the caller's queue; 0 ends the call from the server's side."""
    silence = Audio(np.zeros(8000, np.int16), 8000)
    plan = CallPlan(audio=silence, seconds=10.0)
    async with serving(where, "prompt_bot.py:menu", prompt=prompt, pause_s=60) as server:
        async with FakeCall.connect(server.url, plan) as call:
            await call.wait_until(lambda: call.intake.ear.n_fed > 4000, 10)
            await call.press("5")
            await call.wait_until(lambda: bool(call.intake.ear.cuts), 10)
            n_samples = len(heard_by(call))
            assert n_samples < 8000 * 10
            await call.press("0")
            await asyncio.wait_for(call.closed.wait(), 10)
            assert call.record.close_code == 1000
            assert len(heard_by(call)) == n_samples, "the prompt did not begin again"


async def test_prompt_bot_is_cut_short_by_a_voice(where: Where, prompt: Path) -> None:
    """With ``barge_in_db`` the caller's own voice clears the prompt."""
    voice = steady(16000)
    plan = CallPlan(audio=voice, seconds=10.0)
    async with serving(
        where, "prompt_bot.py:menu", prompt=prompt, pause_s=60, barge_in_db=-20
    ) as server:
        async with FakeCall.connect(server.url, plan) as call:
            await call.wait_until(lambda: call.intake.ear.n_fed > 4000, 10)
            for _ in range(10):
                await call.send_audio(voice.samples[:160])
            await call.wait_until(lambda: bool(call.intake.ear.cuts), 10)


async def test_prompt_bot_says_the_prompt_again(where: Where, tmp_path: Path) -> None:
    """A prompt that was heard to its end is played again after the pause."""
    path = tmp_path / "beep.wav"
    path.write_bytes(wav_of(steady(8000, 0.1)))
    plan = CallPlan(payloads=[b"\xff" * 160], seconds=10.0)
    async with serving(where, "prompt_bot.py:menu", prompt=path, pause_s=0.1) as server:
        async with FakeCall.connect(server.url, plan) as call:
            await call.wait_until(lambda: call.intake.ear.n_fed >= 3 * 800, 10)


async def test_gain_filter(where: Where) -> None:
    """The echo behind it is twice as loud at 6 dB, and what overflows is clipped."""
    level = 1000
    for db, expected in ((20 * math.log10(2), 2 * level), (60.0, 32767)):
        plan = CallPlan(codec="L16", rate_hz=8000, audio=steady(level), seconds=0.4)
        async with serving(where, "gain_filter.py:Gain", "echo", db=db) as server:
            async with FakeCall.connect(server.url, plan) as call:
                await call.speak()
                heard = heard_by(call)
        assert len(heard) >= 3200
        assert heard.max() == expected
        assert heard.min() in (-expected, -expected - 1)


async def test_talk_over(
    where: Where, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """One second of both, and one of the outbound track alone, are told apart."""
    both = steady(8000, 1.0).samples
    inbound = np.concatenate((both, np.zeros(8000, np.int16)))
    plan = CallPlan(
        codec="L16",
        rate_hz=8000,
        tracks="both",
        audio=Audio(inbound, 8000),
        outbound_audio=Audio(np.concatenate((both, both)), 8000),
    )
    with caplog.at_level(logging.INFO):
        async with serving(where, "talk_over.py:talk_over") as server:
            await place_call(server.url, plan)
    lines = [r.getMessage() for r in caplog.records]
    if where == "process":
        lines = capfd.readouterr().err.splitlines()
    told = [line for line in lines if "both" in line]
    assert len(told) == 1
    figures = [float(found) for found in re.findall(r"(\d+\.\d) s", told[0])]
    for figure, expected in zip(figures, (1.0, 2.0, 1.0), strict=True):
        assert abs(figure - expected) < 0.25, told


async def test_voicemail(where: Where, tmp_path: Path) -> None:
    """The caller speaks when the greeting is over, is thanked and hung up; the message is kept."""
    said = Turn("message", "silence", samples=steady(8000).samples)
    plan = CallPlan(turns=[said], expect_hangup=True, quiet_s=0.5, seconds=60.0)
    bot = {"greeting": prompt_of(tmp_path, 1.0), "folder": tmp_path}
    async with serving(where, "voicemail.py:voicemail", **bot) as server:
        report = await place_call(server.url, plan)
    assert report.problem is None
    assert report.bot_hung_up
    (greeting, thanks) = report.heard_at_s
    ((_, from_s, to_s),) = report.taken
    assert greeting[1] < from_s < to_s < thanks[0]
    (message,) = await asyncio.to_thread(lambda: list(tmp_path.glob("v3-*.wav")))
    with wave.open(str(message)) as file:
        loud = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    assert abs(np.count_nonzero(np.abs(loud) > 4000) - 8000) < 200


async def test_voicemail_ends_with_pound(where: Where, tmp_path: Path) -> None:
    """The caller still speaks, presses #, and is thanked and hung up."""
    said = Turn("message", "silence", samples=steady(8000, 5.0).samples)
    pound = Turn("pound", "time", at_s=1.6, keys="#")
    plan = CallPlan(turns=[said, pound], expect_hangup=True, quiet_s=0.5, seconds=60.0)
    bot = {"greeting": prompt_of(tmp_path, 0.3), "folder": tmp_path}
    async with serving(where, "voicemail.py:voicemail", **bot) as server:
        report = await place_call(server.url, plan)
    assert report.bot_hung_up
    (message,) = await asyncio.to_thread(lambda: list(tmp_path.glob("v3-*.wav")))
    with wave.open(str(message)) as file:
        assert 0.0 < file.getnframes() / 8000 < 4.0


async def test_bridge(where: Where) -> None:
    """Two calls of one room hear each other and not themselves; another room hears nothing."""
    levels = {"a": 2000, "b": 4000, "c": 6000}
    async with serving(where, "bridge.py:Bridge", allow=("room",)) as server:

        async def hold(name: str, room: str) -> np.ndarray[Any, Any]:
            plan = CallPlan(
                codec="L16",
                rate_hz=8000 if name == "a" else 16000,
                audio=steady(levels[name], rate_hz=8000 if name == "a" else 16000),
                seconds=1.2,
                custom_parameters={"param_room": room},
            )
            async with FakeCall.connect(server.url, plan) as call:
                await call.speak()
                return heard_by(call)

        a, b, c = await asyncio.gather(hold("a", "1"), hold("b", "1"), hold("c", "2"))
    assert len(c) == 0
    assert 3000 < np.sqrt(np.mean(a.astype(float) ** 2)) < 4500, "a hears b"
    assert 1500 < np.sqrt(np.mean(b.astype(float) ** 2)) < 2300, "b hears a"


async def test_bridge_keeps_a_third_caller_waiting() -> None:
    """Of three calls in a room two are joined, and nothing is left of the room afterwards."""
    async with serving("none", "bridge.py:Bridge") as server:
        reports = await place_calls(server.url, [CallPlan(seconds=0.5) for _ in range(3)])
    assert sum(report.returned > 0 for report in reports) == 2
    assert not any(sys.modules["bridge"].ROOMS.values())


async def test_supervisor(where: Where) -> None:
    """Customer and agent hear each other, the supervisor both, and only the agent the whisper."""
    says_hz = {"customer": 500, "agent": 800, "supervisor": 1300, "stranger": 2100}
    async with serving(where, "supervisor.py:desk", allow=("role", "room")) as server:

        async def hold(name: str) -> set[str]:
            at_s = np.arange(3 * 8000) / 8000
            audio = (6000 * np.sin(2 * np.pi * says_hz[name] * at_s)).astype(np.int16)
            role, room = ("agent", "2") if name == "stranger" else (name, "1")
            plan = CallPlan(
                audio=Audio(audio, 8000),
                seconds=2.6,
                custom_parameters={"param_role": role, "param_room": room},
            )
            async with FakeCall.connect(server.url, plan) as call:
                await call.speak()
                last = heard_by(call)[-8000:].astype(float)
            levels = np.abs(np.fft.rfft(last)) / 4000
            # A tone that is interrupted is not so narrow.
            bands = {who: levels[hz - 60 : hz + 61] for who, hz in says_hz.items()}
            return {who for who, band in bands.items() if np.sqrt(np.sum(band**2)) > 1500}

        heard = dict(zip(says_hz, await asyncio.gather(*map(hold, says_hz)), strict=True))
    assert heard == {
        "customer": {"agent"},
        "agent": {"customer", "supervisor"},
        "supervisor": {"customer", "agent"},
        "stranger": set(),
    }


async def test_attendant(where: Where) -> None:
    """It records, speaks, speaks again when the transfer is refused, and then passes on."""
    attendant = ProcessorSetting(
        f"{EXAMPLES / 'attendant.py'}:attendant", {"operator": "+1999"}, isolate=where
    )
    async with world(attendant, echo=False) as w:
        w.fake._habits = Habits(answer_after_s=0.0, s_per_character=0.01)
        call = await w.dialled()
        await w.actions.start_streaming(call)
        await w.until_event("call.speak.ended")
        w.fake.faults.add(RestFault("status", "transfer", status=422, code="90034"))
        w.fake.calls[call].press("1")
        await w.until_event("call.speak.ended", 2)
        w.fake.calls[call].press("1")
        await w.until_event("call.bridged")
        commands = [c for c in w.fake.commanded if c.call_control_id == call]
        assert [c.command for c in commands if c.command != "streaming_start"] == [
            *("record_start", "speak", "transfer", "speak", "transfer")
        ]
        assert commands[-1].body["to"] == "+1999"
        assert w.server.service.counters["processor_errors"] == 0


async def test_embed() -> None:
    """The program dials, streams, hears of the hangup and ends."""
    port = free_port()
    async with FakeTelnyx() as fake:
        public_url = f"http://127.0.0.1:{port}"
        environment = {
            **os.environ,
            "MEDIASERVER_PORT": str(port),
            "MEDIASERVER_PUBLIC_URL": public_url,
            "MEDIASERVER_AUTH_TOKEN": "canary-of-the-example",
            "MEDIASERVER_API_BASE_URL": fake.base_url,
            "TELNYX_API_KEY": fake.api_key,
            "TELNYX_PUBLIC_KEY": fake.public_key,
        }
        command = [sys.executable, str(EXAMPLES / "embed.py"), "c", "+13122010094", "+13122123456"]
        program = await asyncio.create_subprocess_exec(
            *command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        try:
            await until(lambda: any(c.stream and c.stream.line for c in fake.calls.values()))
            (call,) = fake.calls.values()
            assert call.stream is not None
            line = call.stream.line
            assert line is not None
            await line.wait_until(lambda: line.intake.ear.n_fed > 800, 10)
            await asyncio.to_thread(hang_up, fake, call.call_control_id)
            told, errors = await asyncio.wait_for(program.communicate(), 20)
        finally:
            if program.returncode is None:
                program.send_signal(signal.SIGKILL)
                await program.wait()
    assert told.decode().splitlines()[0] == "streaming"
    assert told.decode().splitlines()[1].startswith("over: ")
    assert (program.returncode, errors.decode()) == (0, "")


def hang_up(fake: FakeTelnyx, call: str) -> None:
    """The far party hangs up, as far as the program can tell."""
    command = [sys.executable, "-m", "mediaserver", "control", "hangup", call]
    subprocess.run(
        [*command, "--api-base-url", fake.base_url],
        env={**os.environ, "TELNYX_API_KEY": fake.api_key},
        check=True,
        capture_output=True,
    )


async def until(condition: Callable[[], object]) -> None:
    """Wait for something in another process, with an end."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - another process cannot set an event of ours
            await asyncio.sleep(0.02)


def wav_of(audio: Audio) -> bytes:
    """A WAV file's bytes."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(audio.rate_hz)
        out.writeframes(audio.samples.astype("<i2").tobytes())
    return file.getvalue()
