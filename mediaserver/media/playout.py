"""The outbound half of one call: queue, resample, encode, pace, marks, clear.

Rules:

1. Plays go out in the order in which they were accepted, as one stream: one encoder and
   one resampler per rate, kept over all plays. Only `clear` resets them.
2. Audio is converted and encoded when it is sent, at most ``lead_s`` ahead of what the far
   end has played by a monotonic clock.
3. A message holds at least 20 ms and a multiple of the encoder's unit. A rest below that
   waits for more audio until the far end is about to run dry; then, with nothing behind it,
   the resampler's tail goes with it, padded with silence.
4. Live audio goes at most `LIVE_LEAD_S` ahead. When it would come later than ``backlog_s``,
   the oldest live audio still here is dropped and counted; no other audio ever is.
5. While ``blocked`` no audio is sent, and no mark but one that its audio brought with it.
"""

from __future__ import annotations

import numpy as np

from mediaserver.errors import CallEndedError, MediaServerError
from mediaserver.media.backlog import Backlog, QueuedItem
from mediaserver.media.frames import Int16Array
from mediaserver.media.ledger import Item, Ledger, Mark, Outcome, PlayoutSink, State
from mediaserver.media.sizes import EPSILON_S, MIN_MESSAGE_S, Sizes
from telephony_codecs import CodecError, Encoder

__all__ = ["AudioError", "Item", "Mark", "Outcome", "Playout", "PlayoutSink", "State"]

LIVE_MARK_EVERY_S = 1.0
"""Live plays share a mark per second: an echo makes 50 plays a second, and nobody waits."""
# A rest waits so long for company even when the far end is dry already.
_REST_WAIT_S = 0.04
_MESSAGES_PER_TICK = 50


class AudioError(MediaServerError, ValueError):
    """Audio or a rate that cannot be played: not one-dimensional int16, or no such rate."""


