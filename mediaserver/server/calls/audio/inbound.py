"""From Telnyx's chunks to frames in the chain: order, decoding, concealment, time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import NamedTuple

from mediaserver.media.frames import Frame, Int16Array, Track
from mediaserver.media.numbering import Fault
from mediaserver.media.reorder import Lost, Reorder
from mediaserver.media.timeline import Timeline
from mediaserver.server.calls.audio.alarm import Alarm
from mediaserver.server.calls.audio.levels import Levels
from mediaserver.server.calls.audio.parts import Parts
from mediaserver.server.calls.audio.track import LOOK, TrackDecoder
from mediaserver.wire.messages import TRACKS, MediaBody
from telephony_codecs import PayloadError
from telephony_codecs.l16 import ByteOrder, L16Decoder

# No audio is made up for a gap if the track is further ahead of the clock than this. A call brings
# at most one second of audio per second, whatever its chunk numbers say.
AHEAD_S = 0.02
MADE_UP_AHEAD_S = 1.0  # the same for bad payloads: these did come
# Of frames whose way was timed, until somebody asks.
MAX_TIMES = 64


class Chunks(NamedTuple):
    """What became of the chunks of a call.

    Attributes:
        delivered: given to a decoder.
        late: dropped because their gap had been given up.
        duplicate: dropped because their number had been seen.
        missing: never came, by their numbers.
    """

    delivered: int
    late: int
    duplicate: int
    missing: int

    def plus(self, reorder: Reorder[MediaBody]) -> Chunks:
        """The sum of these and of one more socket's chunks."""
        return Chunks(
            self.delivered + reorder.delivered,
            self.late + reorder.late,
            self.duplicate + reorder.duplicate,
            self.missing + reorder.missing,
        )


NO_CHUNKS = Chunks(0, 0, 0, 0)


