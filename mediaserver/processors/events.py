"""What a call tells its processors of, as types. Pure."""

from __future__ import annotations

from typing import Any

import msgspec


class Dtmf(msgspec.Struct, frozen=True):
    """The caller pressed ``digit``; ``occurred_at`` is Telnyx's time stamp."""

    digit: str
    occurred_at: str | None = None


class StreamError(msgspec.Struct, frozen=True):
    """Telnyx refused something we sent."""

    code: int | None
    title: str | None
    detail: str | None
    meaning: str


class Stop(msgspec.Struct, frozen=True):
    """The call's media ended.

    ``reason`` is ``stop`` (Telnyx said so), ``lost`` (the socket went and did not come
    back), ``hangup``, ``processor`` (one failed, and the settings end the call then),
    ``moved`` (its stream goes on at another node of the cluster),
    ``max_call``, ``idle``, ``silent`` (of a forked call: nothing comes any more) or ``shutdown``
    (of the server).
    """

    reason: str


class Draining(msgspec.Struct, frozen=True):
    """The server takes no new calls; this one may go on until ``within_s``."""

    within_s: float | None


class Reconnected(msgspec.Struct, frozen=True):
    """A second socket took this call over; processors keep their state."""

    stream_id: str | None


class Hint(msgspec.Struct, frozen=True):
    """Something about this call looks wrong; once per call and ``name``."""

    name: str
    text: str


class LimitReached(msgspec.Struct, frozen=True):
    """The call has lasted (``max_call_s``), or nobody was heard (``idle_s``), for too long.

    It is hung up in ``within_s`` seconds; after ``idle_s`` only if the caller is not heard
    meanwhile.
    """

    limit: str
    within_s: float


class Webhook(msgspec.Struct, frozen=True):
    """A verified webhook about this call; ``event`` is the typed one of ``control``."""

    event: Any


class ProcessorRestarted(msgspec.Struct, frozen=True):
    """The process this chain ran in was lost, and ``why``; this is a fresh chain.

    It is the first event of the new chain. What the old one had queued was cleared.
    """

    why: str


class SpeechStarted(msgspec.Struct, frozen=True):
    """The caller began to speak at ``at``, in seconds of stream time; told a little later."""

    at: float


class SpeechStopped(msgspec.Struct, frozen=True):
    """The caller spoke until ``at``, for ``duration`` seconds; told after a pause."""

    at: float
    duration: float


class Interrupted(msgspec.Struct, frozen=True):
    """The caller spoke while the bot was heard, and what it played was cleared.

    Attributes:
        at: when they began, in seconds of stream time.
        heard: seconds heard of each play that was outstanding, oldest first. Where the chain
            runs in a processor host, a play is None; the plays themselves know it there.
    """

    at: float
    heard: tuple[tuple[Any, float], ...] = ()


class Beep(msgspec.Struct, frozen=True):
    """A single tone of ``frequency`` Hz ended at ``at``, as of an answering machine.

    It lasted ``duration`` seconds; what is said now is recorded.
    """

    at: float
    frequency: float
    duration: float


class OperatorMessage(msgspec.Struct, frozen=True):
    """Whoever watches the call has written ``text`` to its processors; the caller hears nothing."""

    text: str


class RecordingPaused(msgspec.Struct, frozen=True):
    """What is said and heard from now on is not recorded; ``at`` is monotonic time, in seconds."""

    at: float


class RecordingResumed(msgspec.Struct, frozen=True):
    """What is said and heard from now on is recorded again."""

    at: float


Event = (
    Dtmf
    | StreamError
    | Stop
    | Draining
    | Reconnected
    | ProcessorRestarted
    | Hint
    | LimitReached
    | Webhook
    | SpeechStarted
    | SpeechStopped
    | Interrupted
    | Beep
    | OperatorMessage
    | RecordingPaused
    | RecordingResumed
)
