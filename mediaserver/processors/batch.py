"""Processors that hear all calls of a process at once: the form, and how windows are collected.

Pure: `mediaserver.server.batching` gives it time and a thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mediaserver.media.frames import Int16Array, Track
from mediaserver.processors.api import Call

State = Mapping[str, npt.NDArray[Any]]
MOST_WINDOWS = 8
"""What waits of a call at most, as behind a stall; the oldest window goes, and is counted."""


class BatchCall:
    """One call among those that are heard together.

    Attributes:
        id: the call's.
        at: stream time of the window's first sample, in seconds.
        own: None at first; for the processor, whatever it keeps of this call.
    """

    __slots__ = ("at", "id", "own")

    def __init__(self, call_id: str) -> None:
        self.id: str = call_id
        self.at: float = 0.0
        self.own: Any = None


class BatchProcessor:
    """Hears one window of many calls at once, for models; one instance a process.

    Calls come and go at any time. Parameters are those of ``__init__``; they are the same for
    all calls.

    Class attributes; ``__init__`` may set ``rate`` and ``frame_ms`` of the instance:
        rate: the sample rate windows are wanted at, in Hz.
        frame_ms: the length of a window in milliseconds.
        track: whom it hears.
        state: what it keeps of each call from one window to the next: names with the shape and
            dtype of a call's row, such as ``{"lstm": ((2, 128), "f4")}``. A call begins with 0.
        requires: importable packages it needs.
    """

    rate: int = 8000
    frame_ms: float = 20.0
    track: Track = "inbound"
    state: Mapping[str, tuple[tuple[int, ...], str]] = {}
    requires: tuple[str, ...] = ()

    def process(self, windows: Int16Array, calls: Sequence[BatchCall], state: State) -> Any:
        """What is heard in these windows; runs in a thread of its own.

        Args:
            windows: int16, shape ``(calls, n)``.
            calls: whose they are, in order; no call is in it twice.
            state: arrays as declared, ``(calls, …)``, to be changed in place.

        Returns:
            One result for each call, in order: None; an event; a dict, which updates
            ``call.state``; int16 audio of ``rate``, played live; or a list of these.
        """
        raise NotImplementedError  # one without process() is refused when it is found

    def joined(self, call: Call, member: BatchCall) -> None:
        """A call will be heard; on the event loop, before its first window."""

    def left(self, call: Call, member: BatchCall) -> None:
        """A call is heard no more; on the event loop."""

    def deliver(self, call: Call, result: Any) -> bool:
        """Do something else with a result; on the event loop. False: what ``process`` says."""
        return False

    def close(self) -> None:
        """The process ends; in the processor's thread."""

    @property
    def n_samples(self) -> int:
        """Samples of a window."""
        return round(self.rate * self.frame_ms / 1000)


class Taken(NamedTuple):
    """One window of each call that had one.

    Attributes:
        rows: whose.
        windows: int16, shape ``(len(rows), n)``.
        at: stream time of each window's first sample, in seconds.
    """

    rows: list[int]
    windows: Int16Array
    at: list[float]


