"""Where a call's processors run: the one seam between a call and users' code.

``Runner`` is the contract. ``InlineRunner`` runs the chain on this loop; a runner that runs
it elsewhere (in another process, in a batch of many calls) is given to the registry in its
stead, and nothing else of ``calls/`` knows of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import Any, Protocol

from mediaserver.errors import CallEndedError
from mediaserver.interrupts import is_operators
from mediaserver.logs import LimitedLog, shown
from mediaserver.logs.owners import Owner, note, works_for
from mediaserver.media.frames import Frame
from mediaserver.processors.api import Event, Stop
from mediaserver.processors.chain import Budget, Chain, FilterStage
from mediaserver.server.calls.event_hub import EventHub
from mediaserver.server.calls.selection import Chosen
from mediaserver.server.calls.view import CallView
from mediaserver.server.calls.views.batches import Batches
from mediaserver.server.calls.views.others import Neighbour, Neighbours
from mediaserver.server.calls.views.viewed import ViewedCall
from mediaserver.server.calls.watching.load import RunnerLoad
from mediaserver.settings import Settings

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

# How long a handler may take to notice that it is cancelled.
CANCELLED_WITHIN_S = 1.0
_ABANDONED: set[asyncio.Task[Any]] = set()


class RunningCall(ViewedCall, Protocol):
    """What a runner may ask of its call."""

    def count(self, name: str) -> None:
        """One more of ``name``."""

    def end(self, reason: str) -> None:
        """End the call's media."""

    def hang_up(self, *, after_playout: bool = False, reason: str = "hangup") -> None:
        """End the phone call, or at least its stream; what goes wrong is logged."""

    def held_up(self, by_call_id: str, who: str, seconds: float) -> None:
        """A processor, of this call or of another one, has held up where it runs."""


class Runner(Protocol):
    """Runs the chain of one call.

    **Call ``begin`` once; then ``run`` for each frame and ``publish`` for each event; then
    ``end``, ``wait`` and ``close``, once each.** No user code runs before ``begin``.
    """

    @property
    def run(self) -> Callable[[Frame], None]:
        """Sends one frame through the chain. Hot path: callers bind it once."""

    @property
    def names(self) -> tuple[str, ...]:
        """The processors' names, in order."""

    @property
    def load(self) -> RunnerLoad:
        """How its processors keep up."""

    @property
    def has_dropped(self) -> bool:
        """Its processors have lost frames, or live audio; what ``load`` says, for less work."""

    @property
    def n_errors(self) -> int:
        """How often a processor failed."""

    def begin(self, call: RunningCall) -> None:
        """Make the filters and start the handlers, for a call that is whole."""

    def publish(self, event: Event) -> None:
        """Give an event to whoever asked for events."""

    @property
    def events(self) -> EventHub:
        """Where the events of the call can be followed."""

    def end(self, reason: str) -> None:
        """No more frames and events come; ``Stop(reason)`` is the last."""

    async def wait(self, timeout_s: float | None) -> None:
        """Give the handlers this long to return."""

    async def close(self) -> None:
        """Cancel the handlers that are left, and wait until they have ended."""


class Runners(Protocol):
    """Where the runners of a process's calls come from."""

    async def start(self) -> None:
        """Be ready for calls; before the first of them.

        Raises:
            ConfigurationError: a processor cannot be used.
        """

    def make_runner(self, chosen: Sequence[Chosen], settings: Settings) -> Runner:
        """What runs a call's chain."""

    @property
    def n_hosts(self) -> tuple[int, int]:
        """Processes apart that run, and the calls in them."""

    @property
    def resident_bytes(self) -> int:
        """Memory of these processes, without what they share."""

    async def close(self) -> None:
        """Behind the last call's end."""


