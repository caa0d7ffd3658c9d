"""The outbound half of one call: queue, resample, encode, pace, marks, clear.

Rules:

1. Plays go out in the order in which they were accepted, as one stream. There is one encoder,
   and one resampler per rate; they are kept over all plays, and only `clear` resets them.
2. Audio is resampled and encoded when it is sent: at most ``lead_s`` ahead of what the peer has
   played, by a monotonic clock.
3. A message holds at least 20 ms and a multiple of the encoder's unit. A shorter remainder waits
   for more audio until the peer is about to run out of it. Then, with nothing queued behind it,
   it is sent with the resampler's tail, padded with silence. A remainder of a play whose source
   may bring more waits for that, however long.
4. Live audio goes at most `LIVE_LEAD_S` ahead. If it would be heard later than ``backlog_s``, the
   oldest live audio here is dropped and counted; other audio is never dropped. If its delay is
   longer than the jitter needs, some of it is left out, and counted too (`catchup`).
5. While ``blocked`` no audio is sent, and no mark but the one that belongs to audio just sent.
"""

from __future__ import annotations

from collections import Counter

from mediaserver.errors import AudioFormatError, CallEndedError
from mediaserver.media.frames import Int16Array, check_audio, is_audio
from mediaserver.media.playout.backlog import QueuedItem
from mediaserver.media.playout.catchup import CatchUp
from mediaserver.media.playout.ledger import Cause, Mark, Outcome, Play, State
from mediaserver.media.playout.pacing import Sender
from mediaserver.media.playout.sink import PlayoutSink
from mediaserver.media.playout.sizes import EPSILON_S, MIN_MESSAGE_S
from mediaserver.media.playout.tally import Tally
from telephony_codecs import CodecError, Encoder


