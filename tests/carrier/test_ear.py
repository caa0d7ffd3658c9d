"""The playout model against one that plays sample by sample."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mediaserver.carrier.ear import Ear
from telephony_codecs import Int16Array

RATE_HZ = 1000


@dataclass
class SampleBySample:
    """The obvious model: each tick of the clock takes one sample off the queue."""

    queue: list[int | str] = field(default_factory=list)
    heard: list[int] = field(default_factory=list)
    marks: list[tuple[int, str]] = field(default_factory=list)

    def settle(self) -> None:
        while self.queue and isinstance(self.queue[0], str):
            self.marks.append((len(self.heard), str(self.queue.pop(0))))

    def tick(self) -> None:
        self.settle()
        self.heard.append(int(self.queue.pop(0)) if self.queue else 0)
        self.settle()

    def clear(self) -> list[str]:
        marks = [item for item in self.queue if isinstance(item, str)]
        self.queue.clear()
        return marks


# Mostly small and alike, so that queues run dry by a sample or two as often as by many.
length = st.one_of(st.integers(0, 5), st.integers(0, 60))
step = st.one_of(
    st.tuples(st.just("wait"), length),
    st.tuples(st.just("feed"), length),
    st.tuples(st.just("mark"), st.just(0)),
    st.tuples(st.just("clear"), st.just(0)),
)


@settings(max_examples=300)
@given(st.lists(step, max_size=40), st.sampled_from([0.0, 7.25, 86_400.5]))
def test_the_ear_hears_what_playing_sample_by_sample_gives(
    steps: list[tuple[str, int]], origin_s: float
) -> None:
    """Audio, gaps, marks and clears fall on the same sample as in the obvious model."""
    ear, model = Ear(RATE_HZ), SampleBySample()
    marks: list[tuple[int, str]] = []
    value = 0
    for number, (what, n) in enumerate(steps):
        now = origin_s + len(model.heard) / RATE_HZ
        if what == "wait":
            for _ in range(n):
                model.tick()
                tick = len(model.heard)
                # Half a sample late: a clock reading is never sharp.
                due = ear.due_marks(origin_s + (tick + 0.5) / RATE_HZ)
                marks += [(tick, name) for name in due]
        elif what == "feed":
            samples = np.arange(value + 1, value + n + 1, dtype=np.int16)
            value += n
            ear.feed(samples, now)
            model.queue += samples.tolist()
        elif what == "mark":
            ear.mark(f"m{number}", now)
            model.queue.append(f"m{number}")
            model.settle()
            marks += [(len(model.heard), name) for name in ear.due_marks(now + 0.5 / RATE_HZ)]
        else:
            assert ear.clear(now) == model.clear()
    heard = ear.between(origin_s, origin_s + len(model.heard) / RATE_HZ)
    assert heard.tolist() == model.heard
    assert marks == model.marks
    assert ear.n_fed == value
    left = sum(isinstance(item, int) for item in model.queue)
    now = origin_s + len(model.heard) / RATE_HZ
    assert round(ear.queued_s(now) * RATE_HZ) == left
    assert abs(ear.heard_s(now) - np.count_nonzero(model.heard) / RATE_HZ) < 1e-6
    assert sum(cut.n_samples for cut in ear.cuts) + left + np.count_nonzero(model.heard) == value


def ones(n_samples: int) -> Int16Array:
    return np.ones(n_samples, np.int16)


def test_audio_in_time_joins_without_a_gap() -> None:
    """What arrives before the queue runs dry lengthens the same run."""
    ear = Ear(8000)
    ear.feed(ones(160), 1.000)
    ear.feed(ones(160), 1.019)
    ear.feed(ones(160), 1.040)
    assert len(ear.runs) == 1
    assert ear.end_s == 1.060
    assert list(ear.gaps()) == []


def test_audio_too_late_leaves_a_gap() -> None:
    """A gap is listed with the times between which nothing was heard."""
    ear = Ear(8000)
    ear.feed(ones(160), 1.0)
    ear.feed(ones(160), 1.05)
    assert list(ear.gaps()) == [(1.02, 1.05)]
    assert list(ear.gaps(longer_than_s=0.04)) == []


def test_a_mark_with_nothing_queued_is_due_at_once() -> None:
    """protocol.md 1.2: a mark comes back at once if nothing is queued."""
    ear = Ear(8000)
    ear.mark("now", 3.0)
    assert ear.next_due() == 3.0
    assert ear.due_marks(3.0) == ["now"]
    assert ear.next_due() is None


def test_a_clear_stops_at_once_and_gives_all_marks_back() -> None:
    """protocol.md 1.2: clear stops the current media, empties the queue, returns its marks."""
    ear = Ear(8000)
    ear.feed(ones(8000), 1.0)
    ear.mark("a", 1.0)
    ear.mark("b", 1.0)
    assert ear.clear(1.25) == ["a", "b"]
    assert ear.end_s == 1.25
    assert ear.due_marks(9.0) == []
    assert ear.cuts[0].n_samples == 6000
    assert ear.cuts[0].marks == ("a", "b")
    assert ear.between(1.2, 1.3).tolist() == [1] * 400 + [0] * 400


def test_nothing_fed_is_nothing_heard() -> None:
    """An empty ear has silence to show, no queue and no gaps."""
    ear = Ear(8000)
    ear.feed(ones(0), 1.0)
    assert ear.runs == []
    assert ear.between(0, 0.01).tolist() == [0] * 80
    assert ear.queued_s(1.0) == 0
    assert ear.clear(1.0) == []


def test_a_run_shows_its_samples() -> None:
    """A run is one array, an emptied one an empty array."""
    ear = Ear(8000)
    ear.feed(ones(100), 0.0)
    ear.feed(ones(60) * np.int16(2), 0.0)
    assert ear.runs[0].samples.tolist() == [1] * 100 + [2] * 60
    ear.runs[0].cut(0)
    assert ear.runs[0].samples.tolist() == []
