"""Audio of changing rates becomes one stream at the encoder's rate."""

from __future__ import annotations

import numpy as np

from mediaserver.media.frames import Int16Array
from telephony_codecs import Resampler

_NOTHING = np.zeros(0, np.int16)


class Converter:
    """One resampler per input rate. The output does not depend on how the input is cut.

    A resampler's rounding may depend on the length of its input, so it always gets blocks of
    exactly 20 ms. Samples that do not fill a block wait here.

    **Call `accept` for a rate, `turn` to change to it, `process` for its samples, `flush` at the
    end.**

    Attributes:
        out_hz: rate of what comes out.
        rate_hz: rate of what came in last.
        block: samples of 20 ms at that rate.
        waiting: input samples that wait for the rest of their block.
        has_tail: the resampler still holds the end of the input.
    """

    def __init__(self, out_hz: int) -> None:
        self.out_hz = out_hz
        self._resamplers: dict[int, Resampler] = {}
        self._pieces: list[Int16Array] = []
        self._use(out_hz)

    def _use(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self.block: int = rate_hz // 50
        self._resampler = self._resamplers.get(rate_hz)
        self.waiting: int = 0
        self.has_tail: bool = False
        self._skip = 0

    def accept(self, rate_hz: int) -> None:
        """Prepare for this rate; AudioFormatError if it cannot be resampled."""
        if rate_hz != self.out_hz and rate_hz not in self._resamplers:
            self._resamplers[rate_hz] = Resampler(rate_hz, self.out_hz)

    def needed(self, n_out: int) -> int:
        """Return how many samples at ``rate_hz`` give at least ``n_out`` more."""
        if self._resampler is None:
            return n_out
        blocks = -(-n_out // (self.out_hz // 50))
        return max(blocks, 1) * self.block - self.waiting

    def pending(self) -> int:
        """Return how many samples the waiting ones will give, at ``out_hz``."""
        return self.waiting * self.out_hz // self.rate_hz

    def turn(self, rate_hz: int, *, joined: bool) -> Int16Array:
        """Change the input rate; return the rest of the output at the old rate.

        Args:
            rate_hz: a rate that was accepted.
            joined: the new audio follows the old without a pause. Then the beginning of the new
                resampler's output is cut off; it would be a gap as long as its delay.
        """
        rest = self.flush()
        self._use(rate_hz)
        if joined and self._resampler is not None:
            self._skip = self._resampler.delay_samples
        return rest

    def process(self, samples: Int16Array) -> Int16Array:
        """Return the output that is complete now that these samples at ``rate_hz`` came."""
        resampler = self._resampler
        if resampler is None:
            return samples
        if self.waiting:
            self._pieces.append(samples)
            samples = np.concatenate(self._pieces)
            self._pieces.clear()
        end = len(samples) - len(samples) % self.block
        self.waiting = len(samples) - end
        if self.waiting:
            # A copy: a view would keep the whole array in memory.
            self._pieces.append(samples[end:].copy())
        blocks = [
            resampler.process(samples[at : at + self.block]) for at in range(0, end, self.block)
        ]
        self.has_tail = self.has_tail or bool(blocks)
        if not blocks:
            return _NOTHING
        out = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
        if self._skip:
            out, self._skip = out[self._skip :], 0
        return out

    def flush(self) -> Int16Array:
        """Return the waiting samples and the resampler's tail; then it is as new."""
        resampler = self._resampler
        if resampler is None or not (self.waiting or self.has_tail):
            return _NOTHING
        rest = resampler.process(self._pieces[0]) if self.waiting else _NOTHING
        out = np.concatenate((rest, resampler.flush()))[self._skip :]
        self._forget()
        return out

    def reset(self) -> None:
        """Drop waiting samples and all history."""
        if self._resampler is not None:
            self._resampler.reset()
        self._forget()

    def _forget(self) -> None:
        self._pieces.clear()
        self.waiting = 0
        self.has_tail = False
        self._skip = 0
