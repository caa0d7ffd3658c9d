"""How long it takes until a caller hears themselves, found in the audio itself."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from telephony_codecs import Int16Array

Float64Array = npt.NDArray[np.float64]

# At this rate speech is still told from other speech, and a look costs one or two milliseconds.
LOOK_HZ = 4000
# Short, as lost chunks move an echo: a longer stretch would have several delays.
WINDOW_S = 1.0
MOST_S = 1.5
LIKENESS = 0.5
"""A correlation from 0 to 1 above which it is an echo."""
AUDIBLE = 100
"""Root of the mean square below which there is nothing to compare; -50 dBFS."""


class EchoDelay:
    """Compares what was said with what is heard.

    **Call ``said`` and ``heard`` with all audio, both from the call's beginning; then ``look``.**

    Args:
        said_hz: rate of what is said; a multiple of ``LOOK_HZ``.
        heard_hz: rate of what is heard; likewise.
    """

    def __init__(self, said_hz: int, heard_hz: int) -> None:
        self._said = _Recent(said_hz, WINDOW_S + MOST_S)
        self._heard = _Recent(heard_hz, WINDOW_S)

    def said(self, samples: Int16Array) -> None:
        """Take in what was said next, int16 ``(n,)``."""
        self._said.append(samples)

    def heard(self, samples: Int16Array) -> None:
        """Take in what was heard next, int16 ``(n,)``."""
        self._heard.append(samples)

    def look(self) -> float | None:
        """Return the delay in seconds; None: it is no echo, or too quiet, or too short."""
        heard, said = self._heard.samples(), self._said.samples()
        n_heard = len(heard)
        # Delays that what is kept of the said audio allows, the longest first.
        n_later = self._heard.end - self._said.end
        n_delays = len(said) - n_heard + 1
        energy = float(np.sum(heard**2))
        is_begun = n_heard == round(WINDOW_S * LOOK_HZ)
        if not is_begun or n_delays < 1 or energy < n_heard * AUDIBLE**2:
            return None
        likeness = _correlation(said, heard)[:n_delays]
        sums = np.concatenate([np.zeros(1), np.cumsum(said**2)])
        energies = sums[n_heard : n_heard + n_delays] - sums[:n_delays]
        likeness /= np.sqrt(np.maximum(energies, 1.0) * energy)
        best = int(np.argmax(likeness))
        delay_s = (n_delays - 1 - best + n_later) / LOOK_HZ
        return delay_s if likeness[best] > LIKENESS and delay_s >= 0 else None


def _correlation(said: Float64Array, heard: Float64Array) -> Float64Array:
    """Return the products' sums of ``heard`` with each stretch of ``said``, by its beginning."""
    size = 1 << (len(said) + len(heard)).bit_length()
    spectrum = np.fft.rfft(said, size) * np.conj(np.fft.rfft(heard, size))
    return np.asarray(np.fft.irfft(spectrum, size), np.float64)


class _Recent:
    """The last seconds of a stream, at ``LOOK_HZ``.

    Attributes:
        end: samples there were, those forgotten among them.
    """

    def __init__(self, rate_hz: int, keep_s: float) -> None:
        self._n_mean = rate_hz // LOOK_HZ
        self._n_kept = round(keep_s * LOOK_HZ)
        self._rest = np.zeros(0)
        self._samples = np.zeros(0)
        self.end: int = 0

    def append(self, samples: Int16Array) -> None:
        waiting = np.concatenate([self._rest, samples])
        n_whole = len(waiting) // self._n_mean * self._n_mean
        means = waiting[:n_whole].reshape(-1, self._n_mean).mean(axis=1)
        self._rest = waiting[n_whole:]
        self.end += len(means)
        self._samples = np.concatenate([self._samples, means])[-self._n_kept :]

    def samples(self) -> Float64Array:
        return self._samples
