"""Batch processors of one process: when they run, in which thread, and whose results go where.

Rules:

1. Each batch processor has one thread. On each tick, every ``frame_ms``, one window of each call
   that has one goes there; the results come back to the loop.
2. While the thread is at work a tick is dropped, and counted. What the calls bring meanwhile
   waits, up to eight windows of each; the oldest go, and are counted.
3. When ``process`` raises, each call of the batch is tried alone. Those on which it raises leave,
   and follow ``on_error`` as with any processor; the others go on.
4. A row of the state is another call's only after the batch in which it last was has come back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from queue import SimpleQueue
from time import monotonic
from typing import Any, NamedTuple, cast

import numpy as np

from mediaserver.errors import ConfigurationError
from mediaserver.logs import LimitedLog
from mediaserver.media.frames import Frame, Int16Array, is_audio
from mediaserver.processors.api import Call
from mediaserver.processors.batch import BatchCall, BatchProcessor, Collector, Rows, Taken
from mediaserver.processors.chain import RateConverter, Stage
from mediaserver.processors.discovery import find, is_isolated
from mediaserver.processors.parameters import bind
from mediaserver.processors.spec import Spec, check_rate
from mediaserver.server.calls.view import CallView
from mediaserver.settings import Settings

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

LATE_LOG_FROM, LATE_LOG_EVERY = 10, 100


class BadResultError(TypeError):
    """A batch processor returned something else than one result for each call."""


class Batching:
    """The batch processors of this process; a ``Batches``.

    Args:
        settings: whose processors are made ready by ``start``.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._batches: dict[tuple[Any, str], Batch] = {}

    def start(self) -> None:
        """Make the batch processors of the settings: models are loaded now.

        Raises:
            ConfigurationError: one cannot be made.
        """
        for _, setting in self._settings.named():
            if not is_isolated(setting, self._settings):
                spec = find(setting.name)
                if spec.is_batch:
                    self._batch_of(spec, bind(spec, setting.parameters))

    def join(
        self, view: CallView, spec: Spec, parameters: Mapping[str, Any], failed: Failed
    ) -> Stage:
        """Have a call heard from now on; the stage that takes its frames.

        Args:
            view: the call as the processor sees it.
            spec: the processor.
            parameters: its own.
            failed: told when the processor fails on this call; it is heard no more then.
        """
        return self._batch_of(spec, parameters).join(view, failed)

    def close(self) -> None:
        """End the threads; one that hangs ends with the process."""
        for batch in self._batches.values():
            batch.close()
        self._batches.clear()

    def _batch_of(self, spec: Spec, parameters: Mapping[str, Any]) -> Batch:
        key = (spec.target, repr(sorted(parameters.items())))
        batch = self._batches.get(key)
        if batch is None:
            try:
                processor = spec.target(**parameters)
            except ConfigurationError:
                raise
            except Exception as exc:  # the border to a user's code
                problem = f"processor {spec.name}: {type(exc).__name__}: {exc}"
                raise ConfigurationError(problem) from exc
            check_rate(spec.name, processor.rate)
            batch = self._batches[key] = Batch(spec.name, processor)
        return batch


class _Job(NamedTuple):
    taken: Taken
    calls: list[BatchCall]
    fresh: list[int]
    n_rows: int


class _Done(NamedTuple):
    rows: list[int]
    results: list[Any]
    failures: dict[int, BaseException]


Failed = Callable[[BaseException], None]


class _Member(BatchCall):
    """A call in a batch, and a stage of its chain."""

    __slots__ = (
        "_batch",
        "_convert",
        "_rate_hz",
        "_track",
        "call",
        "failed",
        "name",
        "row",
        "view",
    )

    def __init__(self, batch: Batch, view: CallView, row: int, failed: Failed) -> None:
        super().__init__(view.id)
        self.name: str = batch.name
        self.row: int = row
        self.view: CallView = view
        self.call: Call = cast(Call, view)
        self.failed = failed
        self._batch = batch
        self._rate_hz = batch.processor.rate
        self._track = batch.processor.track
        self._convert = RateConverter(self._rate_hz).convert

    def process(self, frame: Frame) -> Frame:
        """See ``Stage``."""
        if frame.track == self._track:
            seen = frame if frame.rate == self._rate_hz else self._convert(frame)
            self._batch.push(self, seen.samples, seen.start)
        return frame

    def close(self) -> None:
        """See ``Stage``."""
        self._batch.leave(self)


