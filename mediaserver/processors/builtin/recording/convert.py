"""Pieces of one track at the rate of their file, without seams. Pure."""

from __future__ import annotations

from mediaserver.media.frames import Int16Array
from mediaserver.processors.builtin.recording.pieces import Piece
from telephony_codecs import Resampler

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
