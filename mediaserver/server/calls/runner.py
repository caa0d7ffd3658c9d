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
from typing import Protocol

from mediaserver.errors import CallEndedError
from mediaserver.media.frames import Frame
from mediaserver.processors.api import Event, Stop
from mediaserver.processors.chain import Chain, FilterStage
from mediaserver.server.calls.event_hub import EventHub
from mediaserver.server.calls.selection import Chosen
from mediaserver.server.calls.view import CallView, ViewedCall
from mediaserver.settings import Settings
from mediaserver.shown import shown

logger = logging.getLogger(__name__)

# How long a handler may take to notice that it is cancelled.
CANCELLED_WITHIN_S = 1.0
_ABANDONED: set[asyncio.Task[None]] = set()


class RunningCall(ViewedCall, Protocol):
    """What a runner may ask of its call."""

    def count(self, name: str) -> None:
        """One more of ``name``."""

    def end(self, reason: str) -> None:
        """End the call's media."""

    def hang_up(self, *, after_playout: bool = False, reason: str = "hangup") -> None:
        """End the phone call, or at least its stream; what goes wrong is logged."""


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
    def dropped_frames(self) -> int:
        """Frames that handlers were too slow for."""

    @property
    def n_errors(self) -> int:
        """How often a processor failed."""

    def begin(self, call: RunningCall) -> None:
        """Make the filters and start the handlers, for a call that is whole."""

    def publish(self, event: Event) -> None:
        """Give an event to whoever asked for events."""

    def end(self, reason: str) -> None:
        """No more frames and events come; ``Stop(reason)`` is the last."""

    async def wait(self, timeout_s: float) -> None:
        """Give the handlers this long to return."""

    async def close(self) -> None:
        """Cancel the handlers that are left, and wait until they have ended."""


MakeRunner = Callable[[Sequence[Chosen], Settings], Runner]


class InlineRunner:
    """Runs filters and handlers in the thread that carries the call; a ``Runner``.

    Args:
        chosen: the chain.
        settings: how errors and returns are answered.
    """

    def __init__(self, chosen: Sequence[Chosen], settings: Settings) -> None:
        self.names = tuple(choice.spec.name for choice in chosen)
        self.n_errors = 0
        self._chosen = chosen
        self._settings = settings
        self._chain = Chain([], self._failed)
        self.run = self._chain.run
        self._events = EventHub()
        self._views: list[CallView] = []
        self._handlers: set[asyncio.Task[None]] = set()
        self._n_running = 0
        self._call: RunningCall | None = None

    @property
    def dropped_frames(self) -> int:
        """See ``Runner``."""
        return sum(view.dropped_frames for view in self._views)

    def begin(self, call: RunningCall) -> None:
        """See ``Runner``."""
        self._call = call
        loop = asyncio.get_running_loop()
        for choice in self._chosen:
            spec = choice.spec
            rate_hz = None if spec.is_filter else spec.rate
            view = CallView(call, self._events, spec.name, rate_hz)
            self._views.append(view)
            if spec.is_filter:
                self._make_filter(view, choice)
                continue
            self._chain.add(view)
            task = loop.create_task(
                self._handle(call, view, choice), name=f"{spec.name} {call.facts.call_id}"
            )
            self._handlers.add(task)
            self._n_running += 1
            task.add_done_callback(self._handlers.discard)
            loop.call_soon(view.started)  # behind the task's own first step
        loop.call_soon(self._events.started)

    def publish(self, event: Event) -> None:
        """See ``Runner``."""
        self._events.publish(event)

    def end(self, reason: str) -> None:
        """See ``Runner``."""
        self._chain.close()
        self._events.publish(Stop(reason))
        self._events.close()

    async def wait(self, timeout_s: float) -> None:
        """See ``Runner``."""
        if self._handlers:
            await asyncio.wait(self._handlers, timeout=timeout_s)

    async def close(self) -> None:
        """See ``Runner``; a handler that takes no notice is left alone, and named."""
        for task in self._handlers:
            task.cancel()
        if self._handlers:
            await asyncio.wait(self._handlers, timeout=CANCELLED_WITHIN_S)
        for task in self._handlers:
            logger.error("handler %s does not end: it is left alone", shown(task.get_name()))
            _ABANDONED.add(task)  # else it may be collected while it runs
            task.add_done_callback(_ABANDONED.discard)
            if self._call is not None:
                self._call.count("abandoned_handlers")

    def _make_filter(self, view: CallView, choice: Chosen) -> None:
        try:
            stage = FilterStage(choice.spec.name, choice.spec.target(view, **choice.parameters))
        except Exception as exc:  # the border to a user's code
            self._failed(choice.spec.name, exc)
        else:
            self._chain.add(stage)

    async def _handle(self, call: RunningCall, view: CallView, choice: Chosen) -> None:
        failure: BaseException | None = None
        try:
            await choice.spec.target(view, **choice.parameters)
        except Exception as exc:  # the border to a user's code
            failure = exc
        except asyncio.CancelledError as exc:  # of a task of its own, unless the call is over
            if call.ended:
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
        """A processor raised: say so, and follow the policy."""
        call = self._call
        assert call is not None
        logger.error("call %s: processor %s failed", shown(call.facts.call_id), name, exc_info=exc)
        self.n_errors += 1
        call.count("processor_errors")
        if call.ended:
            return
        # Soon, not now: the failure may have come in the middle of a frame.
        if self._settings.on_error == "end":
            asyncio.get_running_loop().call_soon(call.end, "processor")
        elif self._settings.on_error == "hangup":
            asyncio.get_running_loop().call_soon(partial(call.hang_up, reason="processor"))


def _is_end(failure: BaseException) -> bool:
    """Whether all that failed is that the call is over; of a task group as well."""
    if isinstance(failure, BaseExceptionGroup):
        return failure.split(CallEndedError)[1] is None
    return isinstance(failure, CallEndedError)
