"""The worker processes of a server: what each of them carries, and which gets the next call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Protocol

import msgspec

from mediaserver.afterwards.pending import LOOK_EVERY_S
from mediaserver.observer import ReportedEvent
from mediaserver.processes.channel import UnsendableError
from mediaserver.processes.child import END_WITHIN_S, ChildKind, ChildLimits, ChildProcess, State
from mediaserver.processes.supervisor import Supervisor
from mediaserver.server.sockets.acceptor import descriptor_limit, reserve_of
from mediaserver.server.workers import messages
from mediaserver.settings import Settings

# Sockets on their way to one worker at most.
MAX_PENDING_HANDOFFS = 256
# One whose loop is later than this gets no new call, if there is another.
MAX_LAG_S = 0.05
KIND = ChildKind(
    name="worker",
    code="from mediaserver.app.worker_main import main; main(fd)",
    version=messages.VERSION,
    answers=messages.FromWorker,
)

WorkerLimits = ChildLimits


class WorkerProcess(ChildProcess):
    """One worker, as its parent sees it.

    Args:
        owner: hears its messages.
        setup: its first message.

    Attributes:
        calls: ids of its calls, live or on their way.
        n_sockets: how many media connections it has, including those being handed over.
        n_pending: how many of these are still being handed over.
        n_quiet: how many of its calls have brought no media for a while.
        most_calls: a new call may come while it has fewer; None: any number.
        host_bytes: memory of its processor hosts, where that is limited.
        n_left: things left to do behind calls that have ended.

    Raises:
        OSError: the system starts no more processes.
    """

    def __init__(self, owner: WorkersOwner, setup: messages.Setup) -> None:
        self.calls: set[str] = set()
        self.n_sockets: int = 0
        self.n_pending: int = 0
        self.n_quiet: int = 0
        self.most_calls: int | None = None
        self.host_bytes: int = 0
        self.n_left: int = 0
        super().__init__(KIND, setup.index, setup, lambda said: owner.message_received(self, said))

    @property
    def is_late(self) -> bool:
        """Its event loop is late, or has no time for one more call."""
        return self.most_calls is not None and len(self.calls) >= self.most_calls

    @property
    def load(self) -> str:
        """Its calls, for the log."""
        return f" with {len(self.calls)} calls"

    @property
    def is_able(self) -> bool:
        """It can take a new call."""
        return super().is_able and self.has_room

    @property
    def has_room(self) -> bool:
        """It can be sent a socket, and will have a descriptor left for it."""
        limit = descriptor_limit()  # its own is the same
        is_full = limit is not None and self.n_sockets >= limit - 2 * reserve_of(limit)
        waits = self.n_pending >= MAX_PENDING_HANDOFFS or self.channel.is_full
        return not is_full and not waits and not self.gone.is_set()

    def handed_over(self, call_id: str) -> None:
        """A socket of this call is on its way there."""
        self.calls.add(call_id)
        self.n_sockets += 1
        self.n_pending += 1

    def taken_back(self) -> None:
        """A socket that was on its way there goes to another one."""
        self.n_sockets -= 1
        self.n_pending -= 1

    def loaded(self, load: messages.Load) -> None:
        """How it stands."""
        self.n_quiet, self.most_calls = load.n_quiet, load.most_calls
        self.host_bytes, self.n_left = load.host_bytes, load.n_left

    @property
    def condition(self) -> str:
        """How it stands, in a word: ``starting``, ``able``, ``late``, ``suspected``."""
        if self.state is State.STARTING:
            return "starting"
        if self.state is not State.ABLE:
            return "suspected"
        return "late" if self.is_late else "able"

    def tell(self, call_id: str, event: ReportedEvent) -> bool:
        """Give it a webhook's event; False if it cannot be told."""
        if self.channel.is_full:
            return False
        try:
            encoded = msgspec.json.encode(event)
            self.channel.send(messages.WebhookReported(call_id, event.event_type, encoded))
        except (UnsendableError, RecursionError, ValueError):  # a payload nested too deep
            return False
        return True

    def landed(self, call_id: str) -> None:
        """It has dealt with a socket that was on its way."""
        assert call_id in self.calls, "who hears its messages has looked"
        self.n_pending = max(0, self.n_pending - 1)

    def socket_closed(self) -> None:
        """One of its sockets is gone."""
        # Never below: what a worker reports too often must not make room for other calls.
        self.n_sockets = max(0, self.n_sockets - 1)

    def call_over(self, call_id: str) -> None:
        """Nothing is left of this call."""
        self.calls.discard(call_id)


class WorkersOwner(Protocol):
    """What the owner of the workers must provide."""

    def message_received(self, worker: WorkerProcess, message: Any) -> None:
        """A worker says something."""

    def worker_gone(self, worker: WorkerProcess) -> None:
        """A worker has ended, and its calls with it."""

    def workers_looked_at(self) -> None:
        """A beat: all workers have been judged by their silence."""


class WorkerSupervisor(Supervisor[WorkerProcess]):
    """Keeps ``settings.workers`` worker processes running.

    Args:
        settings: the workers' settings, and how many workers there are.
        owner: is told what they send and when one ends.
        limits: time limits for workers: heartbeats, silence, start, restart.
        has_client: there is a control client, so that workers' commands can be carried out.

    Raises:
        ConfigurationError: another process cannot be given these settings.
    """

    def __init__(
        self, settings: Settings, owner: WorkersOwner, limits: WorkerLimits, *, has_client: bool
    ) -> None:
        def setup(index: int) -> messages.Setup:
            return messages.Setup.of(index, settings, limits.beat_s, has_client=has_client)

        setup(0)  # what is wrong with them is found here
        self._next = 0
        super().__init__(
            settings.workers,
            lambda index: WorkerProcess(owner, setup(index)),
            owner.worker_gone,
            limits,
            end_within_s=settings.handler_grace_s + END_WITHIN_S,
            looked=owner.workers_looked_at,
        )

    async def settled(self, calls_over: Awaitable[None]) -> None:
        """Wait until all calls are over, and nothing is left to do behind them."""
        await calls_over
        # A worker may also be lost, or replaced: nothing tells of all that.
        while any(w.n_left and not w.gone.is_set() for w in self.children):  # noqa: ASYNC110 (above)
            await asyncio.sleep(LOOK_EVERY_S)

    def least_loaded(self) -> WorkerProcess | None:
        """The worker for the next call: in turn among those that have fewest, and are in time."""
        able = [worker for worker in self.children if worker.is_able]
        in_time = [w for w in able if w.lag_s <= MAX_LAG_S and not w.is_late]
        able = in_time or able
        if not able:
            return None
        chosen = min(able, key=lambda w: (len(w.calls), (w.index - self._next) % self.n))
        self._next = chosen.index + 1
        return chosen