class Inbound:
    """The inbound half of one call.

    **Call `receive` for each media message, `poll` when `next_at` has come, `restart` for a new
    socket, `end` when the call is over.**

    Args:
        parts: makes decoders, and puts the chunks in order.
        run: called with each frame.
        now: monotonic seconds of the stream's start.
        count: called with the kind of each payload that is refused.
        alarm: set for when ``poll`` has work.

    Attributes:
        tracks: by track, those that had media.
        heard_at: when media came last.
        concealed: frames made up for lost chunks and bad payloads.
        levels: levels of the caller's audio, of one frame a second.
        numbering_fault: why chunk numbers are ignored, if no setting asked for it.
    """

    __slots__ = (
        "_alarm",
        "_chain",
        "_count",
        "_earlier",
        "_latest",
        "_make_decoder",
        "_origin",
        "_run",
        "_taps",
        "_timeline",
        "_times",
        "concealed",
        "heard_at",
        "levels",
        "numbering_fault",
        "reorder",
        "tracks",
    )

    def __init__(
        self,
        parts: Parts,
        run: Callable[[Frame], None],
        now: float,
        count: Callable[[str], None],
        alarm: Alarm,
    ) -> None:
        self._make_decoder = parts.make_decoder
        self._run = self._chain = run
        self._taps: tuple[Callable[[Frame], object], ...] = ()
        self._count = count
        self._alarm = alarm
        self._timeline = Timeline(now)
        self._times: list[float] = []
        self._origin = now
        self.reorder: Reorder[MediaBody] = parts.reorder
        self._earlier = NO_CHUNKS
        self.concealed: int = 0
        self.levels: Levels = Levels()
        self.numbering_fault: Fault | None = None
        self.tracks: dict[Track, TrackDecoder] = {}
        self._latest: TrackDecoder | None = None  # the last one's, most often the only one
        self.heard_at: float = now

    @property
    def next_at(self) -> float | None:
        """When ``poll`` has work."""
        return self.reorder.next_at

    @property
    def had_media(self) -> bool:
        """Media has come, on this socket or an earlier one."""
        return bool(self.tracks) or self._earlier.delivered > 0

    @property
    def l16_byte_order(self) -> ByteOrder | None:
        """The byte order that was found, of the first track that has one; None if it is not L16."""
        for track_decoder in self.tracks.values():
            decoder = track_decoder.decoder
            if isinstance(decoder, L16Decoder) and decoder.verdict is not None:
                return decoder.verdict
        return None

    def receive(self, body: MediaBody, now: float) -> None:
        """Take one media message; a chunk in order goes through the chain at once."""
        track = TRACKS[body.track]
        self.heard_at = now
        if self.reorder.pass_on(track, body.chunk):  # in order, as nearly always
            self._decode(track, body.payload, now)
        else:
            self._receive_numbered(track, body, now)

    def _receive_numbered(self, track: Track, body: MediaBody, now: float) -> None:
        """Take a message that is not simply the next one."""
        reorder = self.reorder
        n_dropped = reorder.late + reorder.duplicate
        self._give(reorder.push(track, body.chunk, body, now), now)
        if body.chunk is not None:
            track_decoder = self._track_decoder(track)
            dropped = reorder.late + reorder.duplicate - n_dropped
            numbers, clock = track_decoder.numbers, track_decoder.clock
            dropped_s = dropped * track_decoder.chunk_s
            numbers.seen(now, clock.came_s, clock.room_s(now), dropped_s)
            if numbers.fault is not None:
                self.numbering_fault = numbers.fault
                self._give(reorder.ignore_numbers(), now)
        self._alarm.set(reorder.next_at)

    def poll(self, now: float) -> None:
        """Give up gaps that have waited for long enough."""
        self._give(self.reorder.poll(now), now)

    def drain(self, now: float) -> None:
        """Give out all chunks that are held, because the stream is over."""
        self._give(self.reorder.drain(), now)

    def end(self, now: float) -> None:
        """The call is over: give out what is held, and no frame after that."""
        self.drain(now)
        self._run = self._chain = _nobody

    def close(self) -> None:
        """Tell nobody of payloads that are refused from now on."""
        self._count = _uncounted

    def overhear(self, tap: Callable[[Frame], object]) -> None:
        """Have each frame given to ``tap``, too, on its way."""
        self._run_with((*self._taps, tap))

    def overhear_no_more(self, tap: Callable[[Frame], object]) -> None:
        """Give ``tap`` none any more."""
        self._run_with(tuple(each for each in self._taps if each != tap))

    def _run_with(self, taps: tuple[Callable[[Frame], object], ...]) -> None:
        self._taps = taps
        self._run = run = self._chain
        if taps:

            def all_of_them(frame: Frame) -> None:
                for tap in taps:
                    tap(frame)
                run(frame)

            self._run = all_of_them

    @property
    def chunks(self) -> Chunks:
        """What became of the chunks of all sockets so far."""
        return self._earlier.plus(self.reorder)

    @property
    def stalled_s(self) -> float:
        """The longest stall, in seconds of the audio that it kept back."""
        return self._timeline.stalled_s

    def restart(self, parts: Parts, now: float) -> None:
        """A new socket took over: begin with new numbers and new decoders."""
        self.drain(now)
        self._earlier = self.chunks
        self.reorder = parts.reorder
        self._make_decoder = parts.make_decoder
        self.tracks = {}
        self._latest = None
        self.heard_at = now

    def _give(self, items: Sequence[MediaBody | Lost], now: float) -> None:
        """Decode or conceal in order; a loss is recovered from the next chunk if the codec can."""
        for at, item in enumerate(items):
            if isinstance(item, Lost):
                track_decoder = self._track_decoder(item.track)
                track_decoder.numbers.missed(track_decoder.chunk_s)
                if track_decoder.clock.room_s(now) > -AHEAD_S:
                    self._conceal(item.track, now, items[at + 1 : at + 2])
            else:
                self._decode(TRACKS[item.track], item.payload, now)

    def _decode(self, track: Track, payload: bytes, now: float) -> None:
        track_decoder = self._latest
        if track_decoder is None or track_decoder.track != track:
            track_decoder = self._track_decoder(track)
        decode = track_decoder.decode  # hot path: bound once, see docs/architecture.md
        try:
            samples = decode(payload)
        except PayloadError:
            self._refuse(track_decoder, now)
            return
        n_samples = len(samples)
        if n_samples != track_decoder.usual:
            if not n_samples:
                return
            track_decoder.look_at_length(n_samples, now)
        run = self._run
        if track_decoder.wanted and self._note(track_decoder, samples):  # one frame a second
            run = self._run_timed
        run(track_decoder.clock.frame(samples, track_decoder.rate_hz, now))

    def _run_timed(self, frame: Frame) -> None:
        began = perf_counter()
        self._run(frame)
        times = self._times
        if len(times) == MAX_TIMES:
            del times[0]
        times.append(perf_counter() - began)

    def take_times(self) -> list[float]:
        """How long frames took that were timed since this was last asked, in seconds."""
        taken, self._times = self._times, []
        return taken

    def _refuse(self, track_decoder: TrackDecoder, now: float) -> None:
        """Count a payload that was not decoded; conceal it if it was a bad one."""
        if track_decoder.is_shut(now):
            self._count("too_much_audio")
            return
        self._count("bad_payload")
        if track_decoder.clock.room_s(now) > -MADE_UP_AHEAD_S:
            self._conceal(track_decoder.track, now)

    def _note(self, track_decoder: TrackDecoder, samples: Int16Array) -> bool:
        """Note how loud a frame is; whether it is the one of this second."""
        is_looked_at = bool(track_decoder.note(samples) & LOOK)
        if is_looked_at and track_decoder.track == "inbound":
            self.levels.add(samples)
        return is_looked_at

    def _conceal(
        self, track: Track, now: float, following: Sequence[MediaBody | Lost] = ()
    ) -> None:
        track_decoder = self._track_decoder(track)
        decoder, n_samples = track_decoder.decoder, track_decoder.n_samples
        samples = None
        if decoder.can_recover and following and isinstance(following[0], MediaBody):
            try:
                samples = decoder.recover(following[0].payload, n_samples)
            except PayloadError:  # it is decoded again in its turn, and then counted
                samples = None
        if samples is None:
            samples = decoder.conceal(n_samples)
        self.concealed += 1
        self._run(track_decoder.clock.lost_frame(samples, track_decoder.rate_hz))

    def _track_decoder(self, track: Track) -> TrackDecoder:
        track_decoder = self.tracks.get(track)
        if track_decoder is None:
            clock = self._timeline.clock(track)
            decoder = self._make_decoder()
            track_decoder = TrackDecoder(track, decoder, clock, self._origin)
            self.tracks[track] = track_decoder
        self._latest = track_decoder
        return track_decoder


def _nobody(_: Frame) -> None:
    """Receives frames when the call is over and its socket is not closed yet."""


def _uncounted(_: str) -> None:
    """Counts nothing: the call is over."""
