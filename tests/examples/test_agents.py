"""The examples that speak with services, against stand-ins, called by the fake Telnyx."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mediaserver.carrier import Audio, CallPlan, FakeCall, place_call
from mediaserver.carrier.rest.habits import Habits
from mediaserver.settings import ProcessorSetting
from mediaserver.testing import RealtimeService, SynthesisService, TranscriptionService
from mediaserver.testing.calls import Caller
from tests.control.test_end_to_end import World, world
from tests.examples.agents import EXAMPLES, KEYS, Lag, Where, heard_s, serving, speak, tone, wav_of

GREETING_HZ, ANSWER_HZ, CLIP_HZ = 300, 600, 1000
SAID = ["my name is Ann", "stop", "and now"]


async def inline_and_isolated(run: Callable[[Where], Coroutine[Any, Any, None]]) -> None:
    """Both at once: they wait for most of their time."""
    async with asyncio.TaskGroup() as both:
        both.create_task(run("none"))
        both.create_task(run("process"))


async def test_voice_agent(tmp_path: Path) -> None:
    """Greeting, answer, barge-in with what was heard told, a dead service: clip and hang-up."""
    clip = wav_of(tmp_path / "sorry.wav", tone(0.6, 8000, CLIP_HZ), 8000)

    async def run(where: Where) -> None:
        answers = [tone(0.8, 24_000, GREETING_HZ), tone(6.0, 24_000, ANSWER_HZ)]
        async with RealtimeService(answers, KEYS["OPENAI_API_KEY"]) as service:
            bot = {"url": service.url, "sorry": str(clip)}
            async with serving(where, "voice_agent.py:agent", **bot) as server:
                async with FakeCall.connect(server.url, CallPlan(seconds=60.0)) as call:
                    async with Caller(call, server) as caller:
                        await conversation(service, call, caller)

    await inline_and_isolated(run)


async def conversation(service: RealtimeService, call: FakeCall, caller: Caller) -> None:
    """What happens, second by second."""
    await call.wait_until(lambda: heard_s(call, GREETING_HZ) > 0.75, 20)
    await asyncio.sleep(0.4)  # its end is told by a mark
    await speak(caller, 0.3)
    await call.wait_until(lambda: heard_s(call, ANSWER_HZ) > 1.0, 20)
    async with Lag() as lag:
        await speak(caller, 0.4)
        await service.wait_until(lambda: service.truncations)
    (cut,) = service.truncations
    (clear,) = call.intake.ear.cuts
    assert clear.n_samples > 0
    heard_ms = 1000 * heard_s(call, ANSWER_HZ)
    # Two frames, and what the machine itself was late by.
    assert abs(cut.heard_ms - heard_ms) <= 40 + lag.most_ms, (cut, heard_ms, lag.most_ms)
    assert service.problems == []
    await service.stop()
    gone_s = call.now()
    await asyncio.wait_for(call.closed.wait(), 30)
    assert heard_s(call, CLIP_HZ) > 0.5
    assert call.record.close_code == 1000
    assert call.now() - gone_s < 20


async def test_speech_agent(tmp_path: Path) -> None:
    """It greets, answers, can be interrupted; a service that refuses ends the call."""
    clip = wav_of(tmp_path / "sorry.wav", tone(0.6, 8000, CLIP_HZ), 8000)

    async def run(where: Where) -> None:
        async with (
            TranscriptionService(SAID, KEYS["DEEPGRAM_API_KEY"]) as ear,
            SynthesisService(KEYS["CARTESIA_API_KEY"]) as mouth,
        ):
            bot = {"voice": "voice-id", "greeting": "Good day.", "sorry": str(clip)}
            bot |= {"listen_url": ear.url, "speak_url": mouth.url}
            async with serving(where, "speech_agent.py:agent", **bot) as server:
                async with FakeCall.connect(server.url, CallPlan(seconds=60.0)) as call:
                    async with Caller(call, server) as caller:
                        await three_parts(ear, mouth, call, caller)

    await inline_and_isolated(run)


async def three_parts(
    ear: TranscriptionService, mouth: SynthesisService, call: FakeCall, caller: Caller
) -> None:
    """What happens, second by second; the stand-in hums 60 ms for each character."""
    greeting_s, answer = 0.06 * len("Good day."), "You said: my name is Ann. What else?"
    await call.wait_until(lambda: heard_s(call, GREETING_HZ) > greeting_s - 0.05, 20)
    await speak(caller, 0.2)
    await call.wait_until(lambda: heard_s(call, GREETING_HZ) > greeting_s + 0.5, 20)
    assert list(mouth.said.values()) == ["Good day.", answer]
    await speak(caller, 1.1)
    await mouth.wait_until(lambda: len(mouth.said) == 3)
    assert call.intake.ear.cuts, "the answer was interrupted"
    assert heard_s(call, GREETING_HZ) < greeting_s + 0.06 * len(answer)
    assert ear.problems == mouth.problems == []
    mouth.fail_status = [402, 402]  # there is no credit left
    await speak(caller, 0.2)
    await asyncio.wait_for(call.closed.wait(), 30)
    assert heard_s(call, CLIP_HZ) > 0.5


async def test_live_transcript(
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    look_for_canaries: Callable[[str, str], None],
) -> None:
    """A line for each thing that one of both said."""

    async def run(where: Where) -> None:
        async with TranscriptionService(["hello", "hello"], KEYS["DEEPGRAM_API_KEY"]) as ear:
            async with serving(where, "live_transcript.py:transcribe", url=ear.url) as server:
                said = np.concatenate((tone(0.5, 8000), np.zeros(6000, np.int16)))
                both = Audio(said, 8000)
                plan = CallPlan(tracks="both", audio=both, outbound_audio=both)
                await place_call(server.url, plan)
                await ear.wait_until(lambda: len(ear.messages) == 2)
            assert ear.problems == []

    with caplog.at_level("INFO"):
        await inline_and_isolated(run)
    written = capfd.readouterr().err
    look_for_canaries("what the processes wrote", written)
    text = "\n".join(record.getMessage() for record in caplog.records) + written
    for track in ("inbound", "outbound"):
        assert len(re.findall(rf"{track} at 0\.\d s: hello", text)) == 2, text


@pytest.fixture(params=["none", "process"], ids=["inline", "isolated"])
def where(request: pytest.FixtureRequest) -> Where:
    """In the server's process, or in a processor host."""
    found: Where = request.param
    return found


