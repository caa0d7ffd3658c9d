"""The call as one processor sees it."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, Literal

import msgspec
import numpy as np

from mediaserver.errors import AudioFormatError, CallEndedError, ConfigurationError
from mediaserver.logs import CallLogger
from mediaserver.media.align import PairAligner
from mediaserver.media.frames import Frame, Int16Array, Track
from mediaserver.observer import CallSummary
from mediaserver.processors.api import AudioSource, Call, Event, Mark, Play, ResultT, Utterance
from mediaserver.processors.chain import RateConverter
from mediaserver.processors.control import CallControl, RecordingControl
from mediaserver.processors.utterances import check_detector, utterances
from mediaserver.server.calls.audio.queue import DropOldest
from mediaserver.server.calls.audio.stream import WrittenPlay
from mediaserver.server.calls.event_hub import EventHub
from mediaserver.server.calls.views.viewed import ViewedCall
from telephony_codecs import RESAMPLE_RATES_HZ
from telephony_codecs.l16 import ByteOrder

_CALL_LOGGER = logging.getLogger("mediaserver.call")
FRAMES_LIMIT = 500  # ten seconds at 20 ms
MAX_OWN_BYTES = 64 * 1024
OWN_MESSAGE_EVERY_S = 0.02


class CallView:
    """One processor's view of a call; a stage of its chain where it is a handler.

    Implements ``processors.api.Call``; its docstrings are the ones users read.

    Args:
        call: what is viewed.
        events: the call's events.
        name: the processor's.
        rate_hz: the rate it wants frames at; None takes them as they are.
        adopt: told of each task that it starts.
        history_s: seconds of frames that are kept for it.
        others: the other calls of the process, for one that looks.
    """

    def __init__(
        self,
        call: ViewedCall,
        events: EventHub,
        name: str,
        rate_hz: int | None,
        adopt: Callable[[CallView, asyncio.Task[Any]], None] = lambda _, __: None,
        history_s: float = 0.0,
        others: Callable[[CallView], Mapping[str, Call]] = lambda _: {},
    ) -> None:
        self._call = call
        self.adopt, self.others = adopt, others
        self._events = events
        self.name = name
        self._rates = RateConverter(rate_hz) if rate_hz is not None else None
        self._readers: list[tuple[Track | None, weakref.ref[DropOldest[Frame]]]] = []
        self._dropped_frames = 0
        # Frames that come before the handler has run its first lines are kept for it, and later
        # ones where it wants a history: 20 ms of two tracks.
        n_kept = max(round(100 * history_s), FRAMES_LIMIT)
        self._kept: deque[Frame] | None = deque(maxlen=n_kept)
        self._is_starting, self._has_history = True, history_s > 0
        self.wanted_hz: int | None = rate_hz
        self._send_at = 0.0
        self._log: CallLogger | None = None
        self._play_live = call.outbound.play_live
        # For the processors of the package.
        self.count, self.publish, self.listen = call.count, call.publish, call.outbound.listen

    @property
    def id(self) -> str:
        """See ``Call``; so are all that follow."""
        return self._call.facts.call_id

    @property
    def stream_id(self) -> str | None:
        """The last socket's."""
        return self._call.facts.start.stream_id

    @property
    def caller(self) -> str | None:
        """The calling number."""
        return self._call.facts.start.start.from_

    @property
    def callee(self) -> str | None:
        """The called number."""
        return self._call.facts.start.start.to

    @property
    def client_state(self) -> str | None:
        """As given."""
        return self._call.facts.client_state

    @property
    def client_state_raw(self) -> str | None:
        """As it came."""
        return self._call.facts.start.start.client_state

    @property
    def query(self) -> Mapping[str, str]:
        """The stream URL's, without the token."""
        return self._call.facts.query

    @property
    def path(self) -> str:
        """The stream URL's, without the token."""
        return self._call.facts.path

    @property
    def parameters(self) -> Mapping[str, str]:
        """The stream's custom parameters."""
        return self._call.facts.parameters

    @property
    def codec(self) -> str:
        """Of the caller's audio."""
        return self._call.facts.formats.codec

    @property
    def rate(self) -> int:
        """Of the frames this processor gets, in Hz."""
        return self.wanted_hz or self._call.facts.formats.rate

    @property
    def send_codec(self) -> str:
        """Of what goes back."""
        return self._call.facts.formats.send_codec

    @property
    def send_rate(self) -> int:
        """Its sample rate in Hz."""
        return self._call.facts.formats.send_rate

    @property
    def state(self) -> dict[str, Any]:
        """See ``Call.state``."""
        return self._call.state

    @property
    def stats(self) -> CallSummary:
        """See ``Call.stats``."""
        return self._call.stats()

    @property
    def l16_byte_order(self) -> ByteOrder | None:
        """See ``Call.l16_byte_order``."""
        return self._call.inbound.l16_byte_order

    @property
    def pressed(self) -> deque[str]:
        """See ``Call.pressed``."""
        return self._events.pressed

    @property
    def calls(self) -> Mapping[str, Call]:
        """See ``Call.calls``."""
        return self.others(self)

    @property
    def control(self) -> CallControl:
        """See ``Call.control``."""
        return CallControl(self._call.perform)

    @property
    def recording(self) -> RecordingControl:
        """See ``Call.recording``."""
        return RecordingControl(self._call.publish, monotonic)

    @property
    def dropped_frames(self) -> int:
        """Frames this processor was too slow for."""
        if not self._readers:  # a filter has none
            return self._dropped_frames
        readers = (ref() for _, ref in self._readers)
        return self._dropped_frames + sum(reader.dropped for reader in readers if reader)

    def lost(self, n_frames: int) -> None:
        """It was too slow for so many more frames, of another call."""
        self._dropped_frames += n_frames

    @property
    def queued_frames(self) -> int:
        """Frames that wait for its slowest reader."""
        readers = (ref() for _, ref in self._readers)
        return max((reader.n_waiting for reader in readers if reader), default=0)

    def frames(
        self, track: Track | None = "inbound", *, since: Literal["now", "start"] = "now"
    ) -> AsyncIterator[Frame]:
        """See ``Call.frames``."""
        if track not in ("inbound", "outbound", None):
            raise ValueError(f"a track is inbound, outbound or None, not {track!r}")
        if since not in ("now", "start"):
            raise ValueError(f"since is now or start, not {since!r}")
        if since == "start" and not self._has_history:
            raise ValueError("frames since the start: declare @processor(history_s=…)")
        former = (self._kept or ()) if since == "start" or self._is_starting else ()
        n_more = len(former) if since == "start" else 0
        reader: DropOldest[Frame] = DropOldest(FRAMES_LIMIT + n_more)
        # An iterator nobody reads any more goes with its last reference.
        self._readers.append((track, weakref.ref(reader, self._forget)))
        for frame in former:
            if track is None or track == frame.track:
                reader.push(frame)
        if self._call.ended:
            reader.close()
        return reader

    def started(self) -> None:
        """The handler has run until its first wait: what it wants to read, it reads now."""
        self._is_starting = False
        if not self._has_history:
            self._kept = None

    async def pairs(self) -> AsyncIterator[Int16Array]:
        """See ``Call.pairs``."""
        rate_hz = self.rate
        # A socket that takes the call over may bring another rate; the pairs keep theirs.
        convert = RateConverter(rate_hz).convert
        aligner = PairAligner(rate_hz)
        async for frame in self.frames(None):
            for block in aligner.push(convert(frame)):
                yield block
        for block in aligner.flush():
            yield block

    def utterances(self, silence_s: float = 0.8, pre_roll: float = 0.4) -> AsyncIterator[Utterance]:
        """See ``Call.utterances``."""
        check_detector(self.stats.processors)
        events, convert = self._events.subscribe(), RateConverter(self.rate).convert
        return utterances(self.frames(), convert, events.waiting, silence_s, pre_roll)

    def events(self) -> AsyncIterator[Event]:
        """See ``Call.events``."""
        return self._events.subscribe()

    def play(
        self,
        source: AudioSource,
        rate: int | None = None,
        *,
        live: bool = False,
        ahead_s: float | None = None,
        resume: bool = False,
    ) -> Coroutine[Any, Any, Play]:
        """See ``Call.play``."""
        if rate is not None:
            rate = _checked_rate(rate)
        # A file, or bytes without a rate, say themselves at which rate they are.
        if rate is None and not isinstance(source, Path | str | bytes):
            rate = self.rate
        return self._call.outbound.play(source, rate, live=live, ahead_s=ahead_s, resume=resume)

    def stream(self, rate: int | None = None, *, ahead_s: float | None = None) -> WrittenPlay:
        """See ``Call.stream``."""
        rate_hz = self.rate if rate is None else _checked_rate(rate)
        is_mp3 = self._call.facts.formats.send_mode == "mp3"
        accept = partial(self._call.outbound.accept, rate=rate_hz, ahead_s=ahead_s, clip=is_mp3)
        return WrittenPlay(rate_hz, accept, at_once=is_mp3)

    def play_live(self, samples: Int16Array, rate: int | None = None) -> None:
        """See ``Call.play_live``."""
        play_live = self._play_live  # hot path: bound once, see docs/architecture.md
        if rate is None:
            play_live(samples, self.rate)
        else:
            play_live(samples, _checked_rate(rate))

    def takes(self, rate_hz: int | None) -> None:
        """A filter's instance says at which rate it wants its frames."""
        self.wanted_hz = rate_hz

    async def clear(self) -> dict[Play, float]:
        """See ``Call.clear``."""
        return await self._call.outbound.clear()

    async def mark(self, name: str) -> Mark:
        """See ``Call.mark``."""
        if not isinstance(name, str):
            raise ConfigurationError(f"a mark's name is text, not {type(name).__name__}")
        try:
            name.encode()
        except UnicodeEncodeError as exc:
            raise ConfigurationError(f"a mark's name cannot be sent: {exc.reason}") from exc
        return self._call.outbound.mark(name)

    async def send(self, message: Mapping[str, Any]) -> bool:
        """See ``Call.send``."""
        if not isinstance(message, Mapping) or not isinstance(message.get("event"), str):
            raise ValueError("a message is a mapping with the name of an event")
        data = msgspec.json.encode(message)
        if len(data) > MAX_OWN_BYTES:
            raise ValueError(f"a message of {len(data)} octets; {MAX_OWN_BYTES} may go")
        now = monotonic()
        self._send_at = max(now, self._send_at + OWN_MESSAGE_EVERY_S)
        await asyncio.sleep(self._send_at - now)
        if self._call.ended:
            raise CallEndedError("the call has ended")
        return await self._call.send_text(data)

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """See ``Call.log``."""
        if self._log is None:
            self._log = CallLogger(_CALL_LOGGER, self.id)
        return self._log

    def spawn(
        self, coroutine: Coroutine[Any, Any, ResultT], *, name: str | None = None
    ) -> asyncio.Task[ResultT]:
        """See ``Call.spawn``."""
        task = asyncio.get_running_loop().create_task(
            coroutine, name=name or f"{self.name} {self.id}"
        )
        self.adopt(self, task)
        return task

    async def hangup(self, *, after_playout: bool = False) -> None:
        """See ``Call.hangup``."""
        await self._call.hangup(after_playout=after_playout)

    def process(self, frame: Frame) -> Frame:
        """As a stage of the chain: give the frame to whoever reads, and pass it on."""
        readers = self._readers
        if readers or self._kept is not None:
            seen = frame if self._rates is None else self._rates.convert(frame)
            if self._kept is not None:
                if self._is_starting and len(self._kept) == self._kept.maxlen:
                    self._dropped_frames += 1
                self._kept.append(seen)
            for track, ref in readers:
                if track is None or track == seen.track:
                    reader = ref()
                    if reader is not None:
                        reader.push(seen)
        return frame

    def close(self) -> None:
        """As a stage of the chain: the call is over, ``frames()`` ends."""
        for _, ref in self._readers:
            reader = ref()
            if reader is not None:
                self._dropped_frames += reader.dropped
                reader.close()
        self._readers = []

    def _forget(self, gone: weakref.ref[DropOldest[Frame]]) -> None:
        # A new list: the old one may be in use by process().
        self._readers = [entry for entry in self._readers if entry[1] is not gone]


def _checked_rate(rate: object) -> int:
    """A rate that audio has here; numpy's integers are numbers, too.

    Raises:
        AudioFormatError: it is none of those that can be resampled.
    """
    if not isinstance(rate, int | np.integer) or rate not in RESAMPLE_RATES_HZ:
        rates = ", ".join(map(str, RESAMPLE_RATES_HZ))
        raise AudioFormatError(f"audio is played at one of the rates {rates}, not {rate!r}")
    return int(rate)
