"""What a user writes, as types: the call, its events, the two forms of processor.

Pure: no asyncio, no clock, no socket. The server implements ``Call``; this module
says what it can do.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Mapping,
)
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, overload

import msgspec

from mediaserver.media.frames import Frame, Int16Array, Track
from mediaserver.observer import CallSummary
from mediaserver.processors.control import CallControl

ResultT = TypeVar("ResultT", covariant=True)
PlayState = Literal["queued", "playing", "played", "cleared", "failed"]
PlayEnd = Literal["played", "cleared", "failed"]
MarkEnd = Literal["played", "cleared"]
PlayReason = Literal[
    "finished", "barge_in", "cancelled", "socket", "ended", "source", "unconfirmed"
]
AudioSource = Int16Array | AsyncIterable[Int16Array] | AsyncIterable[bytes] | Path | str | bytes


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
)


class Play(Protocol):
    """One piece of audio on its way to the caller's ear."""

    @property
    def state(self) -> PlayState:
        """Last known state; each play ends exactly once."""

    @property
    def reason(self) -> PlayReason | None:
        """Why it ended; None before that.

        ``finished``: it was played. ``barge_in``: ``clear()``. ``cancelled``: ``cancel()``.
        ``socket``: the socket was lost, or another one took over. ``ended``: the call is over.
        ``source``: its source failed. ``unconfirmed``: too many marks never came back.
        """

    @property
    def heard(self) -> float:
        """Seconds of it the caller has heard, as far as known."""

    async def finished(self) -> PlayEnd:
        """Wait for its end: ``played``, ``cleared`` or ``failed``."""

    def cancel(self) -> None:
        """Send no more of it."""


class Mark(Protocol):
    """A point in the output that reports when the caller gets there."""

    @property
    def state(self) -> PlayState:
        """``queued`` until it ends as ``played`` or ``cleared``."""

    async def finished(self) -> MarkEnd:
        """Wait for its end: ``played`` or ``cleared``."""


class Task(Protocol[ResultT]):
    """A running task: await it for its result."""

    def __await__(self) -> Generator[Any, Any, ResultT]:
        """Wait for its end; raises what it raised."""

    def cancel(self) -> bool:
        """Ask it to end."""

    def done(self) -> bool:
        """Whether it has ended."""