class Playout:
    """Plays audio into one call; see the module for the rules.

    Every method that takes ``now`` (seconds, monotonic) may send. Call `tick` when
    `next_at` has come; it may move to a later time unnoticed, which costs an idle tick.

    Attributes:
        next_at: when `tick` has work; None while there is none.
        blocked: set by the owner while its socket takes no more; `tick` after unsetting it.
        ledger: counters of marks, and the clock.
        dropped_s: live audio dropped because it came too late.
        ignored_feeds: feeds to plays that were over, cleared or cancelled.
    """

    def __init__(
        self,
        encoder: Encoder,
        sink: PlayoutSink,
        *,
        lead_s: float | None = 0.2,
        message_s: float = MIN_MESSAGE_S,
        clip_message_s: float = 0.1,
        backlog_s: float = 0.2,
        mark_every_s: float = 0.2,
        keepalive: bool = False,
    ) -> None:
        """Send what ``encoder`` makes to ``sink``; ``lead_s`` None sends all at once."""
        self._encoder = encoder
        self._sink = sink
        self.ledger = Ledger(sink, encoder.rate_hz, mark_every_s, LIVE_MARK_EVERY_S)
        self._sizes = sizes = Sizes.of(encoder, lead_s, message_s, clip_message_s)
        self._live_slack_s = sizes.live_slack_s
        self._clip_slack_s = sizes.clip_slack_s
        self._backlog_s = backlog_s
        self._keepalive = keepalive
        self._backlog = Backlog(self.ledger)
        # One message per 20 ms play may skip the queue, if that is what live messages are.
        self._min = sizes.least
        self._direct = sizes.least == sizes.live == encoder.rate_hz // 50
        self._blocked = False
        self._closed = False
        self._encode = encoder.encode
        self._send_media = sink.send_media
        # Nothing is queued, and a live message at our rate may skip the queue: see play_live.
        self._is_express = self._direct
        self._min_s = sizes.least / encoder.rate_hz
        self.dropped_s = 0.0
        self.ignored_feeds = 0
        self.next_at: float | None = float("-inf") if keepalive else None

    @property
    def blocked(self) -> bool:
        """Nothing may be sent."""
        return self._blocked

    @blocked.setter
    def blocked(self, blocked: bool) -> None:
        self._blocked = blocked
        self._is_express = False  # until the queue has been looked at

    # The user's side.

    def play(self, samples: Int16Array, rate_hz: int, now: float, *, live: bool = False) -> Item:
        """Queue one array, shape ``(n,)``, int16; send at once what may go.

        A read-only array is taken as it is, one that its owner may write is copied.

        Raises:
            AudioError: not such an array, or a rate that cannot be resampled.
            CallEndedError: the playout is closed.
        """
        ledger = self.ledger
        slack_s = self._live_slack_s if live else self._clip_slack_s
        if (
            not self._is_express
            or rate_hz != ledger.rate_hz
            or len(samples) != self._min
            or ledger.dry_at > now + slack_s
        ):
            return self._play_queued(samples, rate_hz, now, live)
        try:
            payload = self._encode(samples)
        except CodecError as error:
            raise AudioError(str(error)) from error
        item = Item(ledger, rate_hz, live)
        item.start = ledger.sent
        self._send_media(payload)
        ledger.advance(self._min, now)
        item.end = ledger.sent
        self._backlog.fed_at = now
        self._backlog.live = live
        ledger.finish(item)
        if ledger.mark_due(now):
            ledger.send_mark(now)
        if self.next_at is None:
            self._arm(now)
        return item

    def play_live(self, samples: Int16Array, rate_hz: int, now: float) -> None:
        """Play live audio that nobody wants to follow or to cancel; raises as `play`.

        Once the playout is closed this does nothing.

        The path of an echo, 50 times a second and call: what `play` does for a live message
        that may go at once, without an item and with nothing called that can be done here.
        """
        ledger = self.ledger
        dry_at = ledger.dry_at
        n_samples = self._min
        if (
            not self._is_express
            or rate_hz != ledger.rate_hz
            or len(samples) != n_samples
            or dry_at > now + self._live_slack_s
        ):
            if not self._closed:
                self._play_queued(samples, rate_hz, now, True)
            return
        try:
            payload = self._encode(samples)
        except CodecError as error:
            raise AudioError(str(error)) from error
        self._send_media(payload)
        ledger.sent += n_samples
        ledger.dry_at = (dry_at if dry_at > now else now) + self._min_s
        stretch = ledger.current
        stretch.wanted = True
        if stretch.due_at <= now:
            ledger.send_mark(now)
        if self.next_at is None:
            self._arm(now)

    def open(self, rate_hz: int, now: float, *, live: bool = False) -> Item:
        """Queue a play whose samples come by `feed` until `end` or `fail`; raises as `play`."""
        item = self._accept(rate_hz, live)
        item.is_open = True
        self._pump(now)
        return item

    def feed(self, item: Item, samples: Int16Array, now: float) -> None:
        """Give more samples of an open play; those of a play that is over are ignored.

        Raises:
            AudioError: as `play`.
        """
        if not item.is_open or not isinstance(item, QueuedItem):
            self.ignored_feeds += 1
            return
        self._add(item, samples, now)
        self._pump(now)

    def end(self, item: Item, now: float) -> None:
        """No more samples come: the play resolves once all given ones are played."""
        item.is_open = False
        self._pump(now)

    def fail(self, item: Item, now: float) -> None:
        """The source broke: what it gave is played, then the play resolves as failed."""
        if item.is_open and isinstance(item, QueuedItem):
            self._stop(item, "failed", now, drop=item.start < 0 and not item.chunks)

    def cancel(self, item: Item, now: float) -> None:
        """Drop what is not sent of a play, which then resolves as cleared.

        What the far end has already cannot be taken back without `clear`: of it the play
        tells how much was heard. One that is sent as a whole plays on.
        """
        if isinstance(item, QueuedItem) and item in self._backlog.queue:
            self._stop(item, "cleared", now, drop=True)

    def mark(self, name: str, now: float) -> Mark:
        """Queue a mark behind all that is queued; CallEndedError if closed."""
        if self._closed:
            raise CallEndedError("the call is over")
        mark = Mark(self.ledger, name)
        self._backlog.queue.append(mark)
        self._pump(now)
        return mark

    def clear(self, now: float) -> tuple[Outcome, ...]:
        """Silence the call: drop what is queued here and there; resolve all as cleared.

        Returns:
            the plays and marks this cleared, oldest first, but for live plays that nobody
            asked to be told of. What was heard of each is frozen.
        """
        if self._closed:
            return ()
        self._sink.send_clear()
        self._encoder.reset()
        return self._void(now)

    def close(self, now: float) -> tuple[Outcome, ...]:
        """Note that the socket is gone: as `clear`, but nothing is sent, now or later."""
        self._closed = True
        self._direct = self._is_express = False
        return self._void(now)

    # The wire's side.

    def mark_returned(self, wire_name: str, now: float) -> None:
        """Resolve as played what this mark stands for; unknown names are counted."""
        self.ledger.mark_returned(wire_name, now)

    def tick(self, now: float) -> None:
        """Send what is due."""
        self._pump(now)

    def queued_s(self, now: float) -> float:
        """Return how long the caller will hear what was accepted: there and here."""
        return max(self.ledger.dry_at - now, 0.0) + self._backlog.seconds()

    # Into the queue.

    def _play_queued(self, samples: Int16Array, rate_hz: int, now: float, live: bool) -> Item:
        item = self._accept(rate_hz, live)
        try:
            self._add(item, samples, now)
        except AudioError:
            self._backlog.queue.pop()
            raise
        self._pump(now)
        return item

    def _accept(self, rate_hz: int, live: bool) -> QueuedItem:
        if self._closed:
            raise CallEndedError("the call is over")
        try:
            self._backlog.convert.accept(rate_hz)
        except CodecError as error:
            raise AudioError(str(error)) from error
        item = QueuedItem(self.ledger, rate_hz, live)
        self._backlog.queue.append(item)
        return item

    def _add(self, item: QueuedItem, samples: Int16Array, now: float) -> None:
        if not isinstance(samples, np.ndarray) or samples.ndim != 1 or samples.dtype != np.int16:
            raise AudioError("audio must be a one-dimensional int16 array")
        self._backlog.add(item, samples, now)
        if item.live:
            late_s = self.queued_s(now) - self._backlog_s - EPSILON_S
            self.dropped_s += self._backlog.drop_late(late_s)

    def _stop(self, item: QueuedItem, verdict: State, now: float, *, drop: bool) -> None:
        """Take no more of a play; tell at once if nothing of it was sent or ever will be."""
        item.give(verdict)
        item.is_open = False
        if drop:
            self._backlog.empty(item)
            if item.start < 0:
                item.resolve_unsent()
        self._pump(now)

    def _void(self, now: float) -> tuple[Outcome, ...]:
        unsent = self._backlog.things()
        for thing in unsent:
            if isinstance(thing, Item):
                thing.is_open = False
        self._backlog.reset()
        self.next_at = now if self._keepalive and not self._closed else None
        return self.ledger.void(now, unsent)

    # Out of the queue.

    def _pump(self, now: float) -> None:
        """Send what may go now, a bounded number of messages; arm the timer."""
        for _ in range(_MESSAGES_PER_TICK):
            if self.blocked or self._closed or not self._send_next(now):
                break
        self._arm(now)
        backlog = self._backlog
        convert = backlog.convert
        self._is_express = (
            self._direct
            and convert.rate_hz == self.ledger.rate_hz
            and not (backlog.queue or backlog.n_ready or convert.waiting or self._blocked)
        )

    def _send_next(self, now: float) -> bool:
        """Send the next message if its time has come; whether one was sent."""
        backlog = self._backlog
        backlog.reap()
        self._finish(now)
        if self._has_message():
            if now < self._send_at():
                return False
            n_samples = self._make_ready(now)
            if n_samples:
                self._emit(n_samples, now)
                return True
        if self._has_rest():
            return now >= self._rest_at() and self._send_rest(now)
        if self._keepalive and self.ledger.dry_at <= now:
            self._sink.send_media(self._encoder.silence(self._min))
            self.ledger.advance(self._min, now)
            return True
        return False

    def _has_message(self) -> bool:
        return self._backlog.n_ready >= self._least() or self._backlog.audio() is not None

    def _least(self) -> int:
        """Samples that make a message: live ones fill it, clips go on as they come."""
        return self._sizes.live if self._is_live() else self._min

    def _is_live(self) -> bool:
        """Whether the next message is live audio."""
        item = self._backlog.audio()
        return self._backlog.live if item is None else item.live

    def _send_at(self) -> float:
        slack_s = self._live_slack_s if self._is_live() else self._clip_slack_s
        return self.ledger.dry_at - slack_s

    def _make_ready(self, now: float) -> int:
        """Make the next message ready; return its samples, 0 if it is too short to go."""
        backlog = self._backlog
        live = self._is_live()
        message = self._sizes.live if live else self._sizes.clip
        least = self._least()
        backlog.fill(message, least, joined=self.ledger.dry_at > now)
        # A live message may be longer, so as to leave no rest: see Backlog.
        limit = min(message + self._min, self._sizes.most) if live else message
        n_samples = min(backlog.n_ready, limit)
        # Clips keep to a grid of 20 ms: how they were cut then shows nowhere, not even at
        # their end.
        n_samples -= n_samples % (self._encoder.unit_samples if live else self._min)
        return n_samples if n_samples >= least else 0

    def _has_rest(self) -> bool:
        """Whether something is left that is too short for a message.

        The resampler's tail is a rest of its own only behind a clip: live audio is about to
        go on.
        """
        backlog = self._backlog
        convert = backlog.convert
        return bool(backlog.n_ready or convert.waiting or (convert.has_tail and not backlog.live))

    def _rest_at(self) -> float:
        # An open play at the head may still go on: it has until the last moment.
        margin_s = 0.0 if self._backlog.queue else self._sizes.margin_s
        return max(self.ledger.dry_at - margin_s, self._backlog.fed_at + _REST_WAIT_S)

    def _send_rest(self, now: float) -> bool:
        """Send the rest with the resampler's tail, padded; whether anything was sent."""
        backlog = self._backlog
        if not (backlog.n_ready or backlog.convert.waiting) and now > self.ledger.dry_at:
            # The tail alone, after a pause, would be a click.
            backlog.convert.reset()
            return False
        backlog.flush()
        while backlog.n_ready:
            unit = self._encoder.unit_samples
            n_samples = max(-(-backlog.n_ready // unit) * unit, self._min)
            self._emit(min(n_samples, self._sizes.most), now)
        return True

    def _emit(self, n_samples: int, now: float) -> None:
        self._sink.send_media(self._encoder.encode(self._backlog.take(n_samples)))
        self.ledger.advance(n_samples, now)
        self._finish(now)

    def _finish(self, now: float) -> None:
        """Hand what is wholly sent to the ledger, with a wire mark where one is due."""
        ledger = self.ledger
        for thing in self._backlog.due():
            if isinstance(thing, Mark):
                ledger.finish_mark(thing, now)
            else:
                ledger.finish(thing)
        if ledger.mark_due(now):
            ledger.send_mark(now)

    def _arm(self, now: float) -> None:
        """Set `next_at` to the first time at which there is something to do."""
        if self.blocked or self._closed:
            self.next_at = None
            return
        times = []
        if self._has_message():
            times.append(self._send_at())
        elif self._has_rest():
            times.append(self._rest_at())
        elif self._keepalive:
            times.append(self.ledger.dry_at)
        if self.ledger.current.wanted:
            times.append(self.ledger.current.due_at)
        self.next_at = max(min(times), now) if times else None
