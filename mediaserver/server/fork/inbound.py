"""The audio of a forked call: packets in order, each at its place in time.

Rules:

1. The first packets of both tracks are held until it is known where they lie, for 0.2 s, or for
   0.8 s where there is jitter: so the tracks begin side by side. From then on what comes in
   order is never held.
2. Order is by sequence numbers (`mediaserver.media.reorder`), place by timestamps
   (`mediaserver.media.rtp_time`).
3. What is lost is concealed as far as the timestamps say that audio is missing. A gap in them
   without lost packets is silence.
4. A packet without audio (a key press, comfort noise) is counted, and no loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from mediaserver.media.frames import Frame, Track
from mediaserver.media.reorder import Lost
from mediaserver.media.rtp_time import PlacedTimeline, RtpTime
from mediaserver.processors.chain import RateConverter
from mediaserver.server.calls.audio.alarm import Alarm
from mediaserver.server.calls.audio.inbound import Inbound
from mediaserver.server.calls.audio.parts import Parts
from mediaserver.server.calls.audio.track import TrackDecoder
from mediaserver.server.fork.payloads import PayloadAudio, Payloads
from mediaserver.wire.messages import MediaBody
from mediaserver.wire.rtp import RtpPacket

# Held at most before the tracks begin; more is no call.
MAX_EARLY = 400
# Timestamps that jump by more than so many frames for each lost packet tell of a silence.
MAX_FRAMES_OF_PACKET = 6


class Placed(MediaBody, gc=False):
    """A packet whose timestamp was read; ``chunk`` is its sequence number."""

    payload_type: int = 0
    timestamp: int = 0


class _Early(NamedTuple):
    """A packet that waits for the tracks to begin."""

    now: float
    body: Placed


class _Half:
    """What is known of one track's stream."""

    __slots__ = ("latest", "payload_type", "time")

    def __init__(self, clock_hz: int) -> None:
        self.time = RtpTime(clock_hz)
        self.payload_type = -1  # of its decoder
        self.latest = 0  # timestamp of its last packet with audio


