"""What the caller's ear hears of the bot, by the playout clock, to be compared with."""

from __future__ import annotations

import threading
from collections import deque

import numpy as np

from mediaserver.media.frames import Int16Array
from mediaserver.media.playout.ledger import Ledger
from telephony_codecs import Resampler

# What was heard longer ago is forgotten.
KEPT_S = 3.0
# Nothing is at the ear for so long between two plays, and the bot still speaks.
PAUSE_S = 0.5


class AtEar:
    """What one call was sent, by time; a ``Listener``. Told on the loop, asked in a thread.

    Args:
        rate_hz: at which it is asked for.
    """

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._pieces: deque[tuple[float, Int16Array]] = deque()
        self._resampler: Resampler | None = None
        self._from_hz = rate_hz
        self._lock = threading.Lock()

    def playing(self, ledger: Ledger) -> None:
        """See ``Listener``: what one ledger knows is of no use here."""

    def sent(self, samples: Int16Array, rate_hz: int, at: float) -> None:
        """See ``Listener``."""
        if rate_hz != self._from_hz:
            self._resampler = Resampler(rate_hz, self._rate_hz)
            self._from_hz = rate_hz
        if rate_hz != self._rate_hz and self._resampler is not None:
            samples = self._resampler.process(samples)
        with self._lock:
            self._pieces.append((at, samples.copy()))

    def cleared(self, at: float) -> None:
        """See ``Listener``."""
        with self._lock:
            while self._pieces and self._pieces[-1][0] >= at:
                self._pieces.pop()
            if self._pieces:
                first, samples = self._pieces[-1]
                self._pieces[-1] = first, samples[: max(round((at - first) * self._rate_hz), 0)]

    def window(self, at: float, n_samples: int) -> tuple[Int16Array, bool]:
        """What was at the ear from ``at`` on, and whether the bot speaks then.

        Args:
            at: in the seconds of the playout clock; later than the last time.
            n_samples: of the window.

        Returns:
            int16 ``(n,)``, silence where nothing was; and True also in a short pause.
        """
        window = np.zeros(n_samples, np.int16)
        end = at + n_samples / self._rate_hz
        speaks = False
        with self._lock:
            pieces = self._pieces
            while pieces and pieces[0][0] + len(pieces[0][1]) / self._rate_hz < at - KEPT_S:
                pieces.popleft()
            for begins, samples in pieces:
                if begins >= end + PAUSE_S:
                    break
                speaks = speaks or begins + len(samples) / self._rate_hz > at - PAUSE_S
                first = round((begins - at) * self._rate_hz)
                skip = max(-first, 0)
                part = samples[skip : max(n_samples - first, 0)]
                place = max(first, 0)
                window[place : place + len(part)] = part
        return window, speaks
