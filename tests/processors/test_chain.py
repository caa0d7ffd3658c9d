"""The chain: a plain loop over guarded stages."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from mediaserver.media.frames import Frame
from mediaserver.processors.api import Call, Filter
from mediaserver.processors.chain import (
    TIMED_EVERY,
    TOO_OFTEN,
    Budget,
    Chain,
    FilterStage,
    RateConverter,
    Stage,
)

CALL = cast(Call, None)  # these filters never look at it


def frame(index: int = 0, rate: int = 8000) -> Frame:
    return Frame(np.full(rate // 50, 100 + index, np.int16), rate, "inbound", index, index * 0.02)


class Double(Filter):
    def process(self, frame: Frame) -> Frame:
        return Frame(frame.samples * 2, frame.rate, frame.track, frame.index, frame.start)


class Swallow(Filter):
    def process(self, frame: Frame) -> None:
        return None


class Wide(Filter):
    rate = 16000

    def process(self, frame: Frame) -> Frame:
        assert frame.rate == 16000
        return frame


class Raise(Filter):
    def process(self, frame: Frame) -> Frame:
        raise ValueError("mine")

    def close(self) -> None:
        raise OSError("mine too")


class Tap:
    def __init__(self) -> None:
        self.name = "tap"
        self.seen: list[Frame] = []
        self.closed = False

    def process(self, frame: Frame) -> Frame:
        self.seen.append(frame)
        return frame

    def close(self) -> None:
        self.closed = True


def chain(*filters: type[Filter]) -> tuple[Chain, Tap, list[str]]:
    tap, failures = Tap(), list[str]()

    def failed(name: str, exc: Exception) -> None:
        failures.append(f"{name}: {exc}")

    stages: list[Stage] = [FilterStage(f.__name__, f(CALL)) for f in filters]
    return Chain([*stages, tap], failed), tap, failures


def test_filters_run_in_order() -> None:
    """What one stage returns the next one gets."""
    run, tap, failures = chain(Double, Double)
    run.run(frame())
    assert tap.seen[0].samples[0] == 400
    assert failures == []


def test_frames_behind_a_filter_are_read_only() -> None:
    """One reader cannot change what another gets; the filter may write into its array again."""

    class Reuses(Filter):
        def __init__(self, call: Call) -> None:
            super().__init__(call)
            self.own = np.zeros(160, np.int16)

        def process(self, frame: Frame) -> Frame:
            self.own += 1
            return frame.with_samples(self.own)

    run, tap, failures = chain(Reuses)
    for index in range(TIMED_EVERY + 1):
        run.run(frame(index))
    assert failures == []
    assert not any(seen.samples.flags.writeable for seen in tap.seen)
    assert [seen.index for seen in tap.seen] == list(range(TIMED_EVERY + 1))


def test_none_ends_a_frame() -> None:
    """A swallowed frame reaches nobody behind."""
    run, tap, _ = chain(Swallow)
    run.run(frame())
    assert tap.seen == []


def test_a_stage_that_raises_is_passed_by_its_frame() -> None:
    """The frame goes on unchanged."""
    run, tap, failures = chain(Raise)
    for index in range(2):
        run.run(frame(index))
    assert [f.index for f in tap.seen] == [0, 1]
    assert failures == ["Raise: mine"]


def test_a_stage_that_was_added_runs_behind_the_others() -> None:
    """What a stage added later gets has gone through those before it."""
    run, tap, _ = chain(Double)
    late = Tap()
    run.add(late)
    run.run(frame())
    assert [f.samples.tolist() for f in late.seen] == [f.samples.tolist() for f in tap.seen]


def test_a_stage_that_failed_is_bypassed_for_good() -> None:
    """The chain goes on without the stage."""
    run, tap, failures = chain(Raise, Double)
    for index in range(3):
        run.run(frame(index))
    assert len(tap.seen) == 3
    assert failures == ["Raise: mine"]
    run.close()
    assert failures == ["Raise: mine", "Raise: mine too"], "a bypassed stage is closed as well"


def test_closing_reaches_every_stage() -> None:
    """One that raises while closing keeps no other from it."""
    run, tap, failures = chain(Raise)
    run.close()
    assert tap.closed
    assert failures == ["Raise: mine too"]


@pytest.mark.parametrize(
    "result",
    [
        7,
        b"",
        Frame(cast(Any, np.zeros(3, np.float32)), 8000, "inbound", 0, 0.0),
        Frame(np.zeros((3, 2), np.int16), 8000, "inbound", 0, 0.0),
        Frame(cast(Any, [1, 2]), 8000, "inbound", 0, 0.0),
        Frame(np.zeros(3, np.int16), 0, "inbound", 0, 0.0),
    ],
)
def test_what_a_filter_returns_is_validated(result: Any) -> None:
    """What is no frame of audio goes no further; the frame before it does."""

    class Bad(Filter):
        def process(self, frame: Frame) -> Frame:
            return cast(Frame, result)

    run, tap, failures = chain(Bad)
    original = frame()
    run.run(original)
    assert tap.seen == [original]
    assert len(failures) == 1


def test_a_filter_gets_its_rate() -> None:
    """Frames come at the declared rate, 20 ms stay 20 ms."""
    run, tap, failures = chain(Wide)
    for index in range(5):
        run.run(frame(index))
    assert failures == []
    assert {len(f.samples) for f in tap.seen} == {320}
    assert [f.start for f in tap.seen] == [i * 0.02 for i in range(5)]


def test_a_rate_that_fits_costs_nothing() -> None:
    """The same frame comes back, not a copy."""
    same = frame(rate=16000)
    assert RateConverter(16000).convert(same) is same


class Drop(Filter):
    def process(self, frame: Frame) -> None:
        return None


def test_a_stage_that_is_repeatedly_slow_is_told_once_per_four() -> None:
    """Four frames above the limit within a second, not four in a minute."""
    now = [0.0]
    told: list[tuple[str, float]] = []

    class Slow(Filter):
        takes_s = 0.008

        def process(self, frame: Frame) -> Frame:
            now[0] += self.takes_s
            return frame

    budget = Budget(0.005, lambda name, longest_s: told.append((name, longest_s)))
    chain_ = Chain([FilterStage("slow", Slow(CALL))], lambda *_: None, budget, lambda: now[0])
    for index in range(3):
        chain_.run(frame(index))
        now[0] += 1.0
    assert told == []
    now[0] += 10.0
    for index in range(4):
        chain_.run(frame(index))
    assert told == [("slow", pytest.approx(0.008))]
    chain_.bypass("slow")
    for index in range(9):
        chain_.run(frame(index))
    assert len(told) == 1
    chain_.close()


def test_a_slow_stage_is_found_by_one_frame_in_sixteen() -> None:
    """The clock is read for some frames only, until one is slow; then for each."""
    now = [0.0]
    n_read = [0]
    told: list[str] = []

    class Later(Filter):
        takes_s = 0.001

        def process(self, frame: Frame) -> Frame:
            now[0] += self.takes_s
            return frame

    def clock() -> float:
        n_read[0] += 1
        return now[0]

    later = Later(CALL)
    budget = Budget(0.005, lambda name, _: told.append(name))
    chain_ = Chain([FilterStage("later", later)], lambda *_: None, budget, clock)
    for index in range(10 * TIMED_EVERY):
        chain_.run(frame(index))
    assert n_read[0] == 2 * 10
    later.takes_s = 0.008
    for index in range(TOO_OFTEN):
        chain_.run(frame(index))
    assert told == ["later"]


def test_a_swallowed_frame_reaches_nobody_behind() -> None:
    """Nor is its stage taken for one that failed."""
    failures: list[str] = []
    seen: list[Frame] = []

    class Tap(Filter):
        def process(self, frame: Frame) -> Frame:
            seen.append(frame)
            return frame

    stages: list[Stage] = [FilterStage("drop", Drop(CALL)), FilterStage("tap", Tap(CALL))]
    Chain(stages, lambda name, _: failures.append(name)).run(frame())
    assert (seen, failures) == ([], [])


def test_who_hears_is_in_front_and_leaves() -> None:
    """It gets what comes in, unchanged by the filters, until it leaves."""
    run, tap, _ = chain(Double)
    heard = Tap()
    run.hear(heard)
    run.run(frame(0))
    run.leave(heard)
    run.run(frame(1))
    assert [each.samples[0] for each in heard.seen] == [100]
    assert [each.samples[0] for each in tap.seen] == [200, 202]
    assert not heard.closed


@pytest.mark.parametrize("filter_", [Swallow, Raise])
def test_frames_between_the_timed_ones_are_treated_alike(filter_: type[Filter]) -> None:
    """Only one frame in sixteen has its time taken; swallowed or failed are all of them."""
    run, tap, failures = chain()
    run.run(frame(0))  # this one is timed, the next are not
    run.add(FilterStage("added", filter_(CALL)))
    behind = Tap()
    run.add(behind)
    run.run(frame(1))
    assert [each.index for each in tap.seen] == [0, 1]
    assert [each.index for each in behind.seen] == ([] if filter_ is Swallow else [1])
    assert failures == ([] if filter_ is Swallow else ["added: mine"])


def test_resampled_frames_are_read_only() -> None:
    """Several readers get the same array; one at the wanted rate already is left as it is."""
    converter, own = RateConverter(16000), frame(rate=16000)
    assert not converter.convert(frame()).samples.flags.writeable
    assert converter.convert(own) is own
    assert own.samples.flags.writeable
