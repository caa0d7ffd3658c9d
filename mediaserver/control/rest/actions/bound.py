"""Actions bound to one call: the same typed methods, without its id."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Concatenate, Generic, ParamSpec

from mediaserver.control.rest.actions.sender import ActionResult
from mediaserver.control.rest.commands import Actions

P = ParamSpec("P")
Sent = Coroutine[Any, Any, ActionResult]


class _Bound(Generic[P]):
    """One method of ``Actions`` as a method without the call's id."""

    def __init__(self, method: Callable[Concatenate[Actions, str, P], Sent]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    def __get__(self, holder: BoundActions, owner: type[BoundActions]) -> Callable[P, Sent]:
        return partial(self._method, holder.actions, holder.call_control_id)


class BoundActions:
    """Commands to one call: ``await bound.speak(payload="Hello", voice="female")``.

    The methods are those of ``client.calls.actions``, which says what each does, takes and
    raises.

    Args:
        actions: of the control client.
        call_control_id: of the call.
    """

    def __init__(self, actions: Actions, call_control_id: str) -> None:
        self.actions = actions
        self.call_control_id = call_control_id

    answer = _Bound(Actions.answer)
    hangup = _Bound(Actions.hangup)
    start_streaming = _Bound(Actions.start_streaming)
    stop_streaming = _Bound(Actions.stop_streaming)
    start_forking = _Bound(Actions.start_forking)
    stop_forking = _Bound(Actions.stop_forking)
    start_transcription = _Bound(Actions.start_transcription)
    stop_transcription = _Bound(Actions.stop_transcription)
    speak = _Bound(Actions.speak)
    start_playback = _Bound(Actions.start_playback)
    stop_playback = _Bound(Actions.stop_playback)
    start_recording = _Bound(Actions.start_recording)
    stop_recording = _Bound(Actions.stop_recording)
    pause_recording = _Bound(Actions.pause_recording)
    resume_recording = _Bound(Actions.resume_recording)
    send_dtmf = _Bound(Actions.send_dtmf)
    transfer = _Bound(Actions.transfer)
    bridge = _Bound(Actions.bridge)
    gather_using_speak = _Bound(Actions.gather_using_speak)
    start_noise_suppression = _Bound(Actions.start_noise_suppression)
    stop_noise_suppression = _Bound(Actions.stop_noise_suppression)
    command = _Bound(Actions.command)