class Call(Protocol):
    """One live call, as a processor sees it.

    Attributes:
        id: Telnyx's ``call_control_id``, or the stream's id where none came.
        stream_id: Telnyx's id of the media stream.
        caller: the calling number or None.
        callee: the called number or None.
        client_state: what was given when the stream was started, as text.
        client_state_raw: the same as it came, base64.
        parameters: the stream's custom parameters, without the token.
        query: the parameters of the stream's URL, without the token.
        path: the path of the stream's URL, without the token: ``/media``, ``/media/NAME``.
        codec: what the caller's audio arrives in, such as ``PCMU``.
        rate: the sample rate of this processor's frames in Hz: the one it declares, else the
            one in which the caller's audio arrives.
        send_codec: what goes back.
        send_rate: its sample rate in Hz.
    """

    id: str
    stream_id: str | None
    caller: str | None
    callee: str | None
    client_state: str | None
    client_state_raw: str | None
    parameters: Mapping[str, str]
    query: Mapping[str, str]
    path: str
    codec: str
    rate: int
    send_codec: str
    send_rate: int

    @property
    def stats(self) -> CallSummary:
        """The call's facts and figures so far; ``reason`` is empty while it lives."""

    @property
    def l16_byte_order(self) -> Literal["little", "big"] | None:
        """How the caller's L16 is read.

        None for other codecs, before the first media, and while ``auto`` listens.
        """

    @property
    def control(self) -> CallControl:
        """Telnyx's commands to this call: ``await call.control.transfer("+13125550100")``.

        They need the server's API key; in workers they go through the process that has it.
        """

    def frames(self, track: Track | None = "inbound") -> AsyncIterator[Frame]:
        """Frames of one track, or of both (None), from now to the call's end.

        Frames queue from the first use on; when the reader is 10 s behind, the
        oldest are dropped and counted.
        """

    def pairs(self) -> AsyncIterator[Int16Array]:
        """Both tracks aligned: int16, shape ``(n, 2)``, inbound left; holds are silence.

        Behind a pause of a track the next block comes about a second later: only then is it
        known where the track is.
        """

    def events(self) -> AsyncIterator[Event]:
        """Typed events, from now to the call's end; ``Stop`` is the last."""

    async def play(
        self,
        source: AudioSource,
        rate: int | None = None,
        *,
        live: bool = False,
        ahead_s: float | None = None,
        resume: bool = False,
    ) -> Play:
        """Queue audio behind what is queued; returns as soon as it is accepted.

        Args:
            source: int16 array ``(n,)``; an async iterator of such, or of raw int16
                little-endian bytes cut anywhere; a path or the bytes of an audio file;
                with ``rate``, bytes are raw int16 little-endian audio.
            rate: of arrays and raw bytes, in Hz. If None, arrays and iterators have the rate of
                this processor's frames, which is ``call.rate``.
            live: audio that happens now (an echo, a bridge): what falls behind by
                more than the backlog limit is dropped instead of played late.
            ahead_s: how far ahead of the ear an iterator is pulled; the setting
                ``play_ahead_s`` if None. More suits a source that pauses long.
            resume: when the socket is lost, or another one takes over, the play goes on
                there from what was heard, instead of ending as cleared. Of an array, a file or
                bytes; a file that cannot be read is raised here then.

        A file that cannot be read, and an iterator that raises, gives what is no audio, or gives
        nothing without ever waiting, end the play as ``failed``. An array or a chunk may hold an
        hour; more is given by an iterator or a file.

        Raises:
            CallEndedError: the call is over.
            AudioFormatError: not one-dimensional int16, too long, or a rate there is not.
            ConfigurationError: live audio or an iterator in mode mp3, which plays whole clips.
        """

    def play_live(self, samples: Int16Array, rate: int | None = None) -> None:
        """Send audio that happens now, without waiting: for filters that echo or bridge.

        Like ``play(…, live=True)``, also in its ``rate``, but there is nothing to wait for or to
        cancel; after the call's end it does nothing.
        """

    async def clear(self) -> dict[Play, float]:
        """Silence the caller's ear now; seconds heard of each outstanding play."""

    async def mark(self, name: str) -> Mark:
        """A mark behind everything queued so far."""

    async def send(self, message: Mapping[str, Any]) -> bool:
        """Send a message of one's own on the call's socket; False where there is none now.

        At most 50 a second go out: more wait here.

        Args:
            message: a JSON object with an ``event``, at most 64 KiB as text.

        Raises:
            CallEndedError: the call is over.
            ValueError: no such object, or too long.
        """

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger, ``mediaserver.call``, each of whose lines begins with the call's id."""

    def spawn(
        self, coroutine: Coroutine[Any, Any, ResultT], *, name: str | None = None
    ) -> Task[ResultT]:
        """Run ``coroutine`` as a task that ends with the call.

        It is cancelled when the call is over and its handlers have returned, or had their
        grace. An error of it is logged, and follows ``on_error`` as one of the processor's does.
        """

    async def hangup(self, *, after_playout: bool = False) -> None:
        """End the call, or its stream where no control client is set up.

        The call ends at once: what is outstanding resolves as cleared. Of a call that is over
        already it is no error.

        Args:
            after_playout: first wait until what was accepted so far has been heard; at most
                its length and 2 s.

        Raises:
            ControlError: Telnyx did not take the command; the phone call may be up.
        """


class Filter:
    """Cheap per-frame work, inline; one instance a call.

    Class attributes:
        rate: the sample rate frames are wanted at, in Hz; None takes them as they are.
        requires: importable packages the filter needs.
        tap: it only listens: where its chain runs in a process apart, it stays with the server.
    """

    rate: int | None = None
    requires: tuple[str, ...] = ()
    tap: bool = False

    def __init__(self, call: Call) -> None:
        self.call = call

    def process(self, frame: Frame) -> Frame | None:
        """The frame to pass on, or None to swallow it."""
        raise NotImplementedError  # a Filter without process() is refused when it is found

    def close(self) -> None:
        """The call is over."""


Handler = Callable[..., Awaitable[None]]
HandlerT = TypeVar("HandlerT", bound=Handler)


@overload
def processor(handler: HandlerT, /) -> HandlerT: ...
@overload
def processor(
    *, rate: int | None = None, requires: tuple[str, ...] = (), tap: bool = False
) -> Callable[[HandlerT], HandlerT]: ...
def processor(
    handler: HandlerT | None = None,
    /,
    *,
    rate: int | None = None,
    requires: tuple[str, ...] = (),
    tap: bool = False,
) -> Any:
    """Declare a coroutine function as a call handler.

    Args:
        handler: ``async def handler(call, **parameters)``, one run a call.
        rate: the sample rate its frames are wanted at, in Hz.
        requires: importable packages it needs.
        tap: it only listens: where its chain runs in a process apart, it stays with the server.
    """

    def mark(function: Handler) -> Handler:
        if not inspect.iscoroutinefunction(function):
            raise TypeError(f"@processor needs an async function, got {function!r}")
        marked: Any = function
        marked.mediaserver_rate, marked.mediaserver_requires = rate, requires
        marked.mediaserver_tap = tap
        return function

    return mark if handler is None else mark(handler)
