"""One track of a call: its decoder, its place in time, how loud it is."""

from __future__ import annotations

from collections.abc import Callable

from mediaserver.media.frames import Int16Array, Track
from mediaserver.media.numbering import NumberWatch
from mediaserver.media.timeline import TrackClock
from mediaserver.server.calls.audio.levels import peak, rms
from mediaserver.wire.rates import Bucket, Limit
from telephony_codecs import Decoder, PayloadError

# A frame with no sample above this is digital silence; comfort noise is far louder.
SILENCE_PEAK = 8
# Longer payloads cost the most CPU per octet, so their audio is limited, in seconds.
USUAL_S = 0.04
LONG_PAYLOADS = Limit(per_s=2.0, burst=10.0)
# What is wanted of the next frame: the look of once a second, and a meter's.
LOOK, METER = 1, 2


class TrackDecoder:
    """One track: its decoder, its clock, and a few figures.

    Attributes:
        decoder: decodes this track only.
        clock: the track's place in stream time.
        numbers: judges its chunk numbers.
        usual: a frame of so many samples needs no further look.
        n_samples: length of its last frame. Only the length is kept: with hundreds of calls the
            array would have left the CPU's cache by the next frame.
        wanted: what is to be noted of the next frame: ``LOOK``, ``METER``, both.
        meter: how loud the frame was that was noted for a meter: the root of its mean square.
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
        "meter",
        "n_samples",
        "numbers",
        "rate_hz",
        "track",
        "usual",
        "wanted",
    )

    def __init__(self, track: Track, decoder: Decoder, clock: TrackClock, origin: float) -> None:
        self.track = track
        # The track's place, not the time of arrival: if it was late, that is a hold or a stall.
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
        self.wanted: int = LOOK
        self.meter: int = 0
        self._peak = 0

    @property
    def chunk_s(self) -> float:
        """Seconds of its last frame."""
        return self.n_samples / self.rate_hz

    def pace(self, least_s: float) -> float | None:
        """Seconds of audio per second of time, without holds.

        None if fewer than ``least_s`` have passed, or while a pause is not settled.
        """
        clock = self.clock
        held_s = clock.held_s - self._born_held_s
        came_s = clock.heard_at - self._born_at - held_s
        if came_s < least_s or not clock.settled:
            return None
        return (clock.next_s - self._born_s - held_s) / came_s

    def look_at_length(self, n_samples: int, now: float) -> None:
        """Note that a frame has another length than usual."""
        self.n_samples = n_samples
        is_long = n_samples > USUAL_S * self.rate_hz
        self.usual = -1 if is_long else n_samples
        if is_long and not self._long.take(now, n_samples / self.rate_hz):
            self.decode = _too_much

    def is_shut(self, now: float) -> bool:
        """Whether decoding is stopped because too much came; starts it again if there is room."""
        if self.decode is not _too_much:
            return False
        if self._long.take(now, self.chunk_s):
            self.decode = self.decoder.decode
        return True

    def note(self, samples: Int16Array) -> int:
        """Note what ``wanted`` says; it is 0 then. Answers what it was."""
        wanted, self.wanted = self.wanted, 0
        if wanted & METER:
            self.meter = rms(samples)
        if wanted & LOOK:
            self._peak = peak(samples)
        return wanted

    def take_meter(self) -> int:
        """How loud the last frame was that was noted for a meter; has the next one noted."""
        self.wanted |= METER
        meter, self.meter = self.meter, 0
        return meter

    def was_silent(self) -> bool:
        """Whether the first frame since the last call was digital silence. Sets ``wanted``."""
        self.wanted |= LOOK
        return self._peak <= SILENCE_PEAK


def _too_much(_: bytes) -> Int16Array:
    """In the place of a decoder's `decode` while too much audio comes."""
    raise PayloadError("", "too much audio came at once")
