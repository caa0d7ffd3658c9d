"""What was accepted and is not sent: order, durations, positions, and what may be dropped."""

from __future__ import annotations

import numpy as np
import pytest

from mediaserver.media.frames import Int16Array
from mediaserver.media.playout.backlog import Backlog, QueuedItem
from mediaserver.media.playout.ledger import Ledger, Mark


class NoSink:
    """A far end that is never spoken to: a backlog sends nothing."""

    def send_media(self, payload: bytes) -> None:
        raise AssertionError

    def send_mark(self, name: str) -> None:
        raise AssertionError

    def send_clear(self) -> None:
        raise AssertionError


def ramp(begin: int, n_samples: int) -> Int16Array:
    """Samples that name their own place; read-only."""
    samples = np.arange(begin, begin + n_samples).astype(np.int16)
    samples.flags.writeable = False
    return samples


class Queue:
    """A backlog at 8 kHz and its ledger."""

    def __init__(self) -> None:
        self.ledger = Ledger(NoSink(), 8000, 0.2, 1.0)
        self.backlog = Backlog(self.ledger)

    def play(self, *pieces: Int16Array, rate_hz: int = 8000, live: bool = False) -> QueuedItem:
        item = QueuedItem(self.ledger, rate_hz, live)
        self.backlog.convert.accept(rate_hz)
        self.backlog.queue.append(item)
        for piece in pieces:
            self.backlog.add(item, piece, 1.0)
        return item

    def mark(self) -> Mark:
        mark = Mark(self.ledger, "m")
        self.backlog.queue.append(mark)
        return mark


@pytest.fixture
def queue() -> Queue:
    return Queue()


def test_plays_come_out_in_order_without_a_seam(queue: Queue) -> None:
    """Two plays fill one message; a rest stays for the next, and the last is padded."""
    first, second = queue.play(ramp(0, 100)), queue.play(ramp(100, 150))
    assert queue.backlog.seconds() == pytest.approx(250 / 8000)
    queue.backlog.fill(200, 200, joined=False)
    assert queue.backlog.take(160).tolist() == list(range(160))
    queue.ledger.advance(160, 0.0)
    assert list(queue.backlog.due()) == [first]
    queue.backlog.fill(160, 160, joined=True)
    assert queue.backlog.take(160).tolist() == [*range(160, 250), *[0] * 70]
    queue.ledger.advance(160, 0.0)
    assert list(queue.backlog.due()) == [second]
    assert (second.start, second.end) == (100, 250)
    assert queue.backlog.seconds() == 0.0


def test_an_array_that_its_owner_may_write_is_copied(queue: Queue) -> None:
    """A read-only one is kept as it is, and none at all changes nothing."""
    mine, theirs = ramp(0, 160).copy(), ramp(0, 160)
    item = queue.play(mine, theirs)
    mine[:] = 0
    assert item.chunks[0].tolist() == list(range(160))
    assert item.chunks[1] is theirs
    queue.backlog.add(item, ramp(0, 0), 9.0)
    assert (len(item.chunks), queue.backlog.fed_at) == (2, 1.0)


def test_beyond_the_end_of_a_play_only_the_least_is_made_ready(queue: Queue) -> None:
    """Of 4000 samples behind a play of 100, the 60 that complete the shortest message."""
    queue.play(ramp(0, 100))
    second = queue.play(ramp(100, 4000))
    queue.backlog.fill(800, 160, joined=False)
    assert queue.backlog.n_ready == 160
    assert sum(map(len, second.chunks)) == 3940


def test_an_open_play_holds_back_what_is_behind_it(queue: Queue) -> None:
    """It stays at the head while more may come; once it is over both go, marks included."""
    source = queue.play(ramp(0, 160))
    source.is_open = True
    mark = queue.mark()
    queue.play(ramp(160, 160))
    queue.backlog.fill(800, 800, joined=False)
    assert (queue.backlog.n_ready, queue.backlog.audio()) == (160, None)
    assert queue.backlog.queue[0] is source
    source.is_open = False
    queue.backlog.reap()
    assert queue.backlog.entries()[:2] == [source, mark]
    assert (source.start, source.end) == (0, 160)
    assert queue.backlog.audio() is queue.backlog.queue[0]