class Batch:
    """One batch processor and the calls it hears; see the module for the rules.

    Args:
        name: the processor's.
        processor: the instance.
    """

    def __init__(self, name: str, processor: BatchProcessor) -> None:
        self.name = name
        self.processor = processor
        self._frame_s = processor.n_samples / processor.rate
        self._members: dict[int, _Member] = {}
        self._fresh: list[int] = []
        self._leaving: list[int] = []
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._is_at_work = False
        self._n_late = 0
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._thread: threading.Thread | None = None
        self._reset()

    def _reset(self) -> None:
        """As before the first call: what many calls needed is given back."""
        self._collector = Collector(self.processor.n_samples, self.processor.rate)
        self._rows = Rows(self.processor.state)

    def join(self, view: CallView, failed: Failed) -> _Member:
        """Hear a call."""
        row = self._collector.join()
        member = _Member(self, view, row, failed)
        try:
            self.processor.joined(member.call, member)
        except BaseException:
            self._leaving.append(row)
            if not self._is_at_work:
                self._free_rows()
            raise
        self._members[row] = member
        self._fresh.append(row)
        if self._thread is None:
            self._loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._work, name=self.name, daemon=True)
            self._thread.start()
        if self._timer is None:
            self._due = monotonic()
            self._arm()
        return member

    def leave(self, member: _Member) -> None:
        """Hear a call no more; twice does nothing."""
        if self._members.get(member.row) is not member:
            return
        del self._members[member.row]
        self._leaving.append(member.row)
        if not self._is_at_work:
            self._free_rows()
        self.processor.left(member.call, member)

    def push(self, member: _Member, samples: Int16Array, at: float) -> None:
        """Take a frame of a call."""
        if self._collector.push(member.row, samples, at):
            member.view.count("batch_dropped")

    def close(self) -> None:
        """End the thread."""
        if self._timer is not None:
            self._timer.cancel()
        self._jobs.put(None)

    # On the loop.

    def _arm(self) -> None:
        now = monotonic()
        # A loop that stood still has missed ticks, and does not make up for them.
        self._due = max(self._due + self._frame_s, now)
        self._timer = self._loop.call_later(self._due - now, self._tick)

    def _tick(self) -> None:
        if not self._members:
            self._timer = None
            return
        self._arm()
        if self._is_at_work:
            self._late()
        else:
            self._start()

    def _late(self) -> None:
        next(iter(self._members.values())).view.count("batch_late")
        self._n_late += 1
        if self._n_late % LATE_LOG_EVERY == LATE_LOG_FROM:  # a single one is the machine's
            limited.warning(
                "batches late",
                "processor %s takes longer than its window of %.0f ms, with %d calls",
                self.name,
                1000 * self._frame_s,
                len(self._members),
            )

    def _start(self) -> None:
        taken = self._collector.take()
        if taken is None:
            return
        calls = []
        for row, at in zip(taken.rows, taken.at, strict=True):
            member = self._members[row]
            member.at = at
            calls.append(member)
        fresh, self._fresh = self._fresh, []
        self._is_at_work = True
        self._jobs.put(_Job(taken, list(calls), fresh, self._collector.n_rows))

    def _free_rows(self) -> None:
        for row in self._leaving:
            self._collector.leave(row)
        self._leaving.clear()
        if not self._members:
            self._fresh.clear()
            self._reset()

    def _finished(self, job: _Job, done: _Done) -> None:
        """A batch has come back."""
        self._is_at_work = False
        members = {call.row: call for call in job.calls if isinstance(call, _Member)}
        heard = [each for each in members.values() if self._members.get(each.row) is each]
        self._free_rows()
        results = dict(zip(done.rows, done.results, strict=True))
        for member in heard:
            if self._members.get(member.row) is not member:
                continue  # an earlier one's result has ended it
            failure = done.failures.get(member.row)
            if failure is None:
                failure = self._deliver(member, results[member.row])
            if failure is not None:
                self.leave(member)
                member.failed(failure)
        if self._collector.is_behind and not self._is_at_work:
            self._start()

    def _deliver(self, member: _Member, result: Any) -> BaseException | None:
        """Give a call its result; the error, if that failed."""
        if result is None:
            return None
        try:
            if not self.processor.deliver(member.call, result):
                for each in result if isinstance(result, list) else [result]:
                    self._give(member.view, each)
        except Exception as exc:  # the border to a user's code
            return exc
        return None

    def _give(self, view: CallView, result: Any) -> None:
        if isinstance(result, dict):
            view.state.update(result)
        elif is_audio(result):
            view.play_live(result, self.processor.rate)
        elif isinstance(result, np.ndarray):
            raise BadResultError("audio must be int16 of shape (n,)")
        elif result is not None:
            view.publish(result)

    # In the thread.

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            done = self._run(job)
            with contextlib.suppress(RuntimeError):  # the loop is over
                self._loop.call_soon_threadsafe(self._finished, job, done)
            del job, done  # not to be kept until the next one comes
        try:
            self.processor.close()
        except Exception as exc:  # the border to a user's code
            text = "processor %s: close() failed"
            limited.error("processors that failed", text, self.name, exc_info=exc)

    def _run(self, job: _Job) -> _Done:
        rows = self._rows
        taken = job.taken
        rows.clear(job.fresh, job.n_rows)
        try:
            return _Done(taken.rows, self._process(taken.rows, taken.windows, job.calls), {})
        except BaseException as exc:  # the border to a user's code: sys.exit() as well
            if len(taken.rows) == 1:
                return _Done([], [], {taken.rows[0]: exc})
        whole = _Done([], [], {})
        for n, row in enumerate(taken.rows):
            try:
                (result,) = self._process([row], taken.windows[n : n + 1], job.calls[n : n + 1])
            except BaseException as exc:  # as above
                whole.failures[row] = exc
            else:
                whole.rows.append(row)
                whole.results.append(result)
        return whole

    def _process(self, rows: list[int], windows: Int16Array, calls: list[BatchCall]) -> list[Any]:
        state = self._rows.gather(rows)
        results = self.processor.process(windows, calls, state)
        if not isinstance(results, Sequence | np.ndarray) or len(results) != len(rows):
            found = type(results).__name__
            raise BadResultError(f"{len(rows)} calls want a list of as many results, not {found}")
        self._rows.scatter(rows, state)
        return list(results)
