"""Telling somebody what is sent, and when it is at the ear: for echo, and for measures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from mediaserver.media.frames import Int16Array
from mediaserver.media.playout.ledger import Ledger
from telephony_codecs import Encoder


class Listener(Protocol):
    """Who wants to know what is sent."""

    def playing(self, ledger: Ledger) -> None:
        """What is sent from now on is of this ledger: the first one, or a new socket's."""

    def sent(self, samples: Int16Array, rate_hz: int, at: float) -> None:
        """These samples are at the ear from ``at`` on, by the playout clock.

        Args:
            samples: int16, shape ``(n,)``.
            rate_hz: their rate.
            at: in the seconds of the clock.
        """

    def cleared(self, at: float) -> None:
        """What would have been at the ear after ``at`` is not."""


class ListenedEncoder:
    """An encoder whose input is told to a listener: all that is encoded is sent at once.

    Args:
        encoder: the one that does the work.
        ledger: of what is sent.
        listener: who is told.
        clock: monotonic seconds.
    """

    def __init__(
        self, encoder: Encoder, ledger: Ledger, listener: Listener, clock: Callable[[], float]
    ) -> None:
        self.codec: str = encoder.codec
        self.rate_hz: int = encoder.rate_hz
        self.delay_samples: int = encoder.delay_samples
        self.unit_samples: int = encoder.unit_samples
        self.max_samples: int = encoder.max_samples
        self.silence: Callable[[int], bytes] = encoder.silence
        self._encoder = encoder
        self._ledger = ledger
        self._listener = listener
        self._clock = clock
        self._delay_s = encoder.delay_samples / encoder.rate_hz
        listener.playing(ledger)

    def encode(self, samples: Int16Array) -> bytes:
        """See ``Encoder``."""
        payload = self._encoder.encode(samples)
        at = max(self._ledger.dry_at, self._clock()) + self._delay_s
        self._listener.sent(samples, self.rate_hz, at)
        return payload

    def without(self, listener: Listener) -> Encoder:
        """See the function of this name."""
        if self._listener is listener:
            return self._encoder
        self._encoder = without(self._encoder, listener)
        return self

    def reset(self) -> None:
        """See ``Encoder``; it means that all that was sent is cleared."""
        self._encoder.reset()
        self._listener.cleared(self._clock())


def without(encoder: Encoder, listener: Listener) -> Encoder:
    """The same encoder, of which this listener is told nothing."""
    if not isinstance(encoder, ListenedEncoder):
        return encoder
    return encoder.without(listener)
