"""Starting a stream again that broke, but never one that somebody stopped.

Rules of one call, in ``RestartPlan``:

    state      event                       next
    running    streaming.failed            waiting (back-off)
    running    socket lost                 waiting (grace, and after it the back-off)
    waiting    streaming.failed            waiting (the rest of the grace is skipped)
    waiting    connected                   running
    waiting    due, tries left             running, the stream is started
    waiting    due, no tries left          over (gave up)
    any        stopped, hung up            over
    over       anything                    over

When a stream has run for ``stable_s``, its count of tries starts at 0 again.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from mediaserver.control.errors import ApiError, ControlError, NetworkError
from mediaserver.control.events import CallHangup, Event, StreamingFailed, StreamingStopped
from mediaserver.control.rest.retry import is_retryable
from mediaserver.logs import LimitedLog, shown

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

_IN_USE, _START_FAILED = "90045", "90046"


@dataclass(frozen=True)
class RestartLimits:
    """How often and how fast a stream is restarted.

    Attributes:
        grace_s: how long Telnyx has to reconnect a lost socket by itself.
        max_tries: how many starts in a row may fail.
        base_s: the longest wait before the first start; it doubles with each.
        cap_s: the longest wait before any start.
        stable_s: a stream that ran this long was a success.
    """

    grace_s: float = 10.0
    max_tries: int = 5
    base_s: float = 1.0
    cap_s: float = 30.0
    stable_s: float = 60.0


@dataclass
class RestartPlan:
    """When the stream of one call is to be started again: pure, ``now`` is monotonic seconds.

    Attributes:
        due_at: when to start it; None while there is nothing to do.
        is_over: no start will ever be due again.
        n_tries: starts in a row.
    """

    limits: RestartLimits = field(default_factory=RestartLimits)
    draw: Callable[[], float] = random.random
    due_at: float | None = None
    is_over: bool = False
    n_tries: int = 0
    _running_since: float | None = None

    def connected(self, now: float) -> None:
        """The media socket is there, by the carrier's doing or ours."""
        self.due_at = None
        self._running_since = now

    def failed(self, now: float) -> None:
        """``streaming.failed`` came, or starting the stream failed."""
        if self.due_at is not None and not self.is_over:
            # The carrier has said that it will not reconnect by itself.
            self.due_at = min(self.due_at, now + self._back_off_s())
        self._plan(now, grace_s=0.0)

    def socket_lost(self, now: float) -> None:
        """The media socket went away without a wire ``stop``."""
        self._plan(now, grace_s=self.limits.grace_s)

    def ended(self) -> None:
        """Somebody stopped the stream, or hung up."""
        self.is_over = True
        self.due_at = None

    def take(self, now: float) -> bool:
        """Whether to start the stream now; if so, that counts as one try."""
        if self.due_at is None or now < self.due_at:
            return False
        self.due_at = None
        self.n_tries += 1
        return True

    def _plan(self, now: float, grace_s: float) -> None:
        if self.is_over or self.due_at is not None:
            return  # a second report of the same trouble starts nothing more
        since, self._running_since = self._running_since, None
        if since is not None and now - since >= self.limits.stable_s:
            self.n_tries = 0
        if self.n_tries >= self.limits.max_tries:
            self.ended()
            return
        self.due_at = now + grace_s + self._back_off_s()

    def _back_off_s(self) -> float:
        bound_s = min(self.limits.cap_s, self.limits.base_s * 2.0**self.n_tries)
        return bound_s * (0.5 + self.draw() / 2)