def example(name: str, where: Where, **parameters: Any) -> ProcessorSetting:
    """A processor of ``examples/``."""
    return ProcessorSetting(str(EXAMPLES / name), parameters, isolate=where)


async def test_keyword_alarm(where: Where) -> None:
    """The call is put through when a word is said; no second time."""
    alarm = example("keyword_alarm.py:alarm", where, words=("lawyer", "help"), supervisor="+1999")
    async with world(alarm, echo=False) as w:
        w.fake._habits = Habits(
            answer_after_s=0.0, transcript_every_s=0.05, transcripts=("hello", "My Lawyer!")
        )
        call = await w.dialled()
        await w.actions.start_streaming(call)
        await w.until_event("call.bridged")
        await w.until_event("call.transcription", 6)
        commands = [c.command for c in w.fake.commanded if c.call_control_id == call]
        assert commands == ["streaming_start", "transcription_start", "transfer"]
        assert w.server.service.counters["processor_errors"] == 0


async def test_reminder(where: Where, tmp_path: Path) -> None:
    """A machine is hung up on at once; somebody who presses 1, too; else it is said twice."""
    clip = wav_of(tmp_path / "due.wav", tone(0.6, 8000), 8000)
    async with world(example("reminder.py:remind", where, clip=clip), echo=False) as w:
        machine, person, nobody = [await w.dialled() for _ in range(3)]
        for call in (machine, person, nobody):
            await w.actions.start_streaming(call)
        lines = [line_of(w, call) for call in (machine, person, nobody)]
        for call in (machine, person):
            await w.until_heard(call, 0.1)
        detected = {"result": "machine"}
        w.fake.calls[machine].report("call.machine.detection.ended", **detected)
        w.fake.calls[person].press("1")
        for n in range(3):
            await w.until_event("call.hangup", n + 1)
        heard = [heard_s(line, GREETING_HZ) for line in lines]
        assert heard[0] < 0.9
        assert heard[1] < 0.9
        assert abs(heard[2] - 1.2) < 0.1
        assert w.server.service.counters["processor_errors"] == 0


def line_of(w: World, call: str) -> FakeCall:
    """Telnyx's side of a call that is streamed."""
    line = w.stream(call).line
    assert line is not None
    return line


async def test_ivr(where: Where, tmp_path: Path) -> None:
    """3 is answered by the hours, 1 by a transfer; without any key the caller is hung up."""
    prompt = wav_of(tmp_path / "menu.wav", tone(1.0, 8000), 8000)
    hours = wav_of(tmp_path / "hours.wav", tone(0.4, 8000, CLIP_HZ), 8000)
    bot = {"prompt": prompt, "hours": hours, "sales": "+1999", "wait_s": 0.2, "tries": 2}
    async with world(example("ivr.py:menu", where, **bot), echo=False) as w:
        call, silent = await w.dialled(), await w.dialled()
        for each in (call, silent):
            await w.actions.start_streaming(each)
        await w.until_heard(call, 0.2)
        line, silent_line = line_of(w, call), line_of(w, silent)
        w.fake.calls[call].press("3")
        await line.wait_until(lambda: heard_s(line, CLIP_HZ) > 0.35, 20)
        w.fake.calls[call].press("1")
        await w.until_event("call.bridged")
        transfer = w.fake.commanded[-1]
        assert (transfer.command, transfer.body["to"]) == ("transfer", "+1999")
        assert heard_s(line, GREETING_HZ) < 1.5
        await w.until_event("call.hangup")
        assert abs(heard_s(silent_line, GREETING_HZ) - 2.0) < 0.1