class Playout(Sender):
    """Plays audio into one call; see the module for the rules.

    **Call any method; then look at `next_at`; call `tick` when it has come.** Every method that
    takes ``now`` (seconds, monotonic) may send. `next_at` may become later without notice; then
    `tick` has nothing to do.

    Attributes:
        next_at: when `tick` has work; None while there is none.
        blocked: set by the owner while its socket takes no more. Call `tick` after unsetting it.
        ledger: counters of marks, and the clock.
        ignored_feeds: feeds to plays that were over, cleared or cancelled.
        plays_clips_only: each play is sent as a whole, as soon as the first of it has come.
    """

    next_at: float | None
    plays_clips_only = False

    __slots__ = (
        "_backlog_s",
        "_in_time_s",
        "_min_s",
        "_too_late_s",
        "ignored_feeds",
    )

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
        catch_up: bool = True,
    ) -> None:
        """Send what ``encoder`` makes to ``sink``; ``lead_s`` None sends all at once."""
        super().__init__(
            encoder,
            sink,
            lead_s=lead_s,
            message_s=message_s,
            clip_message_s=clip_message_s,
            mark_every_s=mark_every_s,
            keepalive=keepalive,
        )
        self._backlog_s = backlog_s
        self._catch_up = CatchUp() if catch_up else None
        # What play_live needs.
        self._in_time_s = self._sizes.in_time_s
        self._min_s = self._sizes.least_s
        self._too_late_s = 0.0
        self.ignored_feeds: int = 0

    # The user's side.

    def play(self, samples: Int16Array, rate_hz: int, now: float, *, live: bool = False) -> Play:
        """Queue one array, shape ``(n,)``, int16; send at once what may go.

        A read-only array is taken as it is, one that its owner may write is copied.

        Raises:
            AudioFormatError: not such an array, or a rate that cannot be resampled.
            CallEndedError: the playout is closed.
        """
        ledger = self.ledger
        slack_s = self._sizes.live_slack_s if live else self._sizes.clip_slack_s
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
            raise AudioFormatError(str(error)) from error
        item = Play(ledger, rate_hz, live)
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
        """
        # hot path: as `play` for a live message that may go at once, but without a `Play`, and with
        # the work of small methods written out.
        ledger = self.ledger
        dry_at = ledger.dry_at
        n_samples = self._min
        if (
            not self._is_express
            or rate_hz != ledger.rate_hz
            or len(samples) != n_samples
            or dry_at > now + self._in_time_s
        ):
            due = self._exchange(samples, rate_hz, now)
            if due is None:
                return
            samples = due
        # hot path: bound once, see docs/architecture.md
        encode, send_media = self._encode, self._send_media
        try:
            payload = encode(samples)
        except CodecError as error:
            raise AudioFormatError(str(error)) from error
        send_media(payload)
        ledger.sent += n_samples
        ledger.n_messages += 1
        ledger.dry_at = (dry_at if dry_at > now else now) + self._min_s
        segment = ledger.current
        segment.wanted = True
        if segment.due_at <= now:
            ledger.send_mark(now)
        if self.next_at is None:
            self._arm(now)

    def open(self, rate_hz: int, now: float, *, live: bool = False) -> Play:
        """Queue a play whose samples come by `feed` until `end` or `fail`; raises as `play`."""
        item = self._accept(rate_hz, live)
        item.is_open = True
        self._pump(now)
        return item

    def open_clip(self, rate_hz: int, now: float) -> Play:
        """As `open`, for a source whose samples will come all at once."""
        return Playout.open(self, rate_hz, now)

    def feed(self, item: Play, samples: Int16Array, now: float) -> None:
        """Give more samples of an open play; those of a play that is over are ignored.

        Raises:
            AudioFormatError: as `play`.
        """
        if not item.is_open or not isinstance(item, QueuedItem):
            self.ignored_feeds += 1
            return
        self._add(item, samples, now)
        self._pump(now)

    def end(self, item: Play, now: float) -> None:
        """No more samples come: the play resolves once all given ones are played."""
        self._backlog.owes_tail = self._backlog.goes_on()
        item.is_open = False
        self._pump(now)

    def fail(self, item: Play, now: float) -> None:
        """The source failed: what it gave is played, then the play resolves as failed."""
        if item.is_open and isinstance(item, QueuedItem):
            self._stop(item, "failed", now, drop=item.start < 0 and not item.chunks)

    def cancel(self, item: Play, now: float) -> None:
        """Drop what is not sent of a play; then it resolves as cleared.

        What was sent cannot be taken back without `clear`; the play says how much of it was heard.
        A play that was sent as a whole plays on.
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
        """Silence the call: drop what is queued here and at the peer; resolve all as cleared.

        Returns:
            the plays and marks that were cleared, oldest first, without live plays that nobody
            waits for. What was heard of each does not change any more.
        """
        if self._closed:
            return ()
        self._sink.send_clear()
        self._encoder.reset()
        return self._void(now, "barge_in")

    def close(self, now: float, cause: Cause = "socket") -> tuple[Outcome, ...]:
        """The socket or the call is over: as `clear`, but nothing is sent, now or later."""
        self._closed = True
        self._direct = self._is_express = False
        voided = self._void(now, cause)
        self._detach()
        return voided

    # The wire's side.

    def mark_returned(self, wire_name: str, now: float) -> None:
        """Resolve as played what this mark stands for; unknown names are counted."""
        self.ledger.mark_returned(wire_name, now)

    def is_speaking(self, now: float) -> bool:
        """The peer plays a play that is not live; keep-alive silence is none."""
        if self._keepalive and not self._has_message():
            return False  # what was sent last may be silence
        return self.ledger.dry_at > now and not self._backlog.live

    @property
    def dropped_s(self) -> float:
        """Live audio dropped or left out because it came too late."""
        left_out_s = self._catch_up.dropped_s if self._catch_up is not None else 0.0
        return self._too_late_s + left_out_s

    @property
    def too_late_s(self) -> float:
        """The part of it that waited for longer than live audio may."""
        return self._too_late_s

    @property
    def tally(self) -> Tally:
        """What was sent, and what became of plays and marks."""
        ledger = self.ledger
        return Tally(
            ledger.n_messages,
            self.dropped_s,
            Counter(ledger.plays),
            Counter(ledger.marks),
            self._too_late_s,
            self._underruns,
        )

    def queued_s(self, now: float) -> float:
        """Return how many seconds the caller will hear what was accepted, sent or not."""
        return max(self.ledger.dry_at - now, 0.0) + self._backlog.seconds()

    # Into the queue.

    def _play_queued(self, samples: Int16Array, rate_hz: int, now: float, live: bool) -> QueuedItem:
        item = self._accept(rate_hz, live)
        try:
            self._add(item, samples, now)
        except AudioFormatError:
            self._backlog.queue.pop()
            raise
        self._pump(now)
        return item

    def _exchange(self, samples: Int16Array, rate_hz: int, now: float) -> Int16Array | None:
        """Queue live audio as of `play_live`; return the message to send now, if one is due.

        After a stall the peer has much to play, and after a long one some messages are queued; both
        stay so while audio comes as fast as it is played. Then the new message is sent, or queued
        and the oldest one sent, without a timer.
        """
        if self._closed:
            return None
        live, backlog, is_next = self._live, self._backlog, self._is_express
        if (
            not (is_next or (self._is_exchange and live is not None and self._is_even(live)))
            or rate_hz != self.ledger.rate_hz
            or len(samples) != self._min
            or self.ledger.dry_at > now + self._sizes.live_room_s
            or (ahead_s := self.queued_s(now)) + self._min_s > self._backlog_s + EPSILON_S
            or not is_audio(samples)
        ):
            self._queue_live(samples, rate_hz, now)
            return None
        kept = self._caught_up(samples, self._min_s, ahead_s, now)
        if kept is None:
            self._pump(now)
        if kept is None or is_next or live is None:
            return kept
        samples = kept
        backlog.fed_at = now
        backlog.live = True
        if live.start < 0:
            live.start = self.ledger.sent
        chunks = live.chunks
        chunks.append(samples.copy() if samples.flags.writeable else samples)
        return chunks.popleft()

    def _is_even(self, live: QueuedItem) -> bool:
        """The next message can be what waits first, as it is."""
        return not live.chunks or len(live.chunks[0]) == self._min

    def _queue_live(self, samples: Int16Array, rate_hz: int, now: float) -> None:
        """Queue it last: as more of the last live play if that is of the same rate."""
        queue, live = self._backlog.queue, self._live
        if live is None or not queue or queue[-1] is not live or live.rate_hz != rate_hz:
            self._live = self._play_queued(samples, rate_hz, now, True)
        else:
            self._add(live, samples, now)
            self._pump(now)

    def _accept(self, rate_hz: int, live: bool) -> QueuedItem:
        if self._closed:
            raise CallEndedError("the call is over")
        try:
            self._backlog.convert.accept(rate_hz)
        except CodecError as error:
            raise AudioFormatError(str(error)) from error
        item = QueuedItem(self.ledger, rate_hz, live)
        self._backlog.queue.append(item)
        return item

    def _add(self, item: QueuedItem, samples: Int16Array, now: float) -> None:
        check_audio(samples, item.rate_hz)
        if item.live:
            length_s = len(samples) / item.rate_hz
            kept = self._caught_up(samples, length_s, self.queued_s(now), now)
            if kept is None:
                return
            samples = kept
        self._backlog.add(item, samples, now)
        if item.live:
            late_s = self.queued_s(now) - self._backlog_s - EPSILON_S
            self._too_late_s += self._backlog.drop_late(late_s)

    def _caught_up(
        self, samples: Int16Array, length_s: float, ahead_s: float, now: float
    ) -> Int16Array | None:
        """The live audio to queue instead of this; None if it is left out."""
        catch_up = self._catch_up
        if catch_up is None:
            return samples
        return catch_up.keep(samples, length_s, ahead_s, now, self._backlog.drop_late)

    def _stop(self, item: QueuedItem, verdict: State, now: float, *, drop: bool) -> None:
        """Take no more of a play; resolve it at once if nothing of it was or will be sent."""
        item.give(verdict)
        item.is_open = False
        if drop:
            self._backlog.empty(item)
            if item.start < 0:
                item.resolve_unsent()
        self._pump(now)

    def _void(self, now: float, cause: Cause) -> tuple[Outcome, ...]:
        unsent = self._backlog.entries()
        for entry in unsent:
            if isinstance(entry, Play):
                entry.is_open = False
        self._backlog.reset()
        if self._catch_up is not None:
            self._catch_up.pending = None
        self._is_exchange = False
        self.next_at = now if self._keepalive and not self._closed else None
        return self.ledger.void(now, unsent, cause)