def test_a_play_without_samples_takes_its_place_and_no_time(queue: Queue) -> None:
    """It begins and ends where it stands."""
    queue.play(ramp(0, 160))
    empty = queue.play()
    queue.backlog.fill(160, 160, joined=False)
    assert (empty.start, empty.end) == (160, 160)
    assert queue.backlog.entries()[-1] is empty


def test_emptying_a_play_drops_it_unless_it_has_begun(queue: Queue) -> None:
    """What was taken of it stays in the stream; its rest, or all of it, is gone."""
    begun, waiting = queue.play(ramp(0, 480)), queue.play(ramp(480, 160))
    queue.backlog.fill(160, 160, joined=False)
    queue.backlog.empty(waiting)
    queue.backlog.empty(begun)
    assert list(queue.backlog.queue) == [begun]
    assert queue.backlog.seconds() == pytest.approx(0.02)


def test_late_live_audio_goes_in_whole_20_ms_oldest_first(queue: Queue) -> None:
    """30 ms too late cost two frames of 20 ms, and of one long array its first 40 ms."""
    frames = queue.play(*[ramp(0, 160)] * 3, live=True)
    long = queue.play(ramp(0, 800), live=True)
    assert queue.backlog.drop_late(0.03) == pytest.approx(0.04)
    assert [len(chunk) for chunk in frames.chunks] == [160]
    assert queue.backlog.drop_late(0.05) == pytest.approx(0.06)
    assert [chunk[0] for chunk in long.chunks] == [320]
    assert queue.backlog.seconds() == pytest.approx(0.06)


def test_nothing_but_live_audio_is_dropped(queue: Queue) -> None:
    """A clip and a mark stay, however late; the live audio between them goes."""
    clip, live = queue.play(ramp(0, 8000)), queue.play(ramp(0, 160), live=True)
    queue.mark()
    assert queue.backlog.drop_late(0.0) == 0.0
    assert queue.backlog.drop_late(9.0) == pytest.approx(0.02)
    assert (len(clip.chunks), len(live.chunks)) == (1, 0)


def test_a_live_frame_a_little_too_long_is_taken_whole(queue: Queue) -> None:
    """Of 25 ms live nothing is left over; of a 25 ms clip 5 ms are, and of 45 ms live 25."""
    for n_samples, live, n_ready in ((200, True, 200), (200, False, 160), (360, True, 160)):
        each = Queue()
        each.play(ramp(0, n_samples), live=live)
        each.backlog.fill(160, 160, joined=False)
        assert each.backlog.n_ready == n_ready
        assert each.backlog.live is live


def test_a_change_of_rate_brings_out_the_end_of_the_old_one(queue: Queue) -> None:
    """7 ms at 16 kHz, then 8 kHz: 56 samples and the resampler's tail come before the next."""
    queue.play(ramp(0, 112), rate_hz=16000)
    second = queue.play(np.full(160, 5000, np.int16))
    queue.backlog.fill(160, 160, joined=False)
    assert second.start == 56 + 24
    queue.backlog.take(second.start)
    assert queue.backlog.take(100).tolist() == [5000] * 100


def test_a_flush_makes_ready_what_waited_to_be_resampled(queue: Queue) -> None:
    """Counted before as what it will be; the tail of 3 ms comes on top."""
    queue.play(ramp(0, 112), rate_hz=16000)
    queue.backlog.fill(160, 160, joined=False)
    assert (queue.backlog.n_ready, queue.backlog.seconds()) == (0, 0.007)
    queue.backlog.flush()
    assert queue.backlog.n_ready == 56 + 24


def test_a_reset_forgets_everything(queue: Queue) -> None:
    """Nothing is queued, ready or waiting."""
    queue.play(ramp(0, 500), rate_hz=16000)
    queue.mark()
    queue.backlog.fill(160, 160, joined=False)
    queue.backlog.reset()
    assert (queue.backlog.entries(), queue.backlog.seconds()) == ([], 0.0)
    assert (queue.backlog.n_ready, queue.backlog.audio()) == (0, None)
