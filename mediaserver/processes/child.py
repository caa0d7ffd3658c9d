"""One child process, as its parent sees it: started, listened to, killed when it hangs."""

from __future__ import annotations

import asyncio
import enum
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from time import monotonic
from typing import Any

import msgspec

from mediaserver.logs import LimitedLog
from mediaserver.processes.channel import Channel, UnsendableError
from mediaserver.processes.messages import Failed, FromChild, Heartbeat, Hello, Ready

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

# A child that ends has so long for what is behind its last report; then it is killed.
END_WITHIN_S = 5.0
# Variables of the environment that no child gets unless its kind says so: keys, and what
# goes with them.
SECRETS = frozenset(
    {
        "TELNYX_API_KEY",
        "TELNYX_PUBLIC_KEY",
        "MEDIASERVER_ADMIN_TOKEN",
        "MEDIASERVER_API_KEY",
        "MEDIASERVER_AUTH_TOKEN",
        "MEDIASERVER_LISTEN_TOKEN",
        "MEDIASERVER_PUBLIC_KEYS",
    }
)
# With "-c" and not "-m": what the current directory holds must not come before Python's own
# modules.
_BEGIN = "import sys; fd = int(sys.argv[1]); sys.path[:] = sys.argv[2:]\n"


class ChildLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How patient a parent is with its children, in seconds.

    Attributes:
        beat_s: between two heartbeats.
        quiet_s: without a message it is suspected, and gets no new work.
        hung_s: without a message it is killed; two beats before, it is asked where it hangs.
        start_s: from its process' start until it must be ready.
        pause_s: before a child that died is replaced; doubled each time it dies at once.
        longest_pause_s: at most.
    """

    beat_s: float = 0.2
    quiet_s: float = 1.0
    hung_s: float = 4.0
    start_s: float = 30.0
    pause_s: float = 0.1
    longest_pause_s: float = 5.0


class ChildKind(msgspec.Struct, frozen=True, kw_only=True):
    """What all children of a kind have in common.

    Attributes:
        name: what one of them is called in the log.
        code: the Python program it runs; ``fd`` is the number of its end of the channel.
        version: of the messages; a child that says another one is refused.
        answers: the messages it may send beside the general ones: a tagged struct, or a
            union of some; None: no others.
        withheld: variables of the environment that it does not get.
    """

    name: str
    code: str
    version: int
    answers: Any = None
    withheld: frozenset[str] = SECRETS


class State(enum.Enum):
    """Where a child is between its start and its end; the rules are at ``ChildProcess``."""

    STARTING = "starting"
    ABLE = "able"
    SUSPECTED = "suspected"
    ASKED = "asked where it hangs"
    GONE = "gone"


class ChildProcess:
    """One process, from its start to its end.

    **Call ``judge`` at every beat; when ``gone`` is set, call ``end``.** Its rules:

    =========  ===================================  =======================================
    state      event                                next
    =========  ===================================  =======================================
    starting   ``Hello`` of the same version        starting; it is sent its first message
    starting   ``Hello`` of another, or none first  gone, killed; ``failure`` says so
    starting   ``Ready``                            able
    starting   not able in ``start_s``              gone, killed
    able       no message for ``quiet_s``           suspected: gets no new work
    suspected  a message                            able
    suspected  ``hung_s`` will be over in two beats asked where it hangs, by a signal
    asked      a message                            able
    asked      no message for ``hung_s``            gone, killed
    any        its process or its channel ended     gone
    =========  ===================================  =======================================

    Args:
        kind: what it is.
        index: its slot among those of its kind.
        first: the message it begins with.
        received: called with every message after ``Hello``.

    Attributes:
        index: its slot.
        channel: the way to it.
        failure: why it cannot work, if it said so or was refused.
        began_at: when its process was started, in monotonic seconds.
        heard_at: since when it is silent, in monotonic seconds; while it starts, ``began_at``.
        lag_s: by how much its loop was late for its last heartbeat.
        gone: set once its process has ended, or cannot be spoken to.

    Raises:
        OSError: the system starts no more processes.
    """

    def __init__(
        self,
        kind: ChildKind,
        index: int,
        first: msgspec.Struct,
        received: Callable[[Any], None],
    ) -> None:
        self.index = index
        self.failure: str = ""
        self.began_at: float = monotonic()
        self.heard_at: float = self.began_at
        self.lag_s: float = 0.0
        self.gone: asyncio.Event = asyncio.Event()
        self._kind = kind
        self._first: msgspec.Struct | None = first
        self._on_message = received
        self._state = State.STARTING
        self._settled = asyncio.Event()
        self._has_exited = False
        ours, theirs = socket.socketpair()
        types = FromChild if kind.answers is None else FromChild | kind.answers
        with theirs:
            self.channel: Channel = Channel(ours, types, self._received, self._go, self.name)
            try:
                self._process = _started(kind, theirs.fileno())
            except OSError:
                self.channel.close()
                raise

    @property
    def name(self) -> str:
        """What it is called in the log."""
        return f"{self._kind.name} {self.index}"

    @property
    def load(self) -> str:
        """What it carries, for the log, such as `` with 3 calls``."""
        return ""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def state(self) -> State:
        """See the table above."""
        return State.GONE if self.gone.is_set() else self._state

    @property
    def is_ready(self) -> bool:
        """It has said that it works, and is not gone."""
        return self.state not in (State.STARTING, State.GONE)

    @property
    def is_quiet(self) -> bool:
        """It is suspected to hang."""
        return self.state in (State.SUSPECTED, State.ASKED)

    @property
    def is_able(self) -> bool:
        """It can be given new work."""
        return self.state is State.ABLE

    async def settled(self) -> None:
        """Wait until it is ready, or gone."""
        await self._settled.wait()

    def judge(self, now: float, limits: ChildLimits) -> None:
        """Decide by its silence what is to be done."""
        silent_s = now - self.heard_at
        if self.gone.is_set():
            return
        if self._process.poll() is not None:
            # Its channel may be held open by a process that it forked; else its last reports
            # are read in the meantime.
            if self._has_exited:
                self._go()
            self._has_exited = True
        elif self._state is State.STARTING:
            if silent_s > limits.start_s:
                self._kill("is not ready in time")
        elif silent_s > limits.hung_s and self._state is State.ASKED:
            self._kill("hangs")
        elif silent_s > max(limits.quiet_s, limits.hung_s - 2 * limits.beat_s):
            self._ask_where_it_hangs()
        elif silent_s > limits.quiet_s and self._state is State.ABLE:
            self._state = State.SUSPECTED
            text = "%s is silent: no new work for it"
            limited.each(logging.WARNING, "process silent", text, self.name)

    def excuse(self, for_s: float) -> None:
        """Do not count so many seconds as its silence: the parent could not listen."""
        self.heard_at += for_s

    def kill(self) -> None:
        """End its process at once."""
        self._process.kill()

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

    def _kill(self, why: str) -> None:
        text = "%s (process %d) %s: killed%s"
        limited.each(logging.ERROR, "process killed", text, self.name, self.pid, why, self.load)
        self.kill()
        self._go()

    def _ask_where_it_hangs(self) -> None:
        """Have it say in which line, once."""
        if self._state is not State.ASKED:
            self._state = State.ASKED
            self._process.send_signal(signal.SIGUSR1)

    def _go(self) -> None:
        self.gone.set()
        self._settled.set()

    def _received(self, message: Any, fd: int | None) -> None:
        if fd is not None:
            os.close(fd)  # no message of a child's has one
        if self.gone.is_set():
            return  # its work has been given up
        if self._first is not None:
            self._greet(message, self._first)
            return
        if isinstance(message, Failed):
            self.failure = message.reason
        elif self._state is not State.STARTING or isinstance(message, Ready):
            self._state = State.ABLE
            self.heard_at = monotonic()
            self._settled.set()
            if isinstance(message, Heartbeat) and message.lag_s is not None:
                self.lag_s = message.lag_s
        self._on_message(message)

    def _greet(self, message: Any, first: msgspec.Struct) -> None:
        """Begin, if it speaks our version; its code may be newer than ours by now."""
        version = message.version if isinstance(message, Hello) else None
        try:
            if version == self._kind.version:
                self._first = None
                self.channel.send(first)
                return
            self.failure = (
                f"refused: it speaks version {version}, not {self._kind.version};"
                " its code has changed since this process began, which must start anew"
            )
        except UnsendableError as exc:
            self.failure = str(exc)
        self.kill()
        self._go()


def _started(kind: ChildKind, fd: int) -> subprocess.Popen[bytes]:
    """A process that runs the kind's program, with a descriptor of ours."""
    return subprocess.Popen(
        [sys.executable, "-c", _BEGIN + kind.code, str(fd), *sys.path],
        stdin=subprocess.DEVNULL,
        pass_fds=[fd],
        env={name: value for name, value in os.environ.items() if name not in kind.withheld},
    )
