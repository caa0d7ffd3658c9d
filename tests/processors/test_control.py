"""``call.control`` has the methods of the control client, and hands each command on."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from mediaserver.control.rest.actions.bound import METHODS
from mediaserver.control.rest.commands import Actions
from mediaserver.processors.control import CallControl, RecordingControl
from mediaserver.processors.events import RecordingPaused, RecordingResumed

# What is given to each, and what of it goes on; ``None`` is left out by the client.
GIVEN: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "answer": ((), {"stream": True}),
    "hangup": ((), {"custom_headers": {"X-A": "b"}}),
    "start_streaming": ((), {"stream_track": "both_tracks"}),
    "stop_streaming": ((), {"stream_id": "s"}),
    "start_forking": ((), {"rx": "udp:127.0.0.1:1", "tx": "udp:127.0.0.1:2"}),
    "stop_forking": ((), {"stream_type": "raw"}),
    "start_transcription": ((), {"transcription_engine": "Telnyx"}),
    "stop_transcription": ((), {"client_state": b"\xff"}),
    "speak": (("Hello",), {"voice": "female"}),
    "start_playback": ((), {"media_name": "m"}),
    "stop_playback": ((), {"stop": "all"}),
    "start_recording": ((), {"channels": "dual", "format": "mp3"}),
    "stop_recording": ((), {"recording_id": "r"}),
    "pause_recording": ((), {}),
    "resume_recording": ((), {}),
    "send_dtmf": (("1#",), {"duration_millis": 100}),
    "transfer": (("+1",), {"from_": "+2"}),
    "bridge": (("v3:other",), {"play_ringtone": True}),
    "gather_using_speak": (("Pin?",), {"voice": "female"}),
    "start_noise_suppression": ((), {"direction": "both"}),
    "stop_noise_suppression": ((), {}),
    "command": (("refer",), {"method": "x", "action": "y", "self": "z"}),
}
POSITIONAL = {"speak": "payload", "send_dtmf": "digits", "transfer": "to"} | {
    "gather_using_speak": "payload"
}


def public(of: type) -> set[str]:
    return {name for name in vars(of) if not name.startswith("_")}


def test_the_methods_are_the_clients() -> None:
    """No more and no fewer than a bound call has."""
    assert public(CallControl) == METHODS == set(GIVEN)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_method_is_declared_as_the_clients(name: str) -> None:
    """Names, kinds, defaults and types of its arguments, but for the call's id."""
    own = list(inspect.signature(getattr(CallControl, name)).parameters.values())
    of_client = list(inspect.signature(getattr(Actions, name)).parameters.values())
    assert own[1:] == of_client[2:]


@pytest.mark.parametrize("name", sorted(METHODS))
async def test_a_command_is_handed_on(name: str) -> None:
    """By its name, with all that was given; what comes back is the method's result."""
    asked: list[tuple[str, list[Any], dict[str, Any]]] = []

    async def perform(method: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        given = {key: value for key, value in kwargs.items() if value is not None}
        asked.append((method, list(args), given))
        return "done"

    args, kwargs = GIVEN[name]
    assert await getattr(CallControl(perform), name)(*args, **kwargs) == "done"
    if name in POSITIONAL:
        kwargs, args = {POSITIONAL[name]: args[0], **kwargs}, ()
    assert asked == [(name, list(args), kwargs)]


async def test_what_there_is_not_is_no_attribute() -> None:
    """A wrong name, and wrong arguments, are found where they are written."""

    async def perform(method: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        raise AssertionError(method)

    control = CallControl(perform)
    with pytest.raises(AttributeError, match="record"):
        control.record  # type: ignore[attr-defined]  # noqa: B018 - asking is what is tested
    with pytest.raises(TypeError, match="payload"):
        await control.speak(voice="female")  # type: ignore[call-arg]  # wrong on purpose


def test_a_recording_is_paused_by_events() -> None:
    """They say when, by the clock: whoever records may learn of it a little later."""
    told: list[object] = []
    now = iter((1.5, 2.5))
    recording = RecordingControl(told.append, lambda: next(now))
    recording.pause()
    recording.resume()
    assert told == [RecordingPaused(1.5), RecordingResumed(2.5)]
