"""Pieces of audio: each gets its time in the call, then its position in a file. Pure.

Rules:

1. A piece that begins exactly where the last one ended continues it without a gap.
2. Audio younger than `KEPT_S` is held back: ``clear()`` or ``pause()`` may still change it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from mediaserver.media.frames import Frame, Int16Array
from mediaserver.media.settle import Settler
from telephony_codecs import Resampler

KEPT_S = 0.3
_TINY_S = 0.002


class Piece(NamedTuple):
    """Audio without a gap.

    Attributes:
        at: stream time of its first sample, in seconds.
        samples: int16, shape ``(n,)``.
        rate_hz: of the samples.
    """

    at: float
    samples: Int16Array
    rate_hz: int

    @property
    def end(self) -> float:
        """Stream time behind its last sample."""
        return self.at + len(self.samples) / self.rate_hz

    def split(self, at: float) -> tuple[Piece, Piece]:
        """What of it is before a stream time, and what is not."""
        n = min(max(round((at - self.at) * self.rate_hz), 0), len(self.samples))
        behind = Piece(self.at + n / self.rate_hz, self.samples[n:], self.rate_hz)
        return Piece(self.at, self.samples[:n], self.rate_hz), behind


def joined(pieces: Iterable[Piece]) -> list[Piece]:
    """Pieces in order, with those that follow each other without a gap made one."""
    groups: list[list[Piece]] = []
    for piece in pieces:
        last = groups[-1][-1] if groups else None
        if last is not None and follows(last.end, piece.at) and last.rate_hz == piece.rate_hz:
            groups[-1].append(piece)
        else:
            groups.append([piece])
    return [
        Piece(group[0].at, np.concatenate([each.samples for each in group]), group[0].rate_hz)
        for group in groups
    ]


def follows(end: float, at: float) -> bool:
    """Whether what begins at a stream time goes on where a piece ended."""
    return abs(at - end) < _TINY_S


def silenced(piece: Piece, pauses: Sequence[tuple[float, float]]) -> Piece:
    """The piece, silent in the pauses, each of which is from one stream time to another."""
    cuts = [
        (max(start, piece.at) - piece.at, min(end, piece.end) - piece.at)
        for start, end in pauses
        if start < piece.end and end > piece.at
    ]
    if not cuts:
        return piece
    samples = piece.samples.copy()
    for first, behind in cuts:
        samples[round(first * piece.rate_hz) : round(behind * piece.rate_hz)] = 0
    return piece._replace(samples=samples)


class Came:
    """What came of one track, in place through holds and stalls.

    **Call `add` for each frame; then `take`; at the end `take_all`.**
    """

    def __init__(self) -> None:
        self._settler = Settler()
        self._pieces: list[Piece] = []
        self._taken_end = 0.0

    @property
    def pending_s(self) -> float:
        """Seconds of audio that can be taken or will be."""
        return sum(len(piece.samples) / piece.rate_hz for piece in self._pieces)

    def add(self, frame: Frame) -> None:
        """Take the track's next frame."""
        for placed in self._settler.push(frame):
            self._place(placed)

    def take(self) -> list[Piece]:
        """What is old enough, in order, once."""
        if not self._pieces:
            return []
        until = self._pieces[-1].end - KEPT_S
        n = sum(piece.end <= until for piece in self._pieces)
        taken, self._pieces = self._pieces[:n], self._pieces[n:]
        return joined(taken)

    def take_all(self) -> list[Piece]:
        """What is left at the end."""
        for placed in self._settler.flush():
            self._place(placed)
        taken, self._pieces = self._pieces, []
        return joined(taken)

    def _place(self, frame: Frame) -> None:
        # Frames do not overlap: a start before the last one's end is rounding.
        at = frame.start
        if at < self._taken_end + _TINY_S:
            at = self._taken_end
        piece = Piece(at, frame.samples, frame.rate)
        self._pieces.append(piece)
        self._taken_end = piece.end


Placed = tuple[int, Int16Array]
"""Where in the file, in samples, and what."""


# A piece that begins so many samples from where the last one ended follows it.
ROUNDING = 2


class Placing:
    """Gives each piece of one track its place in a file, in samples.

    **Call `place` for each piece, in order; `flush` at the end.**

    Args:
        rate_hz: of the file.
    """

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._end: int | None = None  # the sample of the file at which the next piece goes on
        self._resampler: Resampler | None = None
        self._n_skipped = 0

    def place(self, piece: Piece) -> list[Placed]:
        """The piece's samples; before them, what was left of the one before.

        Raises:
            AudioFormatError: there is no way from the piece's rate to the file's.
        """
        at = max(round(piece.at * self._rate_hz), 0)
        in_hz = self._rate_hz if self._resampler is None else self._resampler.in_hz
        follows = self._end is not None and abs(at - self._end - self._behind) <= ROUNDING
        if follows and in_hz == piece.rate_hz:
            return [self._more(piece.samples)]
        placed = self.flush()
        self._end = max(at, self._end or 0)
        if piece.rate_hz != self._rate_hz:
            self._resampler = Resampler(piece.rate_hz, self._rate_hz)
            self._n_skipped = self._resampler.delay_samples
        return [*placed, self._more(piece.samples)]

    def flush(self) -> list[Placed]:
        """What a resampler has kept back."""
        resampler, self._resampler = self._resampler, None
        if resampler is None:
            return []
        return [self._placed(resampler.flush())]

    @property
    def _behind(self) -> int:
        """Samples that the resampler has kept back."""
        if self._resampler is None:
            return 0
        return self._resampler.delay_samples - self._n_skipped

    def _more(self, samples: Int16Array) -> Placed:
        if self._resampler is not None:
            samples = self._resampler.process(samples)
        return self._placed(samples)

    def _placed(self, samples: Int16Array) -> Placed:
        """Left of the delay of the resampler: its first samples are of before the piece."""
        n = min(self._n_skipped, len(samples))
        self._n_skipped -= n
        at = self._end or 0
        self._end = at + len(samples) - n
        return at, samples[n:]