class InlineRunner:
    """Runs filters and handlers in the thread that carries the call; a ``Runner``.

    Args:
        chosen: the chain.
        settings: how errors and returns are answered.
        batches: hear calls together; None: a chain with a batch processor fails.
        neighbours: the calls of this process; None: this one sees no other, nor is it seen.
    """

    def __init__(
        self,
        chosen: Sequence[Chosen],
        settings: Settings,
        batches: Batches | None = None,
        neighbours: Neighbours | None = None,
    ) -> None:
        self.names: tuple[str, ...] = tuple(choice.spec.name for choice in chosen)
        self.n_errors: int = 0
        self._chosen = chosen
        self._settings = settings
        self._batches = batches
        self._neighbours = neighbours or Neighbours()
        budget = Budget(settings.budget_ms / 1000, self._over_budget)
        self._chain = Chain([], self._failed, budget, monotonic)
        self.run: Callable[[Frame], None] = self._chain.run
        self.events: EventHub = EventHub()
        self._views: list[CallView] = []
        self._handlers: set[asyncio.Task[Any]] = set()
        self._spawned: set[asyncio.Task[Any]] = set()
        self._n_running = 0
        self._over: set[str] = set()
        self._n_overruns = 0
        self._call: RunningCall | None = None
        self._call_id = ""
        # Once it is over.
        self._load: RunnerLoad | None = None

    @property
    def load(self) -> RunnerLoad:
        """See ``Runner``."""
        return self._load or RunnerLoad(
            sum(view.dropped_frames for view in self._views),
            self.events.dropped,
            max((view.queued_frames for view in self._views), default=0),
            self.events.queued,
            self._n_overruns,
        )

    @property
    def has_dropped(self) -> bool:
        """See ``Runner``."""
        return any(view.dropped_frames for view in self._views)

    def begin(self, call: RunningCall) -> None:
        """See ``Runner``."""
        self._call = call
        self._call_id = call.facts.call_id
        self._neighbours.add(Neighbour(call, self.events, self._chain))
        loop, others = asyncio.get_running_loop(), self._neighbours.others
        # Taps run first: they hear also what a handler plays in its first lines.
        handlers: list[tuple[CallView, Chosen]] = []
        for choice in self._chosen:
            spec = choice.spec
            view = CallView(
                call, self.events, spec.name, spec.rate, self._adopt, spec.history_s, others
            )
            self._views.append(view)
            if spec.is_filter or spec.is_batch:
                view.started()  # it reads no frames() before it runs
                self._make_stage(view, choice)
                continue
            self._chain.add(view)
            handlers.append((view, choice))
        for view, choice in sorted(handlers, key=lambda each: not each[1].spec.tap):
            spec = choice.spec
            task = loop.create_task(
                self.handle(call, view, choice), name=f"{spec.name} {call.facts.call_id}"
            )
            self._handlers.add(task)
            self._n_running += 1
            task.add_done_callback(self._handlers.discard)
            # Behind its own first step, and that of the tasks which it starts there.
            loop.call_soon(loop.call_soon, view.started)
        loop.call_soon(loop.call_soon, self.events.started)

    def publish(self, event: Event) -> None:
        """See ``Runner``."""
        self.events.publish(event)

    def end(self, reason: str) -> None:
        """See ``Runner``."""
        if self._call is not None:
            self._neighbours.remove(self._call)
        self._chain.close()
        self.events.publish(Stop(reason))
        self.events.close()

    async def wait(self, timeout_s: float | None) -> None:
        """See ``Runner``."""
        if self._handlers:
            await asyncio.wait(self._handlers, timeout=timeout_s)

    async def close(self) -> None:
        """See ``Runner``; a handler that takes no notice is left alone, and named."""
        tasks = self._handlers | self._spawned
        for task in tasks:
            task.cancel()
        if tasks:
            _, tasks = await asyncio.wait(tasks, timeout=CANCELLED_WITHIN_S)
        for task in tasks:
            text, name = "handler %s does not end: it is left alone", shown(task.get_name())
            limited.error("handlers that do not end", text, name, call=self._call_id or None)
            _ABANDONED.add(task)  # else it may be collected while it runs
            task.add_done_callback(_ABANDONED.discard)
            if self._call is not None:
                self._call.count("abandoned_handlers")
        # No circle is left: see Session._let_go.
        self._load, self._views, self._call = self.load, [], None
        self.run = _nothing

    def _adopt(self, view: CallView, task: asyncio.Task[Any]) -> None:
        """A processor has started a task of its own: it ends with the handlers."""
        note(task, Owner(view.name, view.id))
        self._spawned.add(task)
        task.add_done_callback(self._spawned.discard)
        task.add_done_callback(partial(self._task_done, view))

    def _task_done(self, view: CallView, task: asyncio.Task[Any]) -> None:
        failure = None if task.cancelled() else task.exception()
        call = self._call
        is_over = call is None or call.ended
        if failure is not None and not (is_over and _is_end(failure)):
            self._failed(view.name, failure)

    def _make_stage(self, view: CallView, choice: Chosen) -> None:
        spec = choice.spec
        try:
            if spec.is_batch:
                assert self._batches is not None, "whoever makes runners has batches"
                lost = partial(self._batch_failed, spec.name)
                stage = self._batches.join(view, spec, choice.parameters, lost)
            else:
                filter_ = spec.target(view, **choice.parameters)
                view.takes(filter_.rate)
                stage = FilterStage(spec.name, filter_)
        except BaseException as exc:  # the border to a user's code: sys.exit() as well
            self._failed(spec.name, exc)
        else:
            self._chain.add(stage)

    def _batch_failed(self, name: str, exc: BaseException) -> None:
        self._chain.bypass(name)
        self._failed(name, exc)

    async def handle(self, call: RunningCall, view: CallView, choice: Chosen) -> None:
        """Run one handler to its end; by this name a stack tells whose code runs."""
        works_for(Owner(view.name, view.id))
        failure: BaseException | None = None
        try:
            await choice.spec.target(view, **choice.parameters)
        except BaseException as exc:  # the border to a user's code: sys.exit() as well
            if _is_stopped(call, exc):
                raise
            failure = exc
        self._n_running -= 1
        is_last = not (self._n_running or call.ended)
        if failure is None:
            if is_last and self._settings.on_return == "hangup":
                call.hang_up(after_playout=True)
        elif not (call.ended and _is_end(failure)):
            self._failed(view.name, failure)
            if is_last and self._settings.on_error == "auto":
                call.hang_up(reason="processor")

    def _failed(self, name: str, exc: BaseException) -> None:
        """A processor raised: say so, and follow the policy.

        An asyncio task that lets a SystemExit or KeyboardInterrupt out ends the whole loop.
        """
        if is_operators(exc):
            raise exc
        text, call_id = "call %s: processor %s failed", self._call_id
        whose = shown(call_id), name
        limited.error("processors that failed", text, *whose, exc_info=exc, call=call_id)
        self.n_errors += 1
        call = self._call
        if call is not None:
            call.count("processor_errors")
            self._follow(call, self._settings.on_error)

    def _over_budget(self, name: str, longest_s: float) -> None:
        """A filter takes too long for its frames, repeatedly: follow the policy."""
        call = self._call
        assert call is not None
        call.count("budget_overruns")
        self._n_overruns += 1
        word = self._settings.on_budget
        if name not in self._over:
            self._over.add(name)
            limited.warning(
                "budgets exceeded",
                "call %s: processor %s takes up to %.1f ms for a frame; its budget is %.1f ms: %s",
                shown(call.facts.call_id),
                name,
                1000 * longest_s,
                self._settings.budget_ms,
                next(choice.where for choice in self._chosen if choice.spec.name == name),
                call=call.facts.call_id,
            )
        if word != "warn":
            if word in ("auto", "bypass"):
                self._chain.bypass(name)
            self._follow(call, word)

    def _follow(self, call: RunningCall, word: str) -> None:
        if call.ended:
            return
        # Soon, not now: it may have come in the middle of a frame.
        if word == "end":
            asyncio.get_running_loop().call_soon(call.end, "processor")
        elif word == "hangup":
            asyncio.get_running_loop().call_soon(partial(call.hang_up, reason="processor"))


