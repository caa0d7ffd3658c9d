"""From Telnyx's chunks to frames in the chain: order, decoding, concealment, time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from mediaserver.media.frames import Frame, Int16Array, Track
from mediaserver.media.numbering import Fault, NumberWatch
from mediaserver.media.reorder import Lost, Reorder
from mediaserver.media.timeline import Timeline, TrackClock
from mediaserver.server.calls.audio.alarm import Alarm
from mediaserver.server.calls.audio.levels import Levels
from mediaserver.server.calls.audio.parts import Parts
from mediaserver.wire.messages import TRACKS, MediaBody
from mediaserver.wire.rates import Bucket, Limit
from telephony_codecs import Decoder, PayloadError
from telephony_codecs.l16 import ByteOrder, L16Decoder

# Quieter than this, in int16 steps, is digital silence; comfort noise is far louder.
SILENCE_PEAK = 8
# Nothing is made up for a gap where a track is already further than this ahead of the clock:
# a call brings no more than a second of audio in a second, whatever its chunks' numbers say.
AHEAD_S = 0.02
MADE_UP_AHEAD_S = 1.0  # the same for bad payloads, which come in their place
# Payloads longer than this cost most for their octets: of them no more than so many seconds may
# come at once, and so many a second.
USUAL_S = 0.04
LONG_PAYLOADS = Limit(per_s=2.0, burst=10.0)


class TrackDecoder:
    """One track: its decoder, and what it brought lately.

    Attributes:
        decoder: of this track alone.
        clock: where the track stands in stream time.
        numbers: looks at those of its chunks.
        usual: as many samples in a frame ask for no second look.
        n_samples: of its last frame. The samples themselves are not kept: what a call keeps
            from one frame to the next comes back to the processor as cold memory.
        wanted: the next frame's loudness is to be noted.
    """

    __slots__ = (
        "_born_at",
        "_born_held_s",
        "_born_s",
        "_long",
        "_peak",
        "clock",
        "decode",
        "decoder",
        "n_samples",
        "numbers",
        "rate_hz",
        "track",
        "usual",
        "wanted",
    )

    def __init__(self, track: Track, decoder: Decoder, clock: TrackClock, origin: float) -> None:
        self.track = track
        # Where the track stood, not when this came: what it was late is a hold, or follows.
        self._born_s = clock.next_s
        self._born_at = origin + clock.next_s
        self._born_held_s = clock.held_s
        self.decoder: Decoder = decoder
        self.decode: Callable[[bytes], Int16Array] = decoder.decode
        self.rate_hz: int = decoder.rate_hz
        self.clock: TrackClock = clock
        self.n_samples: int = decoder.rate_hz // 50
        self.usual: int = self.n_samples
        self._long = Bucket(LONG_PAYLOADS)
        self.numbers: NumberWatch = NumberWatch()
        self.wanted: bool = True
        self._peak = 0

    @property
    def chunk_s(self) -> float:
        """Seconds of its last frame."""
        return self.n_samples / self.rate_hz

    def pace(self, least_s: float) -> float | None:
        """Seconds of audio per second in which it came; None before ``least_s`` of them.

        Holds do not count. None too while it is not known what was one.
        """
        clock = self.clock
        held_s = clock.held_s - self._born_held_s
        came_s = clock.heard_at - self._born_at - held_s
        if came_s < least_s or not clock.settled:
            return None
        return (clock.next_s - self._born_s - held_s) / came_s

    def look_at_length(self, n_samples: int, now: float) -> None:
        """Note a length that is not the usual one."""
        self.n_samples = n_samples
        is_long = n_samples > USUAL_S * self.rate_hz
        self.usual = -1 if is_long else n_samples
        if is_long and not self._long.take(now, n_samples / self.rate_hz):
            self.decode = _too_much

    def is_shut(self, now: float) -> bool:
        """Whether too much has come; where there is room again, the next one is decoded."""
        if self.decode is not _too_much:
            return False
        if self._long.take(now, self.chunk_s):
            self.decode = self.decoder.decode
        return True

    def note(self, samples: Int16Array) -> None:
        """Note how loud a frame is, as was wanted."""
        self.wanted = False
        self._peak = max(int(samples.max()), -int(samples.min()))

    def was_silent(self) -> bool:
        """The first frame since this was last asked was digital silence."""
        self.wanted = True
        return self._peak <= SILENCE_PEAK


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
        """These, and what became of the chunks of one more socket."""
        return Chunks(
            self.delivered + reorder.delivered,
            self.late + reorder.late,
            self.duplicate + reorder.duplicate,
            self.missing + reorder.missing,
        )


NO_CHUNKS = Chunks(0, 0, 0, 0)


class Inbound:
    """The inbound half of one call.

    Args:
        parts: the decoders' maker, and what puts the chunks in order.
        run: gets the frames.
        now: monotonic seconds of the stream's start.
        count: told of payloads and tracks that are refused.
        alarm: set for when ``poll`` has work.

    Attributes:
        tracks: by track, those that had media.
        heard_at: when media came last.
        concealed: frames made up for what was lost or could not be decoded.
        levels: how loud one frame a second of the caller's was.
        numbering_fault: why chunk numbers are ignored, though nobody asked for that.
    """

    __slots__ = (
        "_alarm",
        "_count",
        "_earlier",
        "_latest",
        "_make_decoder",
        "_origin",
        "_run",
        "_timeline",
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
        self._run = run
        self._count = count
        self._alarm = alarm
        self._timeline = Timeline(now)
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
        """The order settled on, of the first track that has one; None too if it is not L16."""
        decoders = (track_decoder.decoder for track_decoder in self.tracks.values())
        orders = (d.verdict for d in decoders if isinstance(d, L16Decoder))
        return next((order for order in orders if order is not None), None)

    def receive(self, body: MediaBody, now: float) -> None:
        """Take one media message; frames go through the chain at once where they can."""
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
        """Give up what was waited for long enough."""
        self._give(self.reorder.poll(now), now)

    def drain(self, now: float) -> None:
        """The stream's end: nothing waits any more."""
        self._give(self.reorder.drain(), now)

    def end(self, now: float) -> None:
        """The call is over: give what waits, and no frame after that."""
        self.drain(now)
        self._run = _nobody

    @property
    def chunks(self) -> Chunks:
        """What became of the chunks of all sockets so far."""
        return self._earlier.plus(self.reorder)

    @property
    def stalled_s(self) -> float:
        """The longest time for which audio was held back, and then came at once."""
        return self._timeline.stalled_s

    def restart(self, parts: Parts, now: float) -> None:
        """A new socket took over: its numbering starts where it likes, its codecs anew."""
        self.drain(now)
        self._earlier = self.chunks
        self.reorder = parts.reorder
        self._make_decoder = parts.make_decoder
        self.tracks = {}
        self._latest = None
        self.heard_at = now

    def _give(self, items: Sequence[MediaBody | Lost], now: float) -> None:
        """Decode or conceal in order; a codec that can restores a loss from what follows."""
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
        if track_decoder.wanted:
            self._note(track_decoder, samples)
        run = self._run  # hot path: bound once, see docs/architecture.md
        run(track_decoder.clock.frame(samples, track_decoder.rate_hz, now))

    def _refuse(self, track_decoder: TrackDecoder, now: float) -> None:
        """Count a payload that was not decoded; where it was a bad one, conceal it."""
        if track_decoder.is_shut(now):
            self._count("too_much_audio")
            return
        self._count("bad_payload")
        if track_decoder.clock.room_s(now) > -MADE_UP_AHEAD_S:
            self._conceal(track_decoder.track, now)

    def _note(self, track_decoder: TrackDecoder, samples: Int16Array) -> None:
        """Note how loud a frame is; one a second."""
        track_decoder.note(samples)
        if track_decoder.track == "inbound":
            self.levels.add(samples)

    def _conceal(
        self, track: Track, now: float, following: Sequence[MediaBody | Lost] = ()
    ) -> None:
        track_decoder = self._track_decoder(track)
        decoder, n_samples = track_decoder.decoder, track_decoder.n_samples
        samples = None
        if decoder.can_recover and following and isinstance(following[0], MediaBody):
            try:
                samples = decoder.recover(following[0].payload, n_samples)
            except PayloadError:  # it is refused again, and counted, when its turn comes
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


def _too_much(_: bytes) -> Int16Array:
    """Stands in for a decoder while too much audio comes at once."""
    raise PayloadError("", "too much audio came at once")


def _nobody(_: Frame) -> None:
    """Where frames go when the call is over, and its socket is not closed yet."""