class ForkInbound(Inbound):
    """The inbound half of a forked call; **call `packet_received` for each packet.**

    Args:
        payloads: what each payload type holds.
        parts: of the call.
        run: gets the frames.
        now: monotonic seconds of the call's start.
        count: told of payloads that are refused.
        alarm: set for when ``poll`` has work.
    """

    __slots__ = ("_converts", "_decoders", "_drop", "_early", "_halves", "_payloads", "_rate_hz")

    def __init__(
        self,
        payloads: Payloads,
        parts: Parts,
        run: Callable[[Frame], None],
        now: float,
        count: Callable[[str], None],
        alarm: Alarm,
    ) -> None:
        super().__init__(parts, run, now, count, alarm)
        self._payloads = payloads
        self._drop = count
        self._halves: dict[Track, _Half] = {}
        self._decoders: dict[tuple[Track, int], TrackDecoder] = {}
        self._early: list[_Early] | None = []
        self._rate_hz: int | None = None
        self._converts = False

    @property
    def next_at(self) -> float | None:
        """When ``poll`` has work."""
        if self._early is None:
            return self.reorder.next_at
        return max(
            (at for half in self._halves.values() if (at := half.time.settles_at()) is not None),
            default=None,
        )

    def packet_received(self, track: Track, packet: RtpPacket, now: float) -> None:
        """Take one packet; frames go through the chain at once where they can."""
        payload_type, sequence, timestamp, _, payload = packet
        half = self._halves.get(track)
        audio = self._payloads.get(payload_type)
        if audio is None:
            self._drop("payload_type")
            unwrapped = 0
        else:
            if half is None or half.time.clock_hz != audio.clock_hz:
                half = self._halves[track] = _Half(audio.clock_hz)
            unwrapped = half.time.arrived(timestamp, now)
        self.heard_at = now
        if self._early is not None:
            self._hold(Placed(payload, track, sequence, payload_type, unwrapped), now)
        elif self.reorder.pass_on(track, sequence):
            if audio is not None and half is not None:
                self._place(track, half, payload_type, unwrapped, payload, now)
        else:
            body = Placed(payload, track, sequence, payload_type, unwrapped)
            self._give(self.reorder.push(track, sequence, body, now), now)
            self._alarm.set(self.reorder.next_at)

    def new_source(self, track: Track) -> None:
        """Another stream has taken the track's place: its time begins anew."""
        half = self._halves.get(track)
        if half is not None:
            self._halves[track] = _Half(half.time.clock_hz)

    def poll(self, now: float) -> None:
        """Give up what was waited for long enough."""
        at = self.next_at
        if self._early is not None:
            if at is not None and now >= at:
                self._begin(now)
        else:
            super().poll(now)

    def drain(self, now: float) -> None:
        """The call's end: nothing waits any more."""
        if self._early:
            self._begin(now)
        super().drain(now)

    def _hold(self, body: Placed, now: float) -> None:
        assert self._early is not None
        self._early.append(_Early(now, body))
        at = self.next_at
        if len(self._early) >= MAX_EARLY or (at is not None and now >= at):
            self._begin(now)
        else:
            self._alarm.set(at)

    def _begin(self, now: float) -> None:
        """The tracks begin, the earlier one at 0."""
        early, self._early = self._early or [], None
        places = [
            self._halves[_track_of(body)].time.place_s(body.timestamp)
            for _, body in early
            if body.payload_type in self._payloads and _track_of(body) in self._halves
        ]
        self._origin = min(places, default=now)
        self._timeline = PlacedTimeline(self._origin)
        for at, body in early:
            self._give(self.reorder.push(_track_of(body), body.chunk, body, at), now)
        self._alarm.set(self.reorder.next_at)

    def _give(self, items: Sequence[MediaBody | Lost], now: float) -> None:
        """Decode or conceal, in order."""
        n_lost = 0
        for item in items:
            if isinstance(item, Lost):
                n_lost += 1
                continue
            assert isinstance(item, Placed), "nothing else was pushed"
            track = _track_of(item)
            half = self._halves.get(track)
            if half is not None and item.payload_type in self._payloads:
                if n_lost:
                    self._fill(track, half, n_lost, item, now)
                at = item.timestamp
                self._place(track, half, item.payload_type, at, item.payload, now)
            n_lost = 0

    def _fill(self, track: Track, half: _Half, n_lost: int, following: Placed, now: float) -> None:
        """Conceal what is missing before a packet, by its timestamp."""
        track_decoder = self.tracks.get(track)
        if track_decoder is None:
            return
        chunk_s = track_decoder.chunk_s
        missing_s = (following.timestamp - half.latest) / half.time.clock_hz - chunk_s
        n_frames = round(missing_s / chunk_s)
        if n_frames > MAX_FRAMES_OF_PACKET * n_lost:
            n_frames = n_lost
        for left in range(n_frames, 0, -1):
            self._conceal(track, now, (following,) if left == 1 else ())

    def _place(
        self,
        track: Track,
        half: _Half,
        payload_type: int,
        timestamp: int,
        payload: bytes,
        now: float,
    ) -> None:
        if payload_type != half.payload_type:
            self._use(track, payload_type)
            half.payload_type = payload_type
        half.latest = timestamp
        at = half.time.place_s(timestamp)
        self._decode(track, payload, at if at < now else now)

    def _use(self, track: Track, payload_type: int) -> None:
        """Decode what follows as this payload type says."""
        track_decoder = self._decoders.get((track, payload_type))
        if track_decoder is None:
            audio = self._payloads[payload_type]
            clock = self._timeline.clock(track)
            track_decoder = TrackDecoder(track, audio.make_decoder(), clock, self._origin)
            self._decoders[track, payload_type] = track_decoder
            self._keep_rate(audio)
        self.tracks[track] = self._latest = track_decoder

    def _keep_rate(self, audio: PayloadAudio) -> None:
        """A codec of another rate came: processors get the rate of the first one all the same."""
        if self._rate_hz is None:
            self._rate_hz = audio.rate_hz
        elif audio.rate_hz != self._rate_hz and not self._converts:
            self._converts = True
            run, convert = self._run, RateConverter(self._rate_hz).convert
            self._run = lambda frame: run(convert(frame))


def _track_of(body: Placed) -> Track:
    return "outbound" if body.track == "outbound" else "inbound"