class Collector:
    """Windows of one length, out of frames of any length, of calls that come and go.

    **Call ``join``; then ``push`` for each frame; then ``take`` at each tick; at last ``leave``.**
    Each call has a row, and a row has one call at a time.

    Args:
        n_samples: of a window.
        rate_hz: of all samples.
        most: windows of a call that may wait.
    """

    def __init__(self, n_samples: int, rate_hz: int, most: int = MOST_WINDOWS) -> None:
        self._n = n_samples
        self._rate_hz = rate_hz
        self._most = most
        # One window more than may wait: the one that is being filled.
        self._buffer = np.zeros((0, most + 1, n_samples), np.int16)
        self._flat = self._buffer.reshape(0, (most + 1) * n_samples)
        self._at: list[list[float]] = []
        # Samples since the call joined: read up to here, written up to there.
        self._read: list[int] = []
        self._written: list[int] = []
        self._free: list[int] = []
        self._members: dict[int, None] = {}
        self.is_behind: bool = False

    @property
    def n_members(self) -> int:
        """Calls that have joined."""
        return len(self._members)

    @property
    def n_rows(self) -> int:
        """Rows there are: as many as calls were there at once, more or less."""
        return len(self._read)

    def join(self) -> int:
        """A row for a call."""
        if not self._free:
            self._grow()
        row = self._free.pop()
        self._read[row] = self._written[row] = 0
        self._members[row] = None
        return row

    def leave(self, row: int) -> None:
        """The call is gone; its row may be another's with the next ``join``."""
        del self._members[row]
        self._free.append(row)

    def push(self, row: int, samples: Int16Array, at: float) -> int:
        """Take a frame that begins at stream time ``at``; how many windows it displaced."""
        n, size = self._n, (self._most + 1) * self._n
        if len(samples) > size:  # what comes at once and is longer than all that may wait
            lost = len(samples) - size
            samples, at = samples[lost:], at + lost / self._rate_hz
        else:
            lost = 0
        written = self._written[row]
        first = written % size
        head = size - first
        flat = self._flat[row]
        if len(samples) <= head:
            flat[first : first + len(samples)] = samples
        else:
            flat[first:] = samples[:head]
            flat[: len(samples) - head] = samples[head:]
        end = self._written[row] = written + len(samples)
        starts = self._at[row]
        for window in range(-(-written // n), -(-end // n)):
            starts[window % (self._most + 1)] = at + (window * n - written) / self._rate_hz
        # The window that is being filled must not reach the oldest that waits.
        displaced = -(-(end - self._read[row]) // n) - (self._most + 1)
        if displaced > 0:
            self._read[row] += displaced * n
        return max(displaced, 0) + lost // n

    def take(self) -> Taken | None:
        """The oldest window of each call that has one; None if none has.

        ``is_behind`` then says whether one of them has more.
        """
        n = self._n
        rows = [row for row in self._members if self._written[row] - self._read[row] >= n]
        if not rows:
            self.is_behind = False
            return None
        slots = [self._read[row] // n % (self._most + 1) for row in rows]
        windows = self._buffer[rows, slots]
        at = [self._at[row][slot] for row, slot in zip(rows, slots, strict=True)]
        for row in rows:
            self._read[row] += n
        self.is_behind = any(self._written[row] - self._read[row] >= n for row in rows)
        return Taken(rows, windows, at)

    def _grow(self) -> None:
        n_rows = max(2 * self.n_rows, 8)
        more = n_rows - self.n_rows
        room = np.zeros((n_rows, self._most + 1, self._n), np.int16)
        room[: self.n_rows] = self._buffer
        self._free += range(n_rows - 1, self.n_rows - 1, -1)
        self._buffer, self._flat = room, room.reshape(n_rows, -1)
        self._read += [0] * more
        self._written += [0] * more
        self._at += [[0.0] * (self._most + 1) for _ in range(more)]


class Rows:
    """The declared state of all calls, a row for each.

    Args:
        declared: see ``BatchProcessor.state``.
    """

    def __init__(self, declared: Mapping[str, tuple[tuple[int, ...], str]]) -> None:
        self._arrays = {
            name: np.zeros((0, *shape), np.dtype(dtype))
            for name, (shape, dtype) in declared.items()
        }
        self._n_rows = 0

    def clear(self, rows: Sequence[int], n_rows: int) -> None:
        """New calls have these rows; there are ``n_rows`` in all."""
        if n_rows > self._n_rows:
            for name, array in self._arrays.items():
                grown = np.zeros((n_rows, *array.shape[1:]), array.dtype)
                grown[: self._n_rows] = array
                self._arrays[name] = grown
            self._n_rows = n_rows
        for array in self._arrays.values():
            array[list(rows)] = 0

    def gather(self, rows: Sequence[int]) -> dict[str, npt.NDArray[Any]]:
        """Copies of these rows."""
        return {name: array[list(rows)] for name, array in self._arrays.items()}

    def scatter(self, rows: Sequence[int], state: State) -> None:
        """Put them back."""
        for name, array in self._arrays.items():
            array[list(rows)] = state[name]
