"""Keeps a number of child processes running."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from time import monotonic
from typing import Generic, TypeVar

from mediaserver.errors import ConfigurationError
from mediaserver.logs import LimitedLog
from mediaserver.processes.child import ChildLimits, ChildProcess
from mediaserver.processes.messages import Shutdown

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

C = TypeVar("C", bound=ChildProcess)


class Supervisor(Generic[C]):
    """Keeps ``n`` slots filled with one child each; one that is gone is replaced.

    Args:
        n: how many.
        spawn: starts the child of a slot; an OSError says that the system cannot.
        lost: told of each child that is gone, before it is replaced.
        limits: how patient to be.
        looked: called at every beat, behind the look at all of them.
        end_within_s: how long ``close`` waits for children to end by themselves.

    Attributes:
        n: how many.
    """

    def __init__(
        self,
        n: int,
        spawn: Callable[[int], C],
        lost: Callable[[C], None],
        limits: ChildLimits,
        *,
        end_within_s: float,
        looked: Callable[[], None] = lambda: None,
    ) -> None:
        self.n = n
        self._spawn = spawn
        self._lost = lost
        self._limits = limits
        self._looked = looked
        self._end_within_s = end_within_s
        self._slots: dict[int, C] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._all_ready: asyncio.Future[None] | None = None
        self._closing = asyncio.Event()
        self._watch: asyncio.TimerHandle | None = None
        self._due = 0.0

    @property
    def children(self) -> list[C]:
        """Running children."""
        return [child for child in self._slots.values() if not child.gone.is_set()]

    @property
    def is_able(self) -> bool:
        """A child can be given new work."""
        return any(child.is_able for child in self._slots.values())

    @property
    def is_closing(self) -> bool:
        """All are to end."""
        return self._closing.is_set()

    async def start(self) -> None:
        """Start all, and wait until they are ready.

        Raises:
            ConfigurationError: one of them ended instead.
        """
        loop = asyncio.get_running_loop()
        self._all_ready = loop.create_future()
        self._tasks = [loop.create_task(self._supervise_slot(index)) for index in range(self.n)]
        self._due = monotonic()
        self._look()
        try:
            await self._all_ready
        except BaseException:  # a cancellation as well: no child is left behind
            await self.close()
            raise

    async def close(self, within_s: float | None = None) -> None:
        """Have all end: by themselves in ``end_within_s``, what then is left at once.

        ``within_s``: a shorter time, in a hurry.
        """
        self._closing.set()
        for child in self.children:
            child.channel.send(Shutdown(hurry=within_s is not None))
            if child.is_quiet or not child.is_ready:
                child.kill()
        if self._tasks:
            timeout = self._end_within_s if within_s is None else within_s
            _, late = await asyncio.wait(self._tasks, timeout=timeout)
            for child in self.children:
                child.kill()
            if late:
                await asyncio.wait(late)
        if self._watch is not None:
            self._watch.cancel()

    def kill(self) -> None:
        """End all at once, and see to nothing else; from any thread."""
        for child in self.children:
            child.kill()

    async def _supervise_slot(self, index: int) -> None:
        """Have a child in this slot, one after the other."""
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
            text = "%s; another one starts in %.1f s"
            limited.each(logging.ERROR, "process died", text, how, pause_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), pause_s)
            pause_s = min(2 * pause_s, self._limits.longest_pause_s)

    async def _run_once(self, index: int) -> str:
        """Start a child and see it through to its end; how it ended, for the log."""
        try:
            child = self._spawn(index)
        except OSError as exc:
            return f"process {index} cannot be started: {exc.strerror}"
        self._slots[index] = child
        await child.settled()
        if child.is_ready:
            self._ready(child)
        await child.gone.wait()
        load = child.load
        self._lost(child)
        code = await child.end()
        if child.failure:
            return f"{child.name}: {child.failure}"
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"{child.name} (process {child.pid}) died{load}, {how}"

    def _ready(self, child: C) -> None:
        text = "%s is ready, process %d"
        limited.each(logging.INFO, "process ready", text, child.name, child.pid)
        assert self._all_ready is not None
        n_ready = sum(each.is_ready for each in self.children)
        if n_ready == self.n and not self._all_ready.done():
            self._all_ready.set_result(None)

    def _look(self) -> None:
        """Judge all by their silence."""
        beat_s = self._limits.beat_s
        now = monotonic()
        stood_still_s = now - self._due
        for child in self.children:
            if stood_still_s > beat_s:
                # It was this process that stood still: their messages wait to be read.
                child.excuse(stood_still_s)
            child.judge(now, self._limits)
            if self._closing.is_set() and child.is_quiet:
                child.kill()
        self._due = now + beat_s
        self._watch = asyncio.get_running_loop().call_later(beat_s, self._look)
        self._looked()
