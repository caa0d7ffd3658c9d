"""The way from the caller to the server, and what goes wrong on it. Time is an argument."""

from __future__ import annotations

from random import Random


class Way:
    """Loses chunks and delays them, in their order.

    **Call ``due`` for every chunk in its order: it tells when the chunk is to be sent.**

    Args:
        dice: decides.

    Attributes:
        loss: probability that a chunk is lost.
        jitter_s: each chunk is late by up to so much.
    """

    def __init__(self, dice: Random) -> None:
        self._dice = dice
        self._latest_s = float("-inf")
        self.loss: float = 0.0
        self.jitter_s: float = 0.0

    def change(self, loss: float | None, jitter_s: float | None) -> None:
        """From now on lose and delay so much; None: as before."""
        self.loss = self.loss if loss is None else loss
        self.jitter_s = self.jitter_s if jitter_s is None else jitter_s

    def due(self, now: float) -> float | None:
        """Return when a chunk that is said now is sent; None: it is lost."""
        if self._dice.random() < self.loss:
            return None
        self._latest_s = max(self._latest_s, now + self._dice.random() * self.jitter_s)
        return self._latest_s
