"""Rate conversion of a stream: constant chunk sizes, less than 5 ms of delay, no seams.

A polyphase FIR: each output sample is a weighted sum of the input around it, and the
weights repeat after ``in_hz / gcd`` input samples. A block of input is one row of a matrix
product. soxr's stream mode was rejected: it comes in bursts of 100 ms, up to 115 ms late.
"""

from __future__ import annotations

from functools import cache
from math import gcd
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from telephony_codecs.contract import Int16Array, check_samples
from telephony_codecs.errors import AudioFormatError

Float32Array = npt.NDArray[np.float32]

RESAMPLE_RATES_HZ = (8000, 16000, 22050, 24000, 44100, 48000)
# Chunks of this length are whole blocks at every pair of rates.
CHUNKS_PER_S = 50

# The filter reaches this many samples of the lower rate to each side: 3 ms at 8 kHz.
HALF_SPAN = 24
# 72 dB down; with HALF_SPAN the fall takes 0.093 of the lower rate, around CUTOFF times it.
KAISER_BETA = 7.0
CUTOFF = 0.475


class Bank(NamedTuple):
    """The weights of one pair of rates.

    Attributes:
        weights: shape ``(n_history + n_in, n_out)``.
        n_in: input samples a block takes.
        n_out: output samples a block gives.
        n_history: earlier input samples that a block looks at.
        delay: in output samples.
        up: interpolation factor, ``out_hz / gcd``.
        down: decimation factor, ``in_hz / gcd``.
    """

    weights: Float32Array
    n_in: int
    n_out: int
    n_history: int
    delay: int
    up: int
    down: int


def prototype(delay: int, up: int, down: int) -> npt.NDArray[np.float64]:
    """Return the low-pass at ``up`` times the input rate, its centre at ``delay * down``."""
    centre = delay * down
    offsets = np.arange(-centre, centre + 1)
    width = max(up, down)
    response = np.sinc(2 * CUTOFF * offsets / width) * np.kaiser(2 * centre + 1, KAISER_BETA)
    return np.asarray(response * up / response.sum(), np.float64)


def block_repeats(n_history: int, down: int, n_chunk: int) -> int:
    """Return how many filter periods to put in one block: about as long as the history.

    Short blocks copy the history too often, long ones multiply by too many zeros.
    """
    n_periods = n_chunk // down
    divisors = [d for d in range(1, n_periods + 1) if n_periods % d == 0]
    return min(divisors, key=lambda d: abs(d * down - n_history))


@cache
def bank(in_hz: int, out_hz: int) -> Bank:
    """Return the weights from ``in_hz`` to ``out_hz``, made once."""
    common = gcd(in_hz, out_hz)
    up, down = out_hz // common, in_hz // common
    delay = round(HALF_SPAN * out_hz / min(in_hz, out_hz))
    response = prototype(delay, up, down)
    n_history = (len(response) - 1) // up
    repeats = block_repeats(n_history, down, in_hz // CHUNKS_PER_S)
    n_in, n_out = repeats * down, repeats * up
    # Output p of a block lies at p * down, input i at (i - n_history) * up.
    tap = np.arange(n_out) * down - (np.arange(n_history + n_in)[:, None] - n_history) * up
    inside = (tap >= 0) & (tap < len(response))
    weights = np.where(inside, response[np.where(inside, tap, 0)], 0).astype(np.float32)
    return Bank(weights, n_in, n_out, n_history, delay, up, down)


class Resampler:
    """Audio of one stream from one rate to another, chunk by chunk.

    After ``n`` input samples, ``ceil(n * out_hz / in_hz)`` output samples have come out:
    20 ms in give exactly 20 ms out. Chunks may be of any length; how the input is cut does
    not matter.

    Attributes:
        in_hz: rate of what goes in.
        out_hz: rate of what comes out.
        delay_samples: how far the output lags, at ``out_hz``; at most 3 ms.
    """

    def __init__(self, in_hz: int, out_hz: int) -> None:
        """Raise AudioFormatError unless both are in ``RESAMPLE_RATES_HZ``."""
        for rate_hz in (in_hz, out_hz):
            if rate_hz not in RESAMPLE_RATES_HZ:
                rates = ", ".join(map(str, RESAMPLE_RATES_HZ))
                raise AudioFormatError(f"cannot resample {rate_hz} Hz; can: {rates}")
        self.in_hz = in_hz
        self.out_hz = out_hz
        self._same = in_hz == out_hz
        self._bank = bank(in_hz, out_hz)
        self.delay_samples = 0 if self._same else self._bank.delay
        self.reset()

    def reset(self) -> None:
        """Forget all history, as if new."""
        self._pending: Float32Array = np.zeros(self._bank.n_history, np.float32)
        self._n_given = 0

    def process(self, samples: Int16Array) -> Int16Array:
        """Return what ``samples`` completes, int16; AudioFormatError if not int16 ``(n,)``."""
        check_samples(samples, 1, len(samples))
        if self._same:
            return samples
        return self._convert(samples)

    def flush(self) -> Int16Array:
        """Return the tail, ``delay_samples`` long; the resampler is as new afterwards."""
        n_zeros = -(-self.delay_samples * self.in_hz // self.out_hz) + 1
        tail = self._convert(np.zeros(n_zeros, np.int16))[: self.delay_samples]
        self.reset()
        return tail

    def _convert(self, samples: Int16Array) -> Int16Array:
        """Multiply the whole blocks, then the part of a block that its input allows."""
        weights, n_in, _, n_history, _, up, down = self._bank
        pending: Float32Array = np.concatenate((self._pending, samples))
        n_blocks, n_rest = divmod(len(pending) - n_history, n_in)
        step = pending.itemsize
        rows = np.ndarray((n_blocks, n_history + n_in), np.float32, pending, 0, (n_in * step, step))
        # A contiguous copy, because numpy gives only such an array to BLAS.
        mixed: Float32Array = (rows.copy() @ weights).reshape(-1)
        n_given, self._n_given = self._n_given, -(-n_rest * up // down)
        self._pending = rest = pending[n_blocks * n_in :]
        if self._n_given:
            part = rest @ weights[: len(rest), : self._n_given]
            mixed = np.concatenate((mixed, part))
        return to_int16(mixed[n_given:] if n_given else mixed)


def to_int16(mixed: Float32Array) -> Int16Array:
    """Return the nearest int16, clipped; ``mixed`` is overwritten."""
    np.rint(mixed, out=mixed)
    np.minimum(mixed, 32767, out=mixed)
    np.maximum(mixed, -32768, out=mixed)
    return mixed.astype(np.int16)
