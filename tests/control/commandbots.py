"""Bots that command their calls, and write down what came of it: also from another process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

from mediaserver import Call, Webhook, processor


class Notes:
    """A file of what a bot saw, one line each."""

    def __init__(self, call: Call, directory: Path) -> None:
        self._file = directory / call.id.replace("/", "_").replace(":", "_")

    def write(self, *said: object) -> None:
        with self._file.open("a") as file:
            print(*said, file=file)

    async def attempt(self, name: str, command: Awaitable[Any]) -> None:
        """Write down how a command ended."""
        try:
            result = await command
        except Exception as exc:
            self.write(name, type(exc).__name__, exc)
        else:
            self.write(name, result.result, result.was_already_so)


async def until(events: AsyncIterator[Any], event_type: str) -> Any:
    """The next webhook of a type."""
    async for event in events:
        if isinstance(event, Webhook) and event.event.event_type == event_type:
            return event.event
    raise AssertionError(f"no {event_type} came")


@processor
async def story(call: Call, directory: Path) -> None:
    """Each command once, and the webhook that tells what became of it."""
    notes, events, control = Notes(call, directory), call.events(), call.control
    await notes.attempt("speak", control.speak("Hello", voice="female", client_state=b"\xff"))
    spoken = await until(events, "call.speak.ended")
    notes.write(type(spoken).__name__, spoken.status, spoken.client_state)
    await notes.attempt("record", control.start_recording(channels="dual", format="mp3"))
    await notes.attempt("pause", control.pause_recording())
    await notes.attempt("resume", control.resume_recording())
    await notes.attempt("stop", control.stop_recording())
    saved = await until(events, "call.recording.saved")
    notes.write(type(saved).__name__, saved.channels, *saved.recording_urls)
    await notes.attempt("keys", control.send_dtmf("12#", duration_millis=100))
    await notes.attempt("gather", control.gather_using_speak("Pin?", voice="a", maximum_digits=4))
    await until(events, "call.speak.ended")
    await notes.attempt("play", control.start_playback(media_name="music", loop="infinity"))
    await notes.attempt("silence", control.stop_playback())
    await notes.attempt("any", control.command("siprec_start", connector_name="x"))
    await notes.attempt("again", control.stop_forking())
    await notes.attempt("transfer", control.transfer("+13125550100", from_="+3"))
    notes.write(type(await until(events, "call.bridged")).__name__)
    await call.hangup()
    await notes.attempt("hangup", control.hangup())
    notes.write("over")


@processor
async def mistakes(call: Call, directory: Path) -> None:
    """What goes wrong is raised here, of the control client's own classes."""
    notes, events, control = Notes(call, directory), call.events(), call.control
    wrong: Any = control
    await notes.attempt("field", wrong.speak("Hello", voice="a", language=7))
    await notes.attempt("unknown field", wrong.speak("Hello", voice="a", pitch=7))
    await notes.attempt("unsendable", wrong.command("refer", sip_address={1}))
    await notes.attempt("id", wrong.speak("Hello", voice="a", call_control_id="v3:another"))
    await notes.attempt("refused", control.speak("Hello", voice="a"))
    await notes.attempt("not found", control.bridge("v3:nobody"))
    await notes.attempt("action", control.command("../calls"))
    await notes.attempt("method", wrong._perform("dial", (), {"to": "+1"}))
    await notes.attempt("inner", wrong._perform("actions", (), {}))
    await until(events, "call.hangup")
    async for _ in events:  # to its end
        pass
    await notes.attempt("ended", control.speak("Hello", voice="a"))
    notes.write("over")


@processor
async def keyless(call: Call, directory: Path) -> None:
    """Where there is no control client."""
    notes = Notes(call, directory)
    await notes.attempt("speak", call.control.speak("Hello", voice="a"))
    notes.write("over")


@processor
async def impatient(call: Call, directory: Path) -> None:
    """Waits for one command only shortly, and goes on."""
    notes = Notes(call, directory)
    try:
        async with asyncio.timeout(0.5):
            await call.control.speak("Hello", voice="a")
    except TimeoutError:
        notes.write("given up")
    await notes.attempt("keys", call.control.send_dtmf("1"))
    notes.write("over")


@processor
async def stuck(call: Call, directory: Path) -> None:
    """Is in the middle of a command when its call is cut."""
    notes = Notes(call, directory)
    try:
        await call.control.speak("Hello", voice="a")
    except asyncio.CancelledError:
        notes.write("cancelled")
        notes.write("over")
        raise


@processor
async def dies(call: Call, directory: Path) -> None:
    """Its process ends in the middle of a command; the next one gives another command."""
    notes = Notes(call, directory)
    if not (directory / "died").exists():
        (directory / "died").touch()
        asyncio.get_running_loop().call_later(0.3, os._exit, 1)
        await call.control.speak("Hello", voice="a")
    await notes.attempt("again", call.control.stop_forking())
    notes.write("over")
