"""What marks that came back tell about the way to the far end, until somebody takes it."""

from __future__ import annotations

MAX_KEPT = 256
"""The oldest go: nobody may ever ask."""


class MarkReturns:
    """Kept until they are taken."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: list[tuple[float, float]] = []

    def add(self, late_s: float, error_s: float) -> None:
        """A mark came back.

        Args:
            late_s: by how much later than its audio's end, by our clock.
            error_s: how much more than it has proven ``heard`` would have said.
        """
        if len(self._kept) == MAX_KEPT:
            del self._kept[0]
        self._kept.append((late_s, error_s))

    def take(self) -> list[tuple[float, float]]:
        """Those that came since this was last asked, oldest first."""
        taken, self._kept = self._kept, []
        return taken
