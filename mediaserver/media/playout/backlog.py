"""What was accepted and is not sent yet: plays, marks, and audio that is ready to encode."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np

from mediaserver.media.frames import Int16Array
from mediaserver.media.playout.convert import Converter
from mediaserver.media.playout.ledger import Ledger, Mark, Outcome, Play


class QueuedItem(Play):
    """A play whose samples have not all been taken."""

    def __init__(self, ledger: Ledger, rate_hz: int, live: bool) -> None:
        super().__init__(ledger, rate_hz, live)
        self.chunks: deque[Int16Array] = deque()


class Backlog:
    """The queue of one call, and the samples at its head that are ready for the encoder.

    Positions are those of the ledger: samples sent, at the encoder's rate.

    **Call `add`, then `fill`, `take` and `due` in this order; `reap` after each change of the
    queue's head.**

    Attributes:
        convert: resamples to the encoder's rate.
        queue: plays and marks that are not wholly taken, in order.
        n_ready: samples that are ready.
        fed_at: when audio came last.
        live: the last audio taken was live.
        owes_tail: the resampler's tail is the end of a play that paused, and is to be heard.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.convert: Converter = Converter(ledger.rate_hz)
        self.reset()

    def reset(self) -> None:
        """Drop everything, and the resampler's history."""
        self.convert.reset()
        self.queue: deque[QueuedItem | Mark] = deque()
        self.n_ready: int = 0
        self.fed_at: float = float("-inf")
        self.live: bool = False
        self.owes_tail: bool = False
        self._ready: list[Int16Array] = []
        self._ends: deque[tuple[int, Play | Mark]] = deque()
        self._queued_s = 0.0

    def entries(self) -> list[Outcome]:
        """Return every play and mark that is not finished, oldest first."""
        return [*(entry for _, entry in self._ends), *self.queue]

    def seconds(self) -> float:
        """Return the duration of all the audio here."""
        rest = self.n_ready + self.convert.pending()
        return self._queued_s + rest / self._ledger.rate_hz

    def audio(self) -> QueuedItem | None:
        """Return the play that is next, if it has samples."""
        head = self.queue[0] if self.queue else None
        return head if isinstance(head, QueuedItem) and head.chunks else None

    def unfinished(self) -> QueuedItem | None:
        """Return the play that has begun and whose source may bring more."""
        head = self.queue[0] if self.queue else None
        if isinstance(head, QueuedItem) and head.is_open and head.start >= 0 and not head.live:
            return head
        return None

    def goes_on(self) -> bool:
        """All that waits here is of a play whose source may bring more."""
        return not self._ends and self.unfinished() is not None

    def add(self, item: QueuedItem, samples: Int16Array, now: float) -> None:
        """Append samples to a play; a copy of them, unless the array is read-only."""
        if len(samples):
            item.chunks.append(samples.copy() if samples.flags.writeable else samples)
            self._queued_s += len(samples) / item.rate_hz
            self.fed_at = now

    def empty(self, item: QueuedItem) -> None:
        """Drop the samples of a play that are still here; if none was taken, drop the play too."""
        self._queued_s -= sum(map(len, item.chunks)) / item.rate_hz
        item.chunks.clear()
        if item.start < 0:
            self.queue.remove(item)

    def drop_late(self, late_s: float) -> float:
        """Drop the oldest live audio in steps of 20 ms; return how many seconds were dropped.

        With whole steps the remaining audio is cut into the same messages as without the drop.
        """
        dropped_s = 0.0
        for item in self.queue:
            if dropped_s >= late_s:
                break
            if not isinstance(item, QueuedItem) or not item.live:
                continue
            step = item.rate_hz // 50
            while item.chunks and dropped_s < late_s:
                chunk = item.chunks.popleft()
                n_late = int((late_s - dropped_s) * item.rate_hz) + 1
                n_drop = min(-(-n_late // step) * step, len(chunk))
                if n_drop < len(chunk):
                    item.chunks.appendleft(chunk[n_drop:])
                dropped_s += n_drop / item.rate_hz
        self._queued_s -= dropped_s
        return dropped_s

    def reap(self) -> None:
        """Remove plays that have no more samples, and marks, from the queue's head."""
        queue = self.queue
        while queue:
            head = queue[0]
            position = self._position()
            if isinstance(head, QueuedItem):
                if head.chunks or head.is_open:
                    return
                head.end = position
                head.start = position if head.start < 0 else head.start
            self._ends.append((position, queue.popleft()))
        # Nothing is queued: remove the rounding error of the sum.
        self._queued_s = 0.0

    def due(self) -> Iterator[Play | Mark]:
        """Remove and yield the plays and marks whose audio is all sent."""
        while self._ends and self._ends[0][0] <= self._ledger.sent:
            yield self._ends.popleft()[1]

    def fill(self, n_samples: int, n_least: int, *, joined: bool) -> None:
        """Make about ``n_samples`` ready, or as many as there are.

        Behind the end of a play, or a mark, only up to ``n_least``: then a wire mark can follow
        soon after it.
        """
        while (n_wanted := (n_least if self._ends else n_samples) - self.n_ready) > 0:
            item = self.audio()
            if item is None:
                return
            self._take_in(item, n_wanted, joined=joined)
            self.reap()

    def take(self, n_samples: int) -> Int16Array:
        """Return the next ``n_samples`` of those ready, padded with zeros."""
        if self.n_ready < n_samples:
            self._put(np.zeros(n_samples - self.n_ready, np.int16))
        samples = self._ready[0] if len(self._ready) == 1 else np.concatenate(self._ready)
        self._ready.clear()
        self.n_ready = 0
        self._put(samples[n_samples:])
        return samples[:n_samples]

    def flush(self) -> None:
        """Make ready the samples that wait to be resampled, and the resampler's tail."""
        self._put(self.convert.flush())
        self.owes_tail = False

    def _position(self) -> int:
        return self._ledger.sent + self.n_ready + self.convert.pending()

    def _put(self, samples: Int16Array) -> None:
        if len(samples):
            self._ready.append(samples)
            self.n_ready += len(samples)

    def _take_in(self, item: QueuedItem, n_samples: int, *, joined: bool) -> None:
        """Resample enough of the play for ``n_samples``, or its whole next chunk if shorter."""
        convert = self.convert
        if item.rate_hz != convert.rate_hz:
            self._put(convert.turn(item.rate_hz, joined=joined and not item.live))
        if item.start < 0:
            item.start = self._position()
        chunk = item.chunks.popleft()
        n_taken = convert.needed(n_samples)
        n_left = len(chunk) - n_taken
        # A live frame of 25 ms goes as one message: a remainder of 5 ms would have to wait.
        if n_left > 0 and not (item.live and n_left < convert.block):
            item.chunks.appendleft(chunk[n_taken:])
            chunk = chunk[:n_taken]
        self._queued_s -= len(chunk) / item.rate_hz
        self.live, self.owes_tail = item.live, False
        self._put(convert.process(chunk))
