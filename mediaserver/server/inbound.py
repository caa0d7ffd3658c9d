"""From Telnyx's chunks to frames in the chain: order, decoding, concealment, time."""

from __future__ import annotations

from collections.abc import Callable

from mediaserver.media.frames import Frame, Track
from mediaserver.media.reorder import Lost, Reorder
from mediaserver.processors.chain import Chain
from mediaserver.wire.messages import MediaBody
from telephony_codecs import Decoder, PayloadError

# A track this quiet, with no chunk lost, was on hold: its clock is set to arrival.
QUIET_S = 0.2

_TRACKS: dict[str | None, Track] = {
    None: "inbound",
    "inbound": "inbound",
    "outbound": "outbound",
    "inbound_track": "inbound",
    "outbound_track": "outbound",
}


class _Lane:
    """One track: its decoder and its clock."""

    __slots__ = (
        "decode",
        "decoder",
        "heard_at",
        "index",
        "n_samples",
        "n_typical",
        "offset_s",
        "rate_hz",
    )

    def __init__(self, decoder: Decoder, now: float, start_s: float) -> None:
        self.decoder = decoder
        self.decode = decoder.decode
        self.rate_hz = decoder.rate_hz
        self.index = 0
        self.n_samples = 0  # since the offset
        self.n_typical = decoder.rate_hz // 50
        self.heard_at = now
        self.offset_s = start_s

    @property
    def start_s(self) -> float:
        """Stream time at which the next frame starts."""
        return self.offset_s + self.n_samples / self.rate_hz

    def anchor(self, start_s: float) -> None:
        """Move the clock forward to ``start_s``; never back."""
        if start_s > self.start_s:
            self.offset_s, self.n_samples = start_s, 0


class Inbound:
    """The inbound half of one call.

    Args:
        make_decoder: a new decoder for a track.
        chain: gets the frames.
        reorder: puts the chunks in order.
        now: monotonic seconds of the stream's start.
        count: told of payloads and tracks that are refused.
        waits: told that ``poll`` has a time to be called at.
    """

    def __init__(
        self,
        make_decoder: Callable[[], Decoder],
        chain: Chain,
        reorder: Reorder[MediaBody],
        now: float,
        count: Callable[[str], None],
        waits: Callable[[], None],
    ) -> None:
        self._make_decoder = make_decoder
        self._run = chain.run
        self.reorder = reorder
        self._origin = now
        self._count = count
        self._waits = waits
        self._lanes: dict[Track, _Lane] = {}

    @property
    def tracks(self) -> tuple[Track, ...]:
        """The tracks that had media."""
        return tuple(self._lanes)

    @property
    def decoders(self) -> dict[Track, Decoder]:
        """Each track's decoder."""
        return {track: lane.decoder for track, lane in self._lanes.items()}

    def receive(self, body: MediaBody, now: float) -> None:
        """Take one media message; frames go through the chain at once where they can."""
        track = _TRACKS.get(body.track)
        if track is None:
            self._count("unknown_track")
            return
        for item in self.reorder.push(track, body.chunk, body, now):
            self._give(item, now)
        if self.reorder.next_at is not None:
            self._waits()

    def poll(self, now: float) -> None:
        """Give up what was waited for long enough."""
        for item in self.reorder.poll(now):
            self._give(item, now)

    def drain(self, now: float) -> None:
        """The stream's end: nothing waits any more."""
        for item in self.reorder.drain():
            self._give(item, now)

    def restart(self, reorder: Reorder[MediaBody]) -> None:
        """A new socket took over: its numbering starts where it likes."""
        self.reorder = reorder

    def _give(self, item: MediaBody | Lost, now: float) -> None:
        if isinstance(item, Lost):
            self._conceal(item.track, now)
            return
        track = _TRACKS[item.track]
        lane = self._lanes.get(track) or self._new_lane(track, now)
        try:
            samples = lane.decode(item.payload)
        except PayloadError:
            self._count("bad_payload")
            self._conceal(track, now)
            return
        n_samples = len(samples)
        if n_samples == 0:
            return
        if now - lane.heard_at > QUIET_S:
            lane.anchor(now - self._origin)
        rate_hz = lane.rate_hz
        start_s = lane.offset_s + lane.n_samples / rate_hz
        frame = Frame(samples, rate_hz, track, lane.index, start_s)
        lane.heard_at = now
        lane.index += 1
        lane.n_samples += n_samples
        lane.n_typical = n_samples
        self._run(frame)

    def _conceal(self, track: Track, now: float) -> None:
        lane = self._lanes.get(track) or self._new_lane(track, now)
        samples = lane.decoder.conceal(lane.n_typical)
        frame = Frame(samples, lane.rate_hz, track, lane.index, lane.start_s, True)
        lane.heard_at = now
        lane.index += 1
        lane.n_samples += len(samples)
        self._run(frame)

    def _new_lane(self, track: Track, now: float) -> _Lane:
        # A track that begins late begins there; the first one begins at zero.
        start_s = now - self._origin if self._lanes else 0.0
        lane = self._lanes[track] = _Lane(self._make_decoder(), now, start_s)
        return lane
