"""What goes out of a playout, and when: messages cut, paced, encoded and marked."""

from __future__ import annotations

from collections.abc import Callable

from numpy import zeros_like

from mediaserver.media.frames import Int16Array
from mediaserver.media.playout.backlog import Backlog, QueuedItem
from mediaserver.media.playout.catchup import CatchUp
from mediaserver.media.playout.ear.listening import ListenedEncoder, Listener, without
from mediaserver.media.playout.ledger import Ledger, Mark
from mediaserver.media.playout.sink import DetachedSink, PlayoutSink
from mediaserver.media.playout.sizes import MIN_MESSAGE_S, Sizes
from telephony_codecs import Encoder

LIVE_MARK_EVERY_S = 1.0
"""Live plays share one mark a second: an echo makes 50 plays a second, and nobody waits for one."""
# A remainder shorter than one message waits this long for more audio, even after an underrun.
_REST_WAIT_S = 0.04
_MESSAGES_PER_TICK = 50


class Sender:
    """The sending half of a `Playout`, which is the queueing half.

    **Look at `next_at` after each call; call `tick` when it has come.**

    Attributes:
        next_at: when `tick` has work; None while there is none. It may become later without
            notice; then `tick` has nothing to do.
        ledger: counters of marks, and the clock.
    """

    __slots__ = (
        "_backlog",
        "_blocked",
        "_catch_up",
        "_closed",
        "_direct",
        "_encode",
        "_encoder",
        "_is_exchange",
        "_is_express",
        "_is_muted",
        "_keepalive",
        "_live",
        "_min",
        "_n_silent",
        "_send_media",
        "_sink",
        "_sizes",
        "_underruns",
        "_unfinished",
        "ledger",
        "next_at",
    )

    def __init__(
        self,
        encoder: Encoder,
        sink: PlayoutSink,
        *,
        lead_s: float | None = 0.2,
        message_s: float = MIN_MESSAGE_S,
        clip_message_s: float = 0.1,
        mark_every_s: float = 0.2,
        keepalive: bool = False,
    ) -> None:
        """Send what ``encoder`` makes to ``sink``; ``lead_s`` None sends all at once."""
        self._encoder = encoder
        self._encode: Callable[[Int16Array], bytes] = encoder.encode
        self._is_muted = False
        self._sink = sink
        self._send_media = sink.send_media
        self.ledger: Ledger = Ledger(sink, encoder.rate_hz, mark_every_s, LIVE_MARK_EVERY_S)
        self._sizes = sizes = Sizes.of(encoder, lead_s, message_s, clip_message_s)
        self._keepalive = keepalive
        self._n_silent = 0
        self._backlog = Backlog(self.ledger)
        self._min = sizes.least
        # A play of 20 ms may go as one message, past the queue, if live messages are that long.
        self._direct = sizes.least == sizes.live == encoder.rate_hz // 50
        # The same at this moment: nothing is queued.
        self._is_express = self._direct
        # Only whole messages of one `play_live` play are queued: a new message may be queued and
        # the oldest sent in its place.
        self._is_exchange = False
        # The play to which `play_live` queued last.
        self._live: QueuedItem | None = None
        # Decides what live audio is left out; None: none is.
        self._catch_up: CatchUp | None = None
        # The play whose source was to bring more when audio was sent last.
        self._unfinished: QueuedItem | None = None
        self._underruns = 0
        self._blocked = False
        self._closed = False
        self.next_at: float | None = float("-inf") if keepalive else None

    @property
    def has_played(self) -> bool:
        """Something other than keep-alive silence was sent."""
        return self.ledger.n_messages > self._n_silent

    @property
    def blocked(self) -> bool:
        """Nothing may be sent."""
        return self._blocked

    @blocked.setter
    def blocked(self, blocked: bool) -> None:
        self._blocked = blocked
        self._is_express = self._is_exchange = False  # until the queue has been looked at

    def _detach(self) -> None:
        """Nothing is sent any more: do not keep who would send it."""
        self._sink = self.ledger.sink = DetachedSink()
        self._send_media = self._sink.send_media

    @property
    def is_closed(self) -> bool:
        """Nothing is sent any more."""
        return self._closed

    def overhear(self, tap: Callable[[bytes], object] | None) -> None:
        """Have each payload given to ``tap``, too, before it is sent; None: no more.

        At that moment ``ledger.dry_at`` is still that of what was sent before.
        """
        self._send_media = send = self._sink.send_media
        if tap is not None:

            def both(payload: bytes) -> None:
                tap(payload)
                send(payload)

            self._send_media = both

    def listen(self, listener: Listener, clock: Callable[[], float]) -> None:
        """Tell a listener what is sent from now on, and when it is at the ear by ``clock``."""
        self._encoder = ListenedEncoder(self._encoder, self.ledger, listener, clock)
        self._bind()

    def listen_no_more(self, listener: Listener) -> None:
        """Tell a listener nothing any more."""
        self._encoder = without(self._encoder, listener)
        self._bind()

    def sample(self, tap: Callable[[Int16Array], object]) -> None:
        """Give ``tap`` the audio of the next message, before it is sent, and of no other one."""

        def once(samples: Int16Array) -> bytes:
            self._bind()
            tap(samples)
            return self._encode(samples)

        self._encode = once

    @property
    def is_muted(self) -> bool:
        """Silence is sent in place of all audio."""
        return self._is_muted

    def mute(self, muted: bool) -> None:
        """Send silence in place of all audio, or the audio again; what is sent already plays on.

        Plays and marks go on as if it were heard.
        """
        self._is_muted = muted
        self._bind()

    def _bind(self) -> None:
        encode = self._encoder.encode
        self._encode = (lambda samples: encode(zeros_like(samples))) if self._is_muted else encode

    def tick(self, now: float) -> None:
        """Send what is due."""
        self._pump(now)

    def _pump(self, now: float) -> None:
        """Send what is due, at most ``_MESSAGES_PER_TICK`` messages; set `next_at`."""
        for _ in range(_MESSAGES_PER_TICK):
            if self.blocked or self._closed or not self._send_next(now):
                break
        backlog = self._backlog
        convert = backlog.convert
        queue = backlog.queue
        plain = (
            self._direct
            and convert.rate_hz == self.ledger.rate_hz
            and not (backlog.n_ready or convert.waiting or self._blocked)
        )
        catch_up = self._catch_up
        is_pending = catch_up is not None and catch_up.pending is not None
        self._is_express = plain and not queue and not is_pending
        live = self._live
        self._is_exchange = (
            plain
            and live is not None
            and live.rate_hz == convert.rate_hz
            and len(queue) == 1
            and queue[0] is live
        )
        self._arm(now)

    def _send_next(self, now: float) -> bool:
        """Send the next message if its time has come; False if none was sent."""
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
            self._note_underrun()
            self._send_media(self._encoder.silence(self._min))
            self._n_silent += 1
            self.ledger.advance(self._min, now)
            return True
        return False

    def _has_message(self) -> bool:
        return self._backlog.n_ready >= self._least() or self._backlog.audio() is not None

    def _least(self) -> int:
        """Samples that a message needs: a full one if live, else the shortest there may be."""
        return self._sizes.live if self._is_live() else self._min

    def _is_live(self) -> bool:
        """Whether the next message is live audio."""
        item = self._backlog.audio()
        return self._backlog.live if item is None else item.live

    def _send_at(self) -> float:
        slack_s = self._sizes.live_slack_s if self._is_live() else self._sizes.clip_slack_s
        return self.ledger.dry_at - slack_s

    def _make_ready(self, now: float) -> int:
        """Make the next message ready; return its number of samples, 0 if there are too few."""
        backlog = self._backlog
        live = self._is_live()
        message = self._sizes.live if live else self._sizes.clip
        least = self._least()
        backlog.fill(message, least, joined=self.ledger.dry_at > now)
        # A live message may be longer, so that no remainder is left: see Backlog.
        limit = min(message + self._min, self._sizes.most) if live else message
        n_samples = min(backlog.n_ready, limit)
        # Messages of clips are cut at multiples of 20 ms. So the result does not depend on the
        # pieces in which the source came.
        n_samples -= n_samples % (self._encoder.unit_samples if live else self._min)
        return n_samples if n_samples >= least else 0

    def _has_rest(self) -> bool:
        """Whether a remainder is left that is too short for a message.

        The resampler's tail counts only after a clip, because live audio is about to go on. What
        an open play has begun with goes on where it stopped: padding would tear it apart.
        """
        backlog = self._backlog
        if backlog.goes_on():
            return False
        convert = backlog.convert
        return bool(backlog.n_ready or convert.waiting or (convert.has_tail and not backlog.live))

    def _rest_at(self) -> float:
        # The source of an open play may still bring more, until the last moment.
        margin_s = 0.0 if self._backlog.queue else self._sizes.margin_s
        return max(self.ledger.dry_at - margin_s, self._backlog.fed_at + _REST_WAIT_S)

    def _send_rest(self, now: float) -> bool:
        """Send the remainder with the resampler's tail, padded; False if nothing was sent."""
        backlog = self._backlog
        is_lone = not (backlog.n_ready or backlog.convert.waiting or backlog.owes_tail)
        if is_lone and now > self.ledger.dry_at:
            # The tail alone would be heard as a click after a pause.
            backlog.convert.reset()
            return False
        backlog.flush()
        while backlog.n_ready:
            unit = self._encoder.unit_samples
            n_samples = max(-(-backlog.n_ready // unit) * unit, self._min)
            self._emit(min(n_samples, self._sizes.most), now)
        return True

    def _emit(self, n_samples: int, now: float) -> None:
        if self.ledger.dry_at < now:
            self._note_underrun()
        self._send_media(self._encode(self._backlog.take(n_samples)))
        self.ledger.advance(n_samples, now)
        self._unfinished = self._backlog.unfinished()
        self._finish(now)

    def _note_underrun(self) -> None:
        """The peer has nothing to play; count that if it is a gap in a play."""
        unfinished, self._unfinished = self._unfinished, None
        if unfinished is not None and not unfinished.resolved and unfinished.end < 0:
            self._underruns += 1

    def _finish(self, now: float) -> None:
        """Tell the ledger of plays and marks that are wholly sent; send a wire mark if due."""
        ledger = self.ledger
        for entry in self._backlog.due():
            if isinstance(entry, Mark):
                ledger.finish_mark(entry, now)
            else:
                ledger.finish(entry)
        if ledger.mark_due(now):
            ledger.send_mark(now)

    def _arm(self, now: float) -> None:
        """Set `next_at` to the first time at which there is something to do."""
        if self.blocked or self._closed:
            self.next_at = None
            return
        times = []
        if self._is_exchange:
            # The next message sends it sooner; this is for the case that none comes.
            times.append(max(self.ledger.dry_at - MIN_MESSAGE_S, self._send_at()))
        elif self._has_message():
            times.append(self._send_at())
        elif self._has_rest():
            times.append(self._rest_at())
        elif self._keepalive:
            times.append(self.ledger.dry_at)
        if self.ledger.current.wanted:
            times.append(self.ledger.current.due_at)
        self.next_at = max(min(times), now) if times else None
