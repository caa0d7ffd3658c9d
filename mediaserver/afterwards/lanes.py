"""Threads for work that blocks, which no call and no event loop waits for."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from collections.abc import Callable
from time import monotonic

from mediaserver.logs import LimitedLog

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

# A thread that has had nothing to do for so long ends; the next job starts another one.
IDLE_S = 1.0


class Lane:
    """Does jobs in its own threads, each when it is due, the earliest first.

    The threads do not keep the process from ending; use ``PENDING`` to wait for the work.

    Args:
        name: of the threads.
        n_threads: the most jobs that are done at once.
    """

    def __init__(self, name: str, n_threads: int = 1) -> None:
        self._name = name
        self._most = n_threads
        self._n_threads = 0
        self._n_idle = 0
        self._jobs: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()

    def put(self, job: Callable[[], None], after_s: float = 0.0) -> None:
        """Do a job, not before ``after_s`` seconds from now; from any thread."""
        with self._changed:
            heapq.heappush(self._jobs, (monotonic() + after_s, next(self._numbers), job))
            if self._n_idle == 0 and self._n_threads < self._most:
                self._n_threads += 1
                threading.Thread(target=self._work, name=self._name, daemon=True).start()
            else:
                self._changed.notify()

    def _work(self) -> None:
        while (job := self._next()) is not None:
            try:
                job()
            except Exception:  # a job answers for its own errors: this one was not foreseen
                limited.error("jobs that failed", "%s: a job failed", self._name, exc_info=True)

    def _next(self) -> Callable[[], None] | None:
        """The job that is due next; None where there is none for a while."""
        with self._changed:
            idle_since = monotonic()
            while True:
                now = monotonic()
                wait_s = self._jobs[0][0] - now if self._jobs else idle_since + IDLE_S - now
                if wait_s <= 0:
                    if self._jobs:
                        return heapq.heappop(self._jobs)[2]
                    self._n_threads -= 1
                    return None
                self._n_idle += 1
                self._changed.wait(wait_s)
                self._n_idle -= 1
