"""One processor host, as the process that carries the calls sees it."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from time import monotonic

import msgspec

from mediaserver.logs import LimitedLog, shown
from mediaserver.media.frames import Frame
from mediaserver.processes.memory import resident_bytes
from mediaserver.server.isolation import messages
from mediaserver.server.isolation.link import Link
from mediaserver.server.isolation.runner import IsolatedRunner

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

_DECODER = msgspec.msgpack.Decoder(messages.FromHost)
# Models are loaded by the first call.
FIRST_FRAME_WITHIN_S = 30.0


class HostProcess:
    """A host, its link, and the calls in it.

    **Call ``judge`` regularly; once ``lost`` was called, it is gone.**

    Args:
        number: of this host.
        lost: called once, when the host is gone.

    Attributes:
        name: its name in the log.
        alone: it takes one call only.
        tainted: a handler of an ended call still runs in it, so it takes no new calls.
        pid: its process id, once it is known.
        shared_bytes: how much of its memory it shares with its spawner.
        theirs: the host's end of the link, to be given to the process when it is started.
    """

    def __init__(self, number: int, lost: Callable[[HostProcess], None]) -> None:
        self.number = number
        self.name: str = f"processor host {number}"
        self.alone = False
        self.tainted: bool = False
        self.pid: int = 0
        self.shared_bytes: int = 0
        self._lost = lost
        self._runners: dict[int, IsolatedRunner] = {}
        self._n_added = 0
        self._n_frames_sent = 0
        self._has_run = False
        self._heard_at = monotonic()
        self._pidfd: int | None = None
        self._why = ""
        self._is_gone = False
        self.theirs: socket.socket
        ours, self.theirs = socket.socketpair()
        self._link = Link(ours, self._received, self._link_ended)
        self._send = self._link.send

    @property
    def n_calls(self) -> int:
        """How many calls it has."""
        return len(self._runners)

    @property
    def is_gone(self) -> bool:
        """It has ended, or is given up."""
        return self._is_gone

    @property
    def resident_bytes(self) -> int:
        """Its memory without what it shares with its spawner; 0 before it runs."""
        return max(0, resident_bytes(self.pid) - self.shared_bytes) if self.pid else 0

    # For runners.

    def add(self, runner: IsolatedRunner) -> int:
        """Take a call; its number here."""
        self._n_added += 1
        self._runners[self._n_added] = runner
        return self._n_added

    def remove(self, number: int, *, abandoned: bool) -> None:
        """A call is over; with ``abandoned`` something of it still runs here."""
        if self._runners.pop(number, None) is not None and abandoned and not self._is_gone:
            self.tainted = True
            text = "%s: handlers of an ended call still run in it"
            limited.warning("hosts with abandoned handlers", text, self.name)

    def send_frame(self, number: int, frame: Frame) -> bool:
        """Send a call's frame; False where it reads too slowly."""
        if self._link.is_full:
            return False
        self._n_frames_sent += 1
        self._send(
            messages.FRAME,
            number,
            messages.FRAME_HEAD.pack(
                frame.index,
                frame.start,
                frame.lag,
                frame.rate,
                frame.track == "outbound",
                frame.lost,
            ),
            frame.samples.tobytes(),
        )
        return True

    def say(self, number: int, message: msgspec.Struct) -> None:
        """Send a message about a call."""
        self._send(messages.MESSAGE, number, msgspec.msgpack.encode(message))

    # For the pool.

    def judge(self, now: float, silent_s: float, memory_bytes: int) -> str:
        """What must end it, if anything."""
        limit_s = silent_s if self._has_run else max(silent_s, FIRST_FRAME_WITHIN_S)
        if self._n_frames_sent and now - self._heard_at > limit_s:
            return f"no sign of life for {now - self._heard_at:.0f} s: it hangs"
        resident = self.resident_bytes
        if resident > memory_bytes:
            return f"{resident >> 20} MiB of memory are more than {memory_bytes >> 20}"
        return ""

    def started(self, pid: int, shared_bytes: int) -> None:
        """Its process runs."""
        self.pid, self.shared_bytes = pid, shared_bytes
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # it has ended already
                self._pidfd = os.pidfd_open(pid)

    def kill(self) -> None:
        """End its process if it lives still: its spawner, which would, may have died before it.

        Its number alone would not do: it may be another process by now.
        """
        pidfd, self._pidfd = self._pidfd, None
        if pidfd is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.close(pidfd)

    def excuse(self, for_s: float) -> None:
        """Do not count so many seconds as its silence: nobody could listen."""
        self._heard_at += for_s

    def give_up(self, why: str) -> None:
        """It is to be gone now, and why; of the first time."""
        self._why = self._why or why
        self._link.close()
        self._link_ended()

    def close(self) -> None:
        """Its calls are over: have it end."""
        self._is_gone = True
        self._link.close()
        self.theirs.close()

    def _link_ended(self) -> None:
        if self._is_gone:
            return
        self._is_gone = True
        self.theirs.close()
        self._lost(self)

    def tell_lost(self, how: str) -> None:
        """Tell its calls that it is gone, and how."""
        why = f"{self.name} (process {self.pid}) {self._why or how}"
        runners, self._runners = list(self._runners.values()), {}
        for runner in runners:
            try:
                runner.host_lost(why)
            except Exception as exc:  # one call's trouble is not to reach the others
                text = "call %s failed when its host was lost"
                call = runner.call_id
                limited.error("calls that failed", text, shown(call), exc_info=exc, call=call)

    def _received(self, kind: int, number: int, content: memoryview) -> None:
        runner = self._runners.get(number)
        if kind != messages.MESSAGE:
            if runner is not None:
                runner.packet(kind, content)
            return
        message = _DECODER.decode(content)
        if isinstance(message, messages.HostBeat):
            self._heard_at = monotonic()
            self._has_run = self._has_run or message.n_frames > 0
        elif runner is not None:
            runner.received(message)
