"""The call as one processor sees it."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Mapping
from typing import TYPE_CHECKING

from mediaserver.media.align import PairAligner
from mediaserver.media.frames import Frame, Int16Array, Track
from mediaserver.processors.api import AudioSource, Event
from mediaserver.processors.chain import RateConverter
from mediaserver.server.calls.audio.queue import DropOldest
from telephony_codecs.l16 import ByteOrder

if TYPE_CHECKING:
    from mediaserver.server.calls.audio.outbound import LiveMark, LivePlay
    from mediaserver.server.calls.session import Session

FRAMES_LIMIT = 500  # ten seconds at 20 ms


class CallView:
    """One processor's view of a session; a stage of its chain where it is a handler.

    Implements ``processors.core.Call``; its docstrings are the ones users read.
    """

    def __init__(self, session: Session, name: str, rate_hz: int | None) -> None:
        self._session = session
        self.name = name
        self._rates = RateConverter(rate_hz) if rate_hz is not None else None
        self._readers: list[tuple[Track | None, weakref.ref[DropOldest[Frame]]]] = []
        self.dropped_frames = 0
        # Frames that come before the handler has run its first lines are kept for it.
        self._early: deque[Frame] | None = deque(maxlen=FRAMES_LIMIT)
        self.id = session.call_id
        self._rate_hz = rate_hz
        self.play_live = session.outbound.play_live
        self.describe()

    def describe(self) -> None:
        """Take over what the session's ``start`` says; again when another socket brought one."""
        session = self._session
        formats, body = session.formats, session.start.start
        self.stream_id = session.start.stream_id
        self.caller = body.from_
        self.callee = body.to
        self.client_state = body.client_state
        self.parameters: Mapping[str, str] = body.parameters
        self.codec = formats.codec
        self.rate = self._rate_hz or formats.rate
        self.send_codec = formats.send_codec
        self.send_rate = formats.send_rate

    @property
    def l16_byte_order(self) -> ByteOrder | None:
        """See ``Call.l16_byte_order``."""
        return self._session.inbound.l16_byte_order

    def frames(self, track: Track | None = "inbound") -> AsyncIterator[Frame]:
        """See ``Call.frames``."""
        reader: DropOldest[Frame] = DropOldest(FRAMES_LIMIT)
        # An iterator nobody reads any more goes with its last reference.
        self._readers.append((track, weakref.ref(reader, self._forget)))
        for frame in self._early or ():
            if track is None or track == frame.track:
                reader.push(frame)
        if self._session.ended:
            reader.close()
        return reader

    def started(self) -> None:
        """The handler has run until its first wait: what it wants to read, it reads now."""
        self._early = None

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

    def events(self) -> AsyncIterator[Event]:
        """See ``Call.events``."""
        return self._session.events.subscribe()

    def play(
        self, source: AudioSource, rate: int | None = None, *, live: bool = False
    ) -> Coroutine[None, None, LivePlay]:
        """See ``Call.play``."""
        return self._session.outbound.play(source, rate, live=live)

    async def clear(self) -> dict[LivePlay, float]:
        """See ``Call.clear``."""
        return self._session.outbound.clear()

    async def mark(self, name: str) -> LiveMark:
        """See ``Call.mark``."""
        return self._session.outbound.mark(name)

    async def hangup(self) -> None:
        """See ``Call.hangup``."""
        await self._session.hangup()

    def process(self, frame: Frame) -> Frame:
        """As a stage of the chain: give the frame to whoever reads, and pass it on."""
        readers = self._readers
        if readers or self._early is not None:
            seen = frame if self._rates is None else self._rates.convert(frame)
            if self._early is not None:
                self._early.append(seen)
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
                self.dropped_frames += reader.dropped
                reader.close()
        self._readers = []

    def _forget(self, gone: weakref.ref[DropOldest[Frame]]) -> None:
        # A new list: the old one may be in use by process().
        self._readers = [entry for entry in self._readers if entry[1] is not gone]
