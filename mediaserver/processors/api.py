"""What a user writes, as types: the call, its events, the two forms of processor.

Pure: no asyncio, no clock, no socket. The server implements ``Call``; this module
says what it can do.
"""

from __future__ import annotations

import inspect
import logging
from collections import deque
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Mapping,
)
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, overload

from mediaserver.media.frames import Frame, Int16Array, Track
from mediaserver.observer import CallSummary
from mediaserver.processors.control import CallControl, RecordingControl

# All that users write with is had from here.
from mediaserver.processors.events import Beep as Beep
from mediaserver.processors.events import Draining as Draining
from mediaserver.processors.events import Dtmf as Dtmf
from mediaserver.processors.events import Event as Event
from mediaserver.processors.events import Hint as Hint
from mediaserver.processors.events import Interrupted as Interrupted
from mediaserver.processors.events import LimitReached as LimitReached
from mediaserver.processors.events import OperatorMessage as OperatorMessage
from mediaserver.processors.events import ProcessorRestarted as ProcessorRestarted
from mediaserver.processors.events import Reconnected as Reconnected
from mediaserver.processors.events import RecordingPaused as RecordingPaused
from mediaserver.processors.events import RecordingResumed as RecordingResumed
from mediaserver.processors.events import SpeechStarted as SpeechStarted
from mediaserver.processors.events import SpeechStopped as SpeechStopped
from mediaserver.processors.events import Stop as Stop
from mediaserver.processors.events import StreamError as StreamError
from mediaserver.processors.events import Webhook as Webhook
from mediaserver.processors.plays import AudioSource as AudioSource
from mediaserver.processors.plays import Mark as Mark
from mediaserver.processors.plays import MarkEnd as MarkEnd
from mediaserver.processors.plays import Play as Play
from mediaserver.processors.plays import PlayEnd as PlayEnd
from mediaserver.processors.plays import PlayReason as PlayReason
from mediaserver.processors.plays import PlayState as PlayState
from mediaserver.processors.plays import Stream as Stream

ResultT = TypeVar("ResultT", covariant=True)
MAX_HISTORY_S = 60.0


