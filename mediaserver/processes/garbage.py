"""The garbage collector of a process that carries calls: little to look at, the whole seldom.

A call is a few hundred containers. To look at those of 500 calls takes 100 ms, while all calls
wait. So nothing is left to it where we can help it: what is loaded is never looked at again,
and an ended call leaves no circles of references, so it is freed without the collector.

What is left are circles that users' code makes. The young ones are found as always, in steps of
about a millisecond. All are looked at only

    when the process has little to do       and some have become old since the last time
    when its memory has grown by a quarter  at least by ``GROWN_BYTES``
"""

from __future__ import annotations

import asyncio
import gc
import os
from time import monotonic, thread_time

from mediaserver.processes.memory import resident_bytes

YOUNG, ROUNDS = 700, 10
"""So many new containers before they are looked at, and so often before those that stayed are."""
NEVER = 2**31 - 1

LOOK_S = 1.0
IDLE_PART = 0.05
"""A thread that works for less than this part of the time has little to do."""
GROWN_BYTES = 64 * 2**20
GROWN_PART = 0.25


def freeze_loaded() -> None:
    """Have what is loaded by now never looked at again, and the rest at good moments.

    **Call once, when all is loaded, in a process that is ours alone.** Where an event loop runs,
    the moments are found; else ``FullCollections`` is to be started where one does.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, ROUNDS, NEVER)
    if asyncio._get_running_loop() is not None:
        FullCollections().start()


class FullCollections:
    """Collects all garbage at moments that harm few. **Call ``start`` on the loop, once.**"""

    def __init__(self) -> None:
        self._bytes = resident_bytes(os.getpid())
        self._n_rounds = n_rounds()
        self._looked_at = monotonic()
        self._worked_s = thread_time()

    def start(self) -> None:
        """Look once a second, as long as the loop lives."""
        asyncio.get_running_loop().call_later(LOOK_S, self._look)

    def _look(self) -> None:
        now, worked_s = monotonic(), thread_time()
        busy = (worked_s - self._worked_s) / (now - self._looked_at)
        self._looked_at, self._worked_s = now, worked_s
        grown = resident_bytes(os.getpid()) - self._bytes
        if is_due(busy, n_rounds() - self._n_rounds, grown, self._bytes):
            gc.collect()
            self._bytes, self._n_rounds = resident_bytes(os.getpid()), n_rounds()
        self.start()


def n_rounds() -> int:
    """How often those that stayed were looked at, since the process began."""
    return int(gc.get_stats()[1]["collections"])


def is_due(busy: float, n_new_rounds: int, grown: int, was: int) -> bool:
    """Whether to look at everything now.

    Args:
        busy: the part of the last second in which the loop's thread worked.
        n_new_rounds: rounds since the last time.
        grown: by how many bytes the memory has grown since then.
        was: the bytes of then.
    """
    if busy < IDLE_PART and n_new_rounds >= ROUNDS:
        return True
    return grown > max(GROWN_BYTES, GROWN_PART * was)
