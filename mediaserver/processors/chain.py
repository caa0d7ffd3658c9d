"""A call's processors in order; a plain loop over guarded stages. Pure."""

from __future__ import annotations

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

    __slots__ = ("_convert", "_filter", "close", "name", "process")

    def __init__(self, name: str, filter_: Filter) -> None:
        self.name = name
        self.process = filter_.process
        self.close = filter_.close
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
        return Frame(
            samples, self._rate_hz, frame.track, frame.index, frame.start, frame.lost, frame.lag
        )


class Chain:
    """Stages run in order on each frame.

    Args:
        stages: in order.
        failed: told of a stage that raised. It is bypassed from then on; the frame it
            failed on passes it unchanged.
    """

    __slots__ = ("_bypassed", "_failed", "_stages")

    def __init__(self, stages: list[Stage], failed: Callable[[str, Exception], None]) -> None:
        self._stages = stages
        self._bypassed: list[Stage] = []
        self._failed = failed

    def add(self, stage: Stage) -> None:
        """Append a stage."""
        self._stages = [*self._stages, stage]

    def run(self, frame: Frame) -> None:
        """Send one frame through; what a stage returns is validated."""
        for stage in self._stages:
            process = stage.process
            try:
                following = process(frame)
                if following is not frame:
                    if following is None:
                        return
                    _check(following)
                    frame = following
            except Exception as exc:  # the border to a user's code
                self._fail(stage, exc)

    def close(self) -> None:
        """Close every stage; one that raises does not keep the others from it."""
        for stage in (*self._stages, *self._bypassed):
            try:
                stage.close()
            except Exception as exc:  # the border to a user's code
                self._failed(stage.name, exc)

    def _fail(self, stage: Stage, exc: Exception) -> None:
        self._failed(stage.name, exc)
        self._stages = [s for s in self._stages if s is not stage]
        self._bypassed.append(stage)


def _check(result: object) -> None:
    if not isinstance(result, Frame):
        raise BadFrameError(f"a filter must return a Frame or None, not {type(result).__name__}")
    if not is_audio(result.samples):
        raise BadFrameError("a frame's samples must be int16 of shape (n,)")
    if not isinstance(result.rate, int) or not MIN_RATE_HZ <= result.rate <= MAX_RATE_HZ:
        raise BadFrameError(f"a frame's rate must be {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz")
    if result.track not in ("inbound", "outbound"):
        raise BadFrameError("a frame's track must be inbound or outbound")
