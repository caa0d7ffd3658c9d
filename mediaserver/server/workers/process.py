"""The worker processes of a server: started, listened to, killed when they hang, replaced.

Rules of one worker:

    state     event                        next
    starting  ``Ready``                    able
    starting  no ``Ready`` in ``start_s``  killed
    able      no beat for ``quiet_s``      quiet (gets no new calls)
    quiet     a beat                       able
    quiet     no beat for ``hung_s``       killed
    any       its process has ended        gone; another one takes its place
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import signal
import socket
import subprocess
import sys
from time import monotonic
from typing import Any, Protocol

import msgspec

from mediaserver.server.workers.channel import Channel
from mediaserver.server.workers.messages import Failed, Heartbeat, Ready, Setup, WebhookReported
from mediaserver.settings import Settings

logger = logging.getLogger(__name__)

# Sockets on their way to one worker at most.
MAX_PENDING_HANDOFFS = 256
# A worker that ends has so long for what is behind its last report; then it is killed.
END_WITHIN_S = 5.0
# Not "-m": what the current directory holds must not come before Python's own modules.
_COMMAND = (
    "import sys; sys.path[:] = sys.argv[2:];"
    " from mediaserver.app.worker_main import main; main(int(sys.argv[1]))"
)


class WorkerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How patient a server is with its workers, in seconds.

    Attributes:
        beat_s: between two signs of life.
        quiet_s: without one there are no new calls for it.
        hung_s: without one it is killed.
        start_s: from its process' start until it must be ready.
        pause_s: before a worker that died is replaced; doubled each time it dies at once.
        longest_pause_s: at most.
    """

    beat_s: float = 0.5
    quiet_s: float = 3.0
    hung_s: float = 10.0
    start_s: float = 30.0
    pause_s: float = 0.1
    longest_pause_s: float = 5.0


class WorkerProcess:
    """One process, from its start to its end, as its parent sees it.

    Args:
        owner: hears its messages.
        index: its place in the crew.
        settings: what it serves with.
        beat_s: how often it gives a sign of life.

    Attributes:
        calls: ids of its calls, live or on their way.
        n_sockets: media connections it has, or will have.
        n_landing: of these, on their way.
        n_quiet: its calls that anybody with the shared token could take over, as last told.
        heard_at: when it last gave a sign of life, in monotonic seconds.
        gone: set once its process has ended, or cannot be spoken to.

    Raises:
        OSError: the system starts no more processes.
    """

    def __init__(
        self, owner: SupervisorOwner, index: int, settings: Settings, beat_s: float
    ) -> None:
        self.index = index
        self.calls: set[str] = set()
        self.n_sockets = 0
        self.n_landing = 0
        self.n_quiet = 0
        self.is_ready = self.is_quiet = False
        self.failure = ""
        self.began_at = self.heard_at = monotonic()
        self.gone = asyncio.Event()
        self._owner = owner
        self._asked_where = False
        self._has_exited = False
        ours, theirs = socket.socketpair()
        with theirs:
            self.channel = Channel(ours, self._received, self.gone.set)
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", _COMMAND, str(theirs.fileno()), *sys.path],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                )
            except OSError:
                self.channel.close()
                raise
        self.channel.send(Setup(index, settings, beat_s))

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_able(self) -> bool:
        """It can take a new call."""
        return self.is_ready and not self.is_quiet and self.has_room

    @property
    def has_room(self) -> bool:
        """It can be sent a socket."""
        waits = self.n_landing >= MAX_PENDING_HANDOFFS or self.channel.is_full
        return not waits and not self.gone.is_set()

    def hand_over(self, message: Any, fd: int) -> None:
        """Send it a call's socket."""
        self.calls.add(message.call_id)
        self.n_landing += 1
        self.n_sockets += 1
        self.channel.send(message, fd)

    def landed(self) -> None:
        """It has dealt with a socket."""
        self.n_landing -= 1

    def socket_closed(self) -> None:
        """One of its sockets is gone."""
        self.n_sockets -= 1

    def call_over(self, call_id: str) -> None:
        """A call of its is over."""
        self.calls.discard(call_id)

    def tell(self, call_id: str, event: Any) -> bool:
        """Give it a webhook's event; False if it cannot be told."""
        if self.channel.is_full:
            return False
        try:
            self.channel.send(WebhookReported(call_id, event))
        except (pickle.PickleError, RecursionError):  # a payload nested too deep
            return False
        return True

    def look(self, now: float, limits: WorkerLimits) -> None:
        """Judge it by its signs of life."""
        silent_s = now - self.heard_at
        if self.gone.is_set():
            return
        if self._process.poll() is not None:
            # Its channel may be held open by a process that it forked; else its last reports
            # are read in the meantime.
            if self._has_exited:
                self.gone.set()
            self._has_exited = True
        elif not self.is_ready:
            if silent_s > limits.start_s:
                self._kill("is not ready in time")
        elif silent_s > limits.hung_s:
            self._kill_where_it_hangs()
        elif silent_s > limits.quiet_s and not self.is_quiet:
            self.is_quiet = True
            logger.warning("worker %d is silent: no new calls for it", self.index)

    async def end(self) -> int:
        """Have its process end, and wait for it; its exit code."""
        self.channel.close()
        try:
            async with asyncio.timeout(END_WITHIN_S):
                while self._process.poll() is None:  # noqa: ASYNC110  # no event comes for it
                    await asyncio.sleep(0.01)
        except TimeoutError:
            self._process.kill()
        return await asyncio.to_thread(self._process.wait)

    def kill(self) -> None:
        """End its process at once."""
        self._process.kill()

    def _kill(self, why: str) -> None:
        what = (self.index, self.pid, why, len(self.calls))
        logger.error("worker %d (process %d) %s: killed with %d calls", *what)
        self.kill()
        self.gone.set()

    def _kill_where_it_hangs(self) -> None:
        """First have it say in which line it hangs; at the next look, kill it."""
        if self._asked_where:
            self._kill("hangs")
        else:
            self._asked_where = True
            self._process.send_signal(signal.SIGUSR1)

    def _received(self, message: Any, _: int | None) -> None:
        if self.gone.is_set():
            return  # its calls have been given up
        self.heard_at = monotonic()
        self.is_quiet = self._asked_where = False
        if isinstance(message, Failed):
            self.failure = message.reason
        elif isinstance(message, Ready):
            self.is_ready = True
        elif isinstance(message, Heartbeat):
            self.n_quiet = message.n_quiet
        self._owner.message_received(self, message)


class SupervisorOwner(Protocol):
    """Who works with a crew."""

    def message_received(self, worker: WorkerProcess, message: Any) -> None:
        """A worker says something."""

    def worker_gone(self, worker: WorkerProcess) -> None:
        """A worker has ended, and its calls with it."""
