"""How much is left to do behind calls that have ended."""

from __future__ import annotations

import asyncio
import threading

LOOK_EVERY_S = 0.05


class Pending:
    """Counts what is left to do in this process.

    **Call ``begin`` for each thing, and ``done`` once it is done or given up.** Both may be called
    from any thread. Whoever ends the process waits until it is ``settled``.
    """

    def __init__(self) -> None:
        self._n = 0
        self._lock = threading.Lock()

    @property
    def n(self) -> int:
        """How many things are left."""
        return self._n

    def begin(self) -> None:
        """There is one more."""
        with self._lock:
            self._n += 1

    def done(self) -> None:
        """One is done."""
        with self._lock:
            self._n -= 1

    async def settled(self, within_s: float | None = None) -> bool:
        """Wait until nothing is left, at most ``within_s`` seconds; whether it is so."""
        loop = asyncio.get_running_loop()
        until = float("inf") if within_s is None else loop.time() + within_s
        while self._n and loop.time() < until:  # noqa: ASYNC110  # told by threads
            await asyncio.sleep(LOOK_EVERY_S)
        return not self._n


PENDING = Pending()
"""Of this process."""