def _nothing(_: Frame) -> None:
    """Runs a frame that comes when all is over."""


def _is_stopped(call: RunningCall, exc: BaseException) -> bool:
    """Whether a handler did not fail, but was stopped from outside."""
    if isinstance(exc, GeneratorExit):  # with its loop, which is over
        return asyncio._get_running_loop() is None
    # A handler may also be cancelled by a task of its own.
    return isinstance(exc, asyncio.CancelledError) and call.ended


def _is_end(failure: BaseException) -> bool:
    """Whether all that failed is that the call is over; of a task group as well."""
    if isinstance(failure, BaseExceptionGroup):
        return failure.split(CallEndedError)[1] is None
    return isinstance(failure, CallEndedError)


class InlineRunners:
    """All chains run in the thread that carries the calls; ``Runners``.

    Args:
        batches: hear calls together.
    """

    def __init__(self, batches: Batches | None = None) -> None:
        self._batches = batches
        self._neighbours = Neighbours()

    n_hosts: tuple[int, int] = (0, 0)
    resident_bytes = 0

    async def start(self) -> None:
        """See ``Runners``."""
        if self._batches is not None:
            self._batches.start()

    def make_runner(self, chosen: Sequence[Chosen], settings: Settings) -> Runner:
        """See ``Runners``."""
        return InlineRunner(chosen, settings, self._batches, self._neighbours)

    async def close(self) -> None:
        """See ``Runners``."""
        if self._batches is not None:
            self._batches.close()