class StreamRestarter:
    """Keeps a plan per call and starts streams when they are due.

    The server reports sockets by ``connected`` and ``socket_lost``; webhooks come in by
    ``on_event``; whoever stops a stream on purpose says ``ended`` before doing so.

    Args:
        restart: issues streaming_start for a call.
        limits: how often and how fast to restart.
        given_up: called with the id of a call whose stream will not be restarted any more.
        is_ours: whether a failed stream went to this server. If so, its call is watched from
            then on, even if it was not before.
        max_calls: calls watched at most; further ones are not restarted.
        clock: monotonic seconds.
        sleep: waits.
        draw: jitter, in [0, 1).
    """

    def __init__(
        self,
        restart: Callable[[str], Awaitable[object]],
        *,
        limits: RestartLimits | None = None,
        given_up: Callable[[str], None] = lambda _: None,
        is_ours: Callable[[StreamingFailed], bool] = lambda _: False,
        max_calls: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._restart = restart
        self._limits = limits or RestartLimits()
        self._given_up = given_up
        self._is_ours = is_ours
        self._max_calls = max_calls
        self._clock, self._sleep, self._draw = clock, sleep, draw
        self._plans: dict[str, RestartPlan] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._starting: set[str] = set()

    def watch(self, call_control_id: str) -> None:
        """Watch a call whose stream was just asked for, so that a failed start counts too."""
        if call_control_id not in self._plans and len(self._plans) < self._max_calls:
            self._plans[call_control_id] = RestartPlan(self._limits, self._draw)

    def connected(self, call_control_id: str) -> None:
        """The call's media socket is there; from now on the call is watched."""
        self.watch(call_control_id)
        if plan := self._plans.get(call_control_id):
            plan.connected(self._clock())

    def socket_lost(self, call_control_id: str) -> None:
        """The call's media socket went away without a wire ``stop``."""
        if plan := self._plans.get(call_control_id):
            plan.socket_lost(self._clock())
            self._attend(call_control_id)

    def ended(self, call_control_id: str) -> None:
        """The stream was stopped on purpose or the call is over; watching ends."""
        if plan := self._plans.pop(call_control_id, None):
            plan.ended()
        task = self._tasks.get(call_control_id)
        if task is not None and task is not asyncio.current_task():
            del self._tasks[call_control_id]
            task.cancel()

    def on_event(self, event: Event) -> None:
        """Take a webhook; register it with ``receiver.on("*")``."""
        call = event.call_control_id
        if call is None:
            return
        if isinstance(event, StreamingStopped | CallHangup):
            self.ended(call)
        elif isinstance(event, StreamingFailed):
            if self._is_ours(event):
                self.watch(call)
            self.failed(call)

    def failed(self, call_control_id: str) -> None:
        """The stream of a watched call is over, and nobody has stopped it."""
        if plan := self._plans.get(call_control_id):
            plan.failed(self._clock())
            waiting = self._tasks.get(call_control_id)
            if waiting is not None and call_control_id not in self._starting:
                del self._tasks[call_control_id]
                waiting.cancel()  # it may wait for a later time
            self._attend(call_control_id)

    async def aclose(self) -> None:
        """Start nothing more."""
        tasks = list(self._tasks.values())
        for call in list(self._plans):
            self.ended(call)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _attend(self, call: str) -> None:
        running = self._tasks.get(call)
        if running is None or running.done():
            task = self._tasks[call] = asyncio.create_task(self._see_through(call))
            task.add_done_callback(lambda task: self._forget(call, task))

    def _forget(self, call: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(call) is task:
            del self._tasks[call]

    async def _see_through(self, call: str) -> None:
        """Wait for what is due and do it, until nothing is."""
        while (plan := self._plans.get(call)) is not None and plan.due_at is not None:
            await self._sleep(max(0.0, plan.due_at - self._clock()))
            if plan.take(self._clock()):
                self._starting.add(call)
                try:
                    await self._start(call, plan)
                finally:
                    self._starting.discard(call)
        if plan is not None and plan.is_over:
            text = "the stream of call %s is given up after %d starts"
            limited.warning("streams given up", text, shown(call), plan.n_tries, call=call)
            self._plans.pop(call, None)
            self._given_up(call)

    async def _start(self, call: str, plan: RestartPlan) -> None:
        text = "the stream of call %s broke and is started again (%d)"
        limited.info("streams started again", text, shown(call), plan.n_tries, call=call)
        try:
            await self._restart(call)
        except ControlError as error:
            text = "the stream of call %s was not started again: %s"
            why = shown(error, 400)
            limited.warning("streams not started", text, shown(call), why, call=call)
            self._judge(plan, error)

    def _judge(self, plan: RestartPlan, error: ControlError) -> None:
        code = error.code if isinstance(error, ApiError) else ""
        if code == _IN_USE:
            plan.connected(self._clock())
        elif code == _START_FAILED or is_retryable(error) or isinstance(error, NetworkError):
            plan.failed(self._clock())
        else:  # the call has ended, or the command will never be taken
            plan.ended()
