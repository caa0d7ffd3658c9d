"""The process that processor hosts are forked from: it has loaded what they need, and no more.

It has one thread and no event loop, so that a fork copies all of it. A host starts in a few
milliseconds, and shares the loaded memory with the spawner until it writes there.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import NoReturn

import msgspec

from mediaserver.logs import LimitedLog, shown
from mediaserver.processes.channel import receive_with_fd, send_blocking
from mediaserver.processes.garbage import freeze_loaded
from mediaserver.processes.memory import resident_bytes
from mediaserver.processes.output import MAX_LINE_BYTES, Output, redirect
from mediaserver.server.isolation import messages

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

BEAT_S = 0.5
# Resident memory is watched by the server; the address space is a last limit: libraries alone
# take much of it without using it.
ADDRESS_SPACE_TIMES = 16
MAX_OPEN_FILES = 1024
NICE = 5
# Between the word where it hangs and the kill.
SAY_WHERE_S = 0.3
# For hosts to end by themselves, beyond their handlers' grace.
SLACK_S = 2.0
# Between two tries to fork, at first and at most; and how long one host is tried.
FORK_PAUSE_S = 0.2
LONGEST_FORK_PAUSE_S = 5.0
FORK_WITHIN_S = 5.0
# Between two looks at the output of hosts that flood it: a few megabytes a second are read.
FLOOD_PAUSE_S = 0.01


class Spawner:
    """Forks hosts for the process at the other end, and says when they have ended.

    Args:
        end: this side of the channel.
        memory_bytes: how much resident memory a host may have.
        grace_s: how long hosts may outlive the process at the other end.
        host_main: runs a host until it ends; called in the new process with the host's number, its
            end of the link, and the real stderr for its log.
    """

    def __init__(
        self,
        end: socket.socket,
        memory_bytes: int,
        grace_s: float,
        host_main: Callable[[int, socket.socket, int], None],
    ) -> None:
        self._end = end
        self._grace_s = grace_s
        self._memory_bytes = memory_bytes
        self._host_main = host_main
        self._wakers: tuple[socket.socket, ...] = ()
        self._pids: dict[int, int] = {}
        self._to_kill: dict[int, float] = {}
        self._outputs: dict[int, Output] = {}
        self._poll = select.poll()
        # Each end of a pipe whose writing end is in this process alone.
        self._life: tuple[int, int] = (-1, -1)
        # Hosts to be forked: the end of each one's link, and until when it is tried.
        self._to_fork: dict[int, tuple[int, float]] = {}
        self._fork_from = 0.0
        self._pause_s = FORK_PAUSE_S

    def run(self) -> None:
        """Serve until the other side is gone or says that it is over, then end all hosts."""
        freeze_loaded()
        woken, wake = self._wakers = socket.socketpair()
        for end in self._wakers:
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        self._life = os.pipe()
        self._poll.register(self._end, select.POLLIN)
        self._poll.register(woken, select.POLLIN)
        self._say(messages.Ready())
        with contextlib.suppress(EOFError, OSError):
            self._serve_all(woken)
        self._end_all()

    def _serve_all(self, woken: socket.socket) -> None:
        next_beat = time.monotonic()
        while True:
            is_busy = self._to_kill or self._to_fork
            ready = [fd for fd, _ in self._poll.poll(50 if is_busy else BEAT_S * 1000)]
            if woken.fileno() in ready:
                with contextlib.suppress(BlockingIOError):
                    woken.recv(4096)
            if self._end.fileno() in ready and not self._serve():
                return
            self._hear(ready)
            self._reap()
            self._kill_due()
            self._fork_due()
            if time.monotonic() >= next_beat:
                next_beat = time.monotonic() + BEAT_S
                self._say(messages.Heartbeat())

    def _end_all(self) -> None:
        """Hosts end when their link does; those that do not are killed."""
        until = time.monotonic() + self._grace_s + SLACK_S
        next_beat = 0.0
        while self._pids and time.monotonic() < until:
            time.sleep(0.02)
            self._hear([output.fd for output in self._outputs.values()])
            self._reap()
            if time.monotonic() >= next_beat:  # else this process would be taken for one that hangs
                next_beat = time.monotonic() + BEAT_S
                self._say(messages.Heartbeat())
        for pid in self._pids.values():
            os.kill(pid, signal.SIGKILL)
            _kill_group(pid)

    def _serve(self) -> bool:
        """Deal with one message; False if it is over."""
        message, fd = receive_with_fd(self._end, messages.ToSpawner)
        match message:
            case messages.SpawnHost(host):
                if fd is not None:
                    self._to_fork[host] = fd, time.monotonic() + FORK_WITHIN_S
            case messages.KillHost(host, hangs):
                if host in self._to_fork:
                    os.close(self._to_fork.pop(host)[0])
                pid = self._pids.get(host)
                if pid is not None and hangs:
                    os.kill(pid, signal.SIGUSR1)
                # A second word takes no time from the first one.
                due = time.monotonic() + (SAY_WHERE_S if hangs else 0.0)
                self._to_kill.setdefault(host, due)
            case messages.Shutdown():
                return False
        return True

    def _fork_due(self) -> None:
        """Fork the hosts that are wanted; after one that failed there is a pause."""
        for host, (fd, until) in list(self._to_fork.items()):
            now = time.monotonic()
            if now < self._fork_from:
                return
            try:
                self._fork(host, fd)
            except OSError as exc:  # the hosts that run are not to end for it
                limited.error(
                    "hosts that cannot be started",
                    "processor host %d cannot be started: %s; the next try is in %.1f s",
                    host,
                    exc.strerror,
                    self._pause_s,
                )
                self._fork_from = now + self._pause_s
                self._pause_s = min(2 * self._pause_s, LONGEST_FORK_PAUSE_S)
                if now < until:
                    return
            else:
                self._pause_s = FORK_PAUSE_S
            # Its end of the link: of one that was given up, the other side sees it.
            del self._to_fork[host]
            os.close(fd)

    def _fork(self, host: int, fd: int) -> None:
        output = Output(partial(_printed, host))
        try:
            pid = os.fork()
        except OSError:
            os.close(output.theirs)
            os.close(output.fd)
            raise
        if not pid:
            self._be_host(host, fd, output)
        os.close(output.theirs)
        self._pids[host] = pid
        self._outputs[host] = output
        self._poll.register(output.fd, select.POLLIN)
        self._say(messages.HostStarted(host, pid, resident_bytes(os.getpid())))

    def _be_host(self, host: int, fd: int, output: Output) -> NoReturn:
        """In the new process: nothing of the spawner may go on here."""
        code = 1
        try:
            self._let_go(host)
            # What its processors send to their process group is for this host alone.
            os.setsid()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            stderr = redirect(output, self._life[0])
            _limit(self._memory_bytes)
            self._host_main(host, socket.socket(fileno=fd), stderr)
            code = 0
        except BaseException as exc:
            limited.error("hosts that failed", "processor host %d failed", host, exc_info=exc)
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def _let_go(self, host: int) -> None:
        """Close what is the spawner's, and the other hosts'."""
        self._end.close()
        for own in self._wakers:
            own.close()
        os.close(self._life[1])
        for other in self._outputs.values():
            os.close(other.fd)
        for number, (fd, _) in self._to_fork.items():
            if number != host:
                os.close(fd)

    def _hear(self, ready: list[int]) -> None:
        """Take what hosts print; one that floods is not read at full speed."""
        now = time.monotonic()
        for output in self._outputs.values():
            if output.fd in ready and not output.read(now):
                with contextlib.suppress(KeyError):
                    self._poll.unregister(output.fd)
            output.tick(now)
        if any(output.is_flood for output in self._outputs.values()):
            time.sleep(FLOOD_PAUSE_S)

    def _reap(self) -> None:
        for host, pid in list(self._pids.items()):
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                _kill_group(pid)
                _, status = os.waitpid(pid, 0)
                del self._pids[host]
                self._to_kill.pop(host, None)
                output = self._outputs.pop(host)
                with contextlib.suppress(KeyError):  # it was closed at the other side before
                    self._poll.unregister(output.fd)
                output.close(time.monotonic())
                self._say(messages.HostExited(host, os.waitstatus_to_exitcode(status)))

    def _kill_due(self) -> None:
        now = time.monotonic()
        for host, at in list(self._to_kill.items()):
            if at <= now:
                del self._to_kill[host]
                if host in self._pids:
                    os.kill(self._pids[host], signal.SIGKILL)

    def _say(self, message: msgspec.Struct) -> None:
        with contextlib.suppress(OSError):  # the next read says so
            send_blocking(self._end, message)


def _kill_group(pid: int) -> None:
    """Kill what a host's processors have started. **Before it is waited for**: its number is
    nobody else's until then."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _printed(host: int, line: str) -> None:
    """What came on a host's stdout or stderr: no line of its log, which goes its own way."""
    fields = {"host": host}
    text = shown(line, MAX_LINE_BYTES)
    limited.each(
        logging.WARNING, "printed", "processor host %d prints: %s", host, text, fields=fields
    )


def _limit(memory_bytes: int) -> None:
    """Bound what this process may take."""
    os.nice(NICE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for kind, most in (
        (resource.RLIMIT_NOFILE, MAX_OPEN_FILES),
        (resource.RLIMIT_AS, ADDRESS_SPACE_TIMES * memory_bytes),
    ):
        _, hard = resource.getrlimit(kind)
        if hard != resource.RLIM_INFINITY:
            most = min(most, hard)
        resource.setrlimit(kind, (most, most))
