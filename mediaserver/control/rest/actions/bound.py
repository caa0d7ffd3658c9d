"""Actions bound to one call: the same typed methods, without its id."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Concatenate, Generic, ParamSpec

from mediaserver.control.errors import InvalidFieldError
from mediaserver.control.rest.commands import Actions
from mediaserver.control.results import ActionResult

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


METHODS = frozenset(n for n, value in vars(BoundActions).items() if isinstance(value, _Bound))
"""What may be asked for by name."""


async def perform(
    actions: Actions,
    call_control_id: str,
    method: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> ActionResult:
    """Carry out a command that is named: whoever asks may be in another process.

    Raises:
        InvalidFieldError: no method of ``BoundActions``, or not its arguments.
        ControlError: as the method raises.
    """
    if method not in METHODS:
        raise InvalidFieldError("method", "one of " + ", ".join(sorted(METHODS)))
    try:
        sent = getattr(BoundActions(actions, call_control_id), method)(*args, **kwargs)
    except TypeError as exc:  # a coroutine function does no more when it is called
        raise InvalidFieldError(method, f"called with its own arguments: {exc}") from exc
    result: ActionResult = await sent
    return result
