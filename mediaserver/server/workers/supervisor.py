"""Keeps a number of worker processes running."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from time import monotonic

from mediaserver.errors import ConfigurationError
from mediaserver.server.workers.messages import Shutdown
from mediaserver.server.workers.process import (
    END_WITHIN_S,
    SupervisorOwner,
    WorkerLimits,
    WorkerProcess,
)
from mediaserver.settings import Settings

logger = logging.getLogger(__name__)


class Supervisor:
    """So many workers at any time.

    Args:
        settings: what they serve with, and how many.
        owner: hears of them.
        limits: how patient to be.
    """

    def __init__(self, settings: Settings, owner: SupervisorOwner, limits: WorkerLimits) -> None:
        self._settings = settings
        self._owner = owner
        self._limits = limits
        self._workers: dict[int, WorkerProcess] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._all_ready: asyncio.Future[None] | None = None
        self._closing = asyncio.Event()
        self._watch: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._next = 0

    @property
    def workers(self) -> list[WorkerProcess]:
        """Those that live."""
        return [worker for worker in self._workers.values() if not worker.gone.is_set()]

    @property
    def is_able(self) -> bool:
        """A worker can take a new call."""
        return any(worker.is_able for worker in self._workers.values())

    def least_loaded(self) -> WorkerProcess | None:
        """The worker for the next call: in turn among those that have fewest."""
        able = [worker for worker in self._workers.values() if worker.is_able]
        if not able:
            return None
        n = self._settings.workers
        chosen = min(able, key=lambda w: (len(w.calls), (w.index - self._next) % n))
        self._next = chosen.index + 1
        return chosen

    async def start(self) -> None:
        """Start all, and wait until they are ready.

        Raises:
            ConfigurationError: one of them ended instead.
        """
        loop = asyncio.get_running_loop()
        self._all_ready = loop.create_future()
        self._tasks = [
            loop.create_task(self._supervise_slot(n)) for n in range(self._settings.workers)
        ]
        self._due = monotonic()
        self._look()
        try:
            await self._all_ready
        except BaseException:  # a cancellation as well: no worker is left behind
            await self.close()
            raise

    def ready(self, worker: WorkerProcess) -> None:
        """One more is ready."""
        logger.info("worker %d is ready, process %d", worker.index, worker.pid)
        assert self._all_ready is not None
        n_ready = sum(each.is_ready for each in self.workers)
        if n_ready == self._settings.workers and not self._all_ready.done():
            self._all_ready.set_result(None)

    async def close(self) -> None:
        """Have all end: calls with 1001, handlers with their grace, what then is left at once."""
        self._closing.set()
        for worker in self.workers:
            worker.channel.send(Shutdown())
            if worker.is_quiet or not worker.is_ready:
                worker.kill()
        within_s = self._settings.handler_grace_s + END_WITHIN_S
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=within_s)
            for worker in self.workers:
                worker.kill()
            if late:
                await asyncio.wait(late)
        if self._watch is not None:
            self._watch.cancel()

    async def _supervise_slot(self, index: int) -> None:
        """Have a worker at this place, one after the other."""
        pause_s = self._limits.pause_s
        while not self._closing.is_set():
            began = monotonic()
            how = await self._run_once(index)
            if self._closing.is_set():
                return
            if self._all_ready is not None and not self._all_ready.done():
                self._closing.set()
                self._all_ready.set_exception(ConfigurationError(how))
                return
            if monotonic() - began > 2 * self._limits.longest_pause_s:
                pause_s = self._limits.pause_s
            logger.error("%s; another one starts in %.1f s", how, pause_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), pause_s)
            pause_s = min(2 * pause_s, self._limits.longest_pause_s)

    async def _run_once(self, index: int) -> str:
        """Start a worker and see it through to its end; how it ended, for the log."""
        limits = self._limits
        try:
            worker = WorkerProcess(self._owner, index, self._settings, limits.beat_s)
        except OSError as exc:
            return f"worker {index} cannot be started: {exc.strerror}"
        self._workers[index] = worker
        await worker.gone.wait()
        n_calls = len(worker.calls)
        self._owner.worker_gone(worker)
        code = await worker.end()
        if worker.failure:
            return f"worker {index}: {worker.failure}"
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"worker {index} (process {worker.pid}) died with {n_calls} calls, {how}"

    def _look(self) -> None:
        """Judge all by their signs of life."""
        beat_s = self._limits.beat_s
        now = monotonic()
        stood_still_s = now - self._due
        for worker in self.workers:
            if stood_still_s > beat_s:
                # It was this process that stood still: their beats wait to be read.
                worker.heard_at += stood_still_s
            worker.look(now, self._limits)
            if self._closing.is_set() and worker.is_quiet:
                worker.kill()
        self._due = now + beat_s
        self._watch = asyncio.get_running_loop().call_later(beat_s, self._look)
