"""The process that processor hosts are forked from: it has loaded all they need, and no more.

It has one thread and no event loop, so that a fork of it is a whole process. A host starts in
a few milliseconds, and shares the memory of what was loaded until it writes there.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable

import msgspec

from mediaserver.processes.channel import receive_with_fd, send_blocking
from mediaserver.processes.memory import resident_bytes
from mediaserver.server.isolation import messages

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


class Spawner:
    """Forks hosts for the process at the other end, and says when they have ended.

    Args:
        end: this side of the channel.
        memory_bytes: what a host may have resident.
        grace_s: how long hosts may outlive the other side.
        host_main: runs a host on its end of its link, to its end; called in the new process.
    """

    def __init__(
        self,
        end: socket.socket,
        memory_bytes: int,
        grace_s: float,
        host_main: Callable[[int, socket.socket], None],
    ) -> None:
        self._end = end
        self._grace_s = grace_s
        self._memory_bytes = memory_bytes
        self._host_main = host_main
        self._wakers: tuple[socket.socket, ...] = ()
        self._pids: dict[int, int] = {}
        self._to_kill: dict[int, float] = {}

    def run(self) -> None:
        """Serve until the other side is gone or says that it is over, then end all hosts."""
        gc.collect()
        gc.freeze()
        woken, wake = self._wakers = socket.socketpair()
        for end in self._wakers:
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        poll = select.poll()
        poll.register(self._end, select.POLLIN)
        poll.register(woken, select.POLLIN)
        self._say(messages.Ready())
        with contextlib.suppress(EOFError, OSError):
            self._serve_all(poll, woken)
        self._end_all()

    def _serve_all(self, poll: select.poll, woken: socket.socket) -> None:
        next_beat = time.monotonic()
        while True:
            ready = [fd for fd, _ in poll.poll(50 if self._to_kill else BEAT_S * 1000)]
            if woken.fileno() in ready:
                with contextlib.suppress(BlockingIOError):
                    woken.recv(4096)
            if self._end.fileno() in ready and not self._serve():
                return
            self._reap()
            self._kill_due()
            if time.monotonic() >= next_beat:
                next_beat = time.monotonic() + BEAT_S
                self._say(messages.Heartbeat())

    def _end_all(self) -> None:
        """Hosts end when their link does; those that do not are killed."""
        until = time.monotonic() + self._grace_s + SLACK_S
        next_beat = 0.0
        while self._pids and time.monotonic() < until:
            time.sleep(0.02)
            self._reap()
            if time.monotonic() >= next_beat:  # else this process would be taken for one that hangs
                next_beat = time.monotonic() + BEAT_S
                self._say(messages.Heartbeat())
        for pid in self._pids.values():
            os.kill(pid, signal.SIGKILL)

    def _serve(self) -> bool:
        """Deal with one message; False if it is over."""
        message, fd = receive_with_fd(self._end, messages.ToSpawner)
        match message:
            case messages.SpawnHost(host):
                if fd is not None:
                    self._spawn(host, fd)
            case messages.KillHost(host, hangs):
                pid = self._pids.get(host)
                if pid is not None and hangs:
                    os.kill(pid, signal.SIGUSR1)
                # A second word takes no time from the first one.
                due = time.monotonic() + (SAY_WHERE_S if hangs else 0.0)
                self._to_kill.setdefault(host, due)
            case messages.Shutdown():
                return False
        return True

    def _spawn(self, host: int, fd: int) -> None:
        try:
            pid = os.fork()
        except OSError as exc:  # the hosts that run are not to end for it
            os.close(fd)
            print(f"processor host {host} cannot be started: {exc}", file=sys.stderr, flush=True)
            return
        if pid:
            os.close(fd)
            self._pids[host] = pid
            self._say(messages.HostStarted(host, pid, resident_bytes(os.getpid())))
            return
        code = 1
        try:
            self._end.close()
            signal.set_wakeup_fd(-1)
            for own in self._wakers:
                own.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _limit(self._memory_bytes)
            self._host_main(host, socket.socket(fileno=fd))
            code = 0
        except BaseException:  # nothing of the spawner may run in this process
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def _reap(self) -> None:
        for host, pid in list(self._pids.items()):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                del self._pids[host]
                self._to_kill.pop(host, None)
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
