"""Both tracks of a call side by side."""

from __future__ import annotations

from collections import deque

import numpy as np

from mediaserver.errors import MediaServerError
from mediaserver.media.frames import Frame, Int16Array, Track
from mediaserver.media.settle import Settler

_COLUMN: dict[Track, int] = {"inbound": 0, "outbound": 1}


class FrameRateError(MediaServerError, ValueError):
    """A frame of another rate than the one asked for."""


class PairAligner:
    """Inbound and outbound frames as blocks of shape ``(n, 2)``, aligned by `Frame.start`.

    Column 0 is inbound, column 1 outbound; the first sample is that of stream time 0. Where a
    track brought nothing there is silence. A track may be behind the other by ``wait_s`` of
    audio; then the block goes out without it, and audio that still comes for that time is cut.
    For about a second after a pause a frame's place is not settled; then both tracks wait.

    **Call `push` for each frame of either track, `flush` at the end.**

    Attributes:
        position: samples given out, of each track.
        late: samples cut because their time had been given out.
    """

    def __init__(self, rate_hz: int, wait_s: float = 0.1) -> None:
        """Take frames of ``rate_hz``."""
        self._rate_hz = rate_hz
        self._wait = round(wait_s * rate_hz)
        self._pieces: tuple[deque[tuple[int, Int16Array]], ...] = (deque(), deque())
        self._ends = [0, 0]
        self._settlers = (Settler(), Settler())
        self._silence: Int16Array = np.zeros((rate_hz, 2), np.int16)
        self._silence.flags.writeable = False
        self.position: int = 0
        self.late: int = 0

    def push(self, frame: Frame) -> list[Int16Array]:
        """Add a frame and return the blocks it completes, in order; often none.

        Raises:
            FrameRateError: not a frame of this rate.
        """
        if frame.rate != self._rate_hz:
            raise FrameRateError(f"frame of {frame.rate} Hz among those of {self._rate_hz}")
        column = _COLUMN[frame.track]
        for placed in self._settlers[column].push(frame):
            self._place(column, placed)
        end = max(min(self._ends), max(self._ends) - self._wait)
        for settler in self._settlers:
            if settler.held_from is not None:
                end = min(end, round(settler.held_from * self._rate_hz))
        return self._blocks(end)

    def flush(self) -> list[Int16Array]:
        """Return all that is left; a track that lags is silent to the end."""
        for column, settler in enumerate(self._settlers):
            for placed in settler.flush():
                self._place(column, placed)
        return self._blocks(max(self._ends))

    def _place(self, column: int, frame: Frame) -> None:
        """Keep a frame for the blocks; samples before the next block are late, and cut."""
        start = max(round(frame.start * self._rate_hz), self._ends[column])
        samples = frame.samples
        n_late = min(max(self.position - start, 0), len(samples))
        self.late += n_late
        if n_late < len(samples):
            self._pieces[column].append((start + n_late, samples[n_late:]))
        self._ends[column] = start + len(samples)

    def _blocks(self, end: int) -> list[Int16Array]:
        """Return the blocks up to ``end``: whole seconds of silence, then one block."""
        blocks: list[Int16Array] = []
        first = min((pieces[0][0] for pieces in self._pieces if pieces), default=end)
        # A pause may last an hour: its silence is the same array of one second, many times.
        while min(first, end) - self.position >= self._rate_hz:
            blocks.append(self._silence)
            self.position += self._rate_hz
        if end > self.position:
            blocks.append(self._block(end))
        return blocks

    def _block(self, end: int) -> Int16Array:
        begin = self.position
        block: Int16Array = np.zeros((end - begin, 2), np.int16)
        for column, pieces in enumerate(self._pieces):
            while pieces and pieces[0][0] < end:
                at, samples = pieces.popleft()
                n_taken = min(end - at, len(samples))
                block[at - begin : at - begin + n_taken, column] = samples[:n_taken]
                if n_taken < len(samples):
                    pieces.appendleft((end, samples[n_taken:]))
        self.position = end
        return block