class Utterance(NamedTuple):
    """What the caller said at a stretch.

    Attributes:
        samples: int16, shape ``(n,)``, with the audio from before the speech.
        rate: in Hz.
        start: stream time of the first sample, in seconds.
        speech_start: where the speech itself begins.
        speech_end: where it ends.
        is_whole: False where the call ended meanwhile, or after `MAX_UTTERANCE_S`; in the
            second case the rest follows as the next one.
    """

    samples: Int16Array
    rate: int
    start: float
    speech_start: float
    speech_end: float
    is_whole: bool = True


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

    @property
    def recording(self) -> RecordingControl:
        """Pauses what ``record`` writes of this call: ``call.recording.pause()``, ``resume()``."""

    @property
    def state(self) -> dict[str, Any]:
        """Values that the call's processors keep for each other; of one process.

        Batch processors write here what they hear. A chain in a processor host has its own.
        The text under ``snapshot`` is what the call's next life finds in
        ``parameters["snapshot"]``, where it moves to another node (docs/cluster.md).
        """

    @property
    def pressed(self) -> deque[str]:
        """Keys that were pressed and that no ``gather`` has taken: the last 100, oldest first."""

    @property
    def calls(self) -> Mapping[str, Call]:
        """The other live calls of this process, by their ids: to hear them and to play to them.

        ``other = call.calls[id]`` is a call like this one. Its ``frames()`` come as they came in,
        at this processor's rate, and end with that call; what is played there, that caller alone
        hears. Tasks that it spawns end with this call.

        A process is the server, one of its workers, or a processor host: a call of another one is
        not among them. A ``NoSuchCallError`` (a KeyError too) says so.
        """

    def frames(
        self, track: Track | None = "inbound", *, since: Literal["now", "start"] = "now"
    ) -> AsyncIterator[Frame]:
        """Frames of one track, or of both (None), from now to the call's end.

        What came before is gone, unless ``since`` is ``start``: then the frames of the last
        ``history_s`` seconds come first, as declared by ``@processor(history_s=…)``; without
        that, this raises a ValueError, as it does for a track that there is not.

        Frames queue from the first use on; when the reader is 10 s behind, the
        oldest are dropped and counted.
        """

    def utterances(self, silence_s: float = 0.8, pre_roll: float = 0.4) -> AsyncIterator[Utterance]:
        """What the caller says, each utterance as a whole, from now to the call's end.

        It needs ``vad`` in the call's chain; a ConfigurationError says where there is none.

        Args:
            silence_s: what ends an utterance, in seconds.
            pre_roll: seconds of audio from before the speech that are part of it.
        """

    def pairs(self) -> AsyncIterator[Int16Array]:
        """Both tracks aligned: int16, shape ``(n, 2)``, inbound left; holds are silence.

        Behind a pause of a track the next block comes about a second later: only then is it
        known where the track is.
        """

    def events(self) -> AsyncIterator[Event]:
        """Typed events, from now to the call's end; ``Stop`` is the last.

        Events that came before the first use are gone.
        """

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

    def stream(self, rate: int | None = None, *, ahead_s: float | None = None) -> Stream:
        """A play into which you write, queued behind what is queued; for audio that is pushed.

        What is played after it waits until you call its ``end()``.

        Args:
            rate: of what is written, in Hz; that of this processor's frames if None.
            ahead_s: how far ahead of the ear its audio is sent on; ``play_ahead_s`` if None.

        In mode mp3 all that is written is sent as one clip, when ``end()`` is called.

        Raises:
            CallEndedError: the call is over.
            AudioFormatError: a rate there is not.
        """

    def play_live(self, samples: Int16Array, rate: int | None = None) -> None:
        """Send audio that happens now, without waiting: for filters that echo or bridge.

        Like ``play(…, live=True)``, also in its ``rate``, but there is nothing to wait for or to
        cancel; after the call's end it does nothing.
        """

    async def clear(self) -> dict[Play, float]:
        """Silence the caller's ear now; seconds heard of each outstanding play."""

    async def mark(self, name: str) -> Mark:
        """A mark behind everything queued so far.

        Raises:
            CallEndedError: the call is over.
            ConfigurationError: the name is no text that can be sent.
        """

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
    *,
    rate: int | None = None,
    requires: tuple[str, ...] = (),
    tap: bool = False,
    history_s: float = 0.0,
) -> Callable[[HandlerT], HandlerT]: ...
def processor(
    handler: HandlerT | None = None,
    /,
    *,
    rate: int | None = None,
    requires: tuple[str, ...] = (),
    tap: bool = False,
    history_s: float = 0.0,
) -> Any:
    """Declare a coroutine function as a call handler.

    Args:
        handler: ``async def handler(call, **parameters)``, one run a call.
        rate: the sample rate its frames are wanted at, in Hz; one of ``RESAMPLE_RATES_HZ``.
        requires: importable packages it needs.
        tap: it only listens: where its chain runs in a process apart, it stays with the server.
        history_s: seconds of frames that are kept for ``frames(since="start")``; at most 60.
    """
    if not 0 <= history_s <= MAX_HISTORY_S:
        raise ValueError(f"history_s is 0 to {MAX_HISTORY_S:.0f}, not {history_s}")

    def mark(function: Handler) -> Handler:
        if not inspect.iscoroutinefunction(function):
            raise TypeError(f"@processor needs an async function, got {function!r}")
        marked: Any = function
        marked.mediaserver_rate, marked.mediaserver_requires = rate, requires
        marked.mediaserver_tap, marked.mediaserver_history_s = tap, history_s
        return function

    return mark if handler is None else mark(handler)
