"""A call's processors in order; a plain loop over guarded stages. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from mediaserver.media.frames import Frame, is_audio
from mediaserver.processors.api import Filter
from telephony_codecs import Resampler

# What a filter may return; the stages behind it can resample it.
MIN_RATE_HZ, MAX_RATE_HZ = 4000, 192_000


class Stage(Protocol):
    """One place in the chain."""

    name: str

    def process(self, frame: Frame) -> Frame | None:
        """The frame to pass on, or None to swallow it."""

    def close(self) -> None:
        """The call is over."""


class BadFrameError(TypeError):
    """A filter returned something that is no frame of audio."""


class FilterStage:
    """A user's filter, its input resampled as it declares."""

    __slots__ = ("_convert", "_filter", "call", "close", "name", "process")

    def __init__(self, name: str, filter_: Filter) -> None:
        self.name: str = name
        self.call: object = getattr(filter_, "call", None)
        self.process: Callable[[Frame], Frame | None] = filter_.process
        self.close: Callable[[], None] = filter_.close
        if filter_.rate is not None:
            self._convert = RateConverter(filter_.rate).convert
            self.process = self._process_converted
        self._filter = filter_

    def _process_converted(self, frame: Frame) -> Frame | None:
        return self._filter.process(self._convert(frame))


class RateConverter:
    """Frames at one rate, whatever rate they come at; state kept per track."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._resamplers: dict[tuple[str, int], Resampler] = {}

    def convert(self, frame: Frame) -> Frame:
        """``frame`` at the wanted rate; the same object where it has it already."""
        if frame.rate == self._rate_hz:
            return frame
        key = (frame.track, frame.rate)
        resampler = self._resamplers.get(key)
        if resampler is None:
            resampler = self._resamplers[key] = Resampler(frame.rate, self._rate_hz)
        samples = resampler.process(frame.samples)
        samples.setflags(write=False)  # a new array: several readers get this frame
        return Frame(
            samples, self._rate_hz, frame.track, frame.index, frame.start, frame.lost, frame.lag
        )


# hot path: every so many frames the stages' time is taken, because two readings of the clock are
# felt in a frame's cost. While one is slow, each frame's is.
TIMED_EVERY = 16
# A stage is over its budget once so many frames took it longer, within so many seconds.
TOO_OFTEN = 4
WITHIN_S = 1.0


class Budget:
    """How long a stage may take for a frame, and who is told when it repeatedly takes longer.

    Args:
        limit_s: in seconds.
        over: told of the stage's name and its longest time.
    """

    __slots__ = ("_longest_s", "_over", "_times", "limit_s")

    def __init__(self, limit_s: float, over: Callable[[str, float], None]) -> None:
        self.limit_s: float = limit_s
        self._over = over
        self._times: dict[Stage, deque[float]] = {}
        self._longest_s = 0.0

    def exceeded(self, stage: Stage, seconds: float, now: float) -> None:
        """A stage has taken longer."""
        times = self._times.setdefault(stage, deque(maxlen=TOO_OFTEN))
        times.append(now)
        self._longest_s = max(self._longest_s, seconds)
        if len(times) == TOO_OFTEN and now - times[0] <= WITHIN_S:
            longest_s, self._longest_s = self._longest_s, 0.0
            times.clear()
            self._over(stage.name, longest_s)


class Chain:
    """Stages run in order on each frame.

    Args:
        stages: in order.
        failed: told of a stage that raised, whatever it was. It is bypassed from then on; the
            frame it failed on passes it unchanged.
        budget: of each filter's time for a frame; None: nothing is timed.
        clock: seconds, for the budget.
    """

    __slots__ = ("_budget", "_bypassed", "_clock", "_failed", "_stages", "_until_timed")

    def __init__(
        self,
        stages: list[Stage],
        failed: Callable[[str, BaseException], None],
        budget: Budget | None = None,
        clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._stages = stages
        self._bypassed: list[Stage] = []
        self._failed = failed
        self._budget = budget
        self._clock = clock
        self._until_timed = 0

    def add(self, stage: Stage) -> None:
        """Append a stage."""
        self._stages = [*self._stages, stage]

    def hear(self, stage: Stage) -> None:
        """Put a stage in front that changes nothing: it hears what comes in."""
        self._stages = [stage, *self._stages]

    def leave(self, stage: Stage) -> None:
        """Run this stage no more."""
        self._stages = [each for each in self._stages if each is not stage]

    def bypass(self, name: str) -> None:
        """Run the stages of this name no more."""
        self._bypassed += [stage for stage in self._stages if stage.name == name]
        self._stages = [stage for stage in self._stages if stage.name != name]

    def run(self, frame: Frame) -> None:
        """Send one frame through; what a stage returns is validated."""
        self._until_timed -= 1
        if self._until_timed <= 0:
            self.run_timed(frame)
            return
        for stage in self._stages:
            process = stage.process  # hot path: bound once, see docs/architecture.md
            try:
                following = process(frame)
                if following is not frame and following is not None:
                    following = _checked(following)
            except BaseException as exc:  # the border to a user's code: sys.exit() as well
                self._fail(stage, exc)
                continue
            if following is None:
                return
            frame = following

    def run_timed(self, frame: Frame) -> None:
        """As ``run``, with each stage's time held against the budget."""
        budget, clock = self._budget, self._clock
        self._until_timed = TIMED_EVERY
        for stage in self._stages:
            began = clock()
            try:
                following = stage.process(frame)
                if following is not frame and following is not None:
                    following = _checked(following)
            except BaseException as exc:  # as above
                self._fail(stage, exc)
                continue
            now = clock()
            if budget is not None and now - began > budget.limit_s:
                self._until_timed = 0  # the next one, too
                budget.exceeded(stage, now - began, now)
            if following is None:
                return
            frame = following

    def close(self) -> None:
        """Close every stage; one that raises does not keep the others from it. None is left."""
        for stage in (*self._stages, *self._bypassed):
            try:
                stage.close()
            except BaseException as exc:  # as above
                self._failed(stage.name, exc)
        self._stages, self._bypassed = [], []
        self._failed, self._budget = _nobody, None

    def _fail(self, stage: Stage, exc: BaseException) -> None:
        self._failed(stage.name, exc)
        self._stages = [s for s in self._stages if s is not stage]
        self._bypassed.append(stage)


def _nobody(_: str, __: BaseException) -> None:
    """Nobody wants to know: no stage is left that could fail."""


def _checked(result: object) -> Frame:
    """The frame that a filter returned, read-only for those behind it."""
    if not isinstance(result, Frame):
        raise BadFrameError(f"a filter must return a Frame or None, not {type(result).__name__}")
    if not is_audio(result.samples):
        raise BadFrameError("a frame's samples must be int16 of shape (n,)")
    if not isinstance(result.rate, int) or not MIN_RATE_HZ <= result.rate <= MAX_RATE_HZ:
        raise BadFrameError(f"a frame's rate must be {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz")
    if result.track not in ("inbound", "outbound"):
        raise BadFrameError("a frame's track must be inbound or outbound")
    if not result.samples.flags.writeable:
        return result
    # A view: the filter may want to write into its own array again.
    samples = result.samples.view()
    samples.setflags(write=False)
    return Frame(
        samples, result.rate, result.track, result.index, result.start, result.lost, result.lag
    )
