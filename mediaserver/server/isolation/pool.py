"""The processor hosts of one process that carries calls."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
from collections.abc import Sequence
from time import monotonic
from typing import Any

import msgspec

from mediaserver.logs import LimitedLog
from mediaserver.processes.child import END_WITHIN_S, ChildKind, ChildLimits, ChildProcess
from mediaserver.processes.memory import resident_bytes
from mediaserver.processes.supervisor import Supervisor
from mediaserver.server.calls.hangups import ControlEncoding
from mediaserver.server.calls.runner import InlineRunner, Runner
from mediaserver.server.calls.selection import Chosen
from mediaserver.server.calls.views.batches import Batches
from mediaserver.server.calls.views.others import Neighbours
from mediaserver.server.isolation import messages
from mediaserver.server.isolation.host import HostProcess
from mediaserver.server.isolation.runner import IsolatedRunner
from mediaserver.server.isolation.setup import HostSetup, secret_names
from mediaserver.server.isolation.spawner import SAY_WHERE_S, SLACK_S
from mediaserver.settings import Settings

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

LOOK_EVERY_S = 0.25
EXIT_CODE_WITHIN_S = 0.1
# For the spawner to end a host; then it is done here.
KILLED_WITHIN_S = SAY_WHERE_S + 1.0
_CODE = "from mediaserver.app.isolated_main import main; main(fd)"


class HostPool:
    """Starts processor hosts, places calls in them, and replaces what is lost.

    Args:
        settings: see ``Settings``.
        control: encodes requests to the control client, and decodes its answers.
        batches: the batch processors of this process.
        beat_s: seconds between two heartbeats of the spawner.
        worker: this process's number if it is a worker, for the log of its hosts.

    Raises:
        ConfigurationError: another process cannot be given these settings.
    """

    def __init__(
        self,
        settings: Settings,
        control: ControlEncoding,
        batches: Batches | None = None,
        beat_s: float = 0.5,
        *,
        worker: int | None = None,
    ) -> None:
        self._settings = settings
        self._batches = batches
        self._neighbours = Neighbours()
        self._control = control
        self._numbers = itertools.count(1)
        self._hosts: dict[int, HostProcess] = {}
        self._dying: dict[int, HostProcess] = {}
        self._ending: dict[int, HostProcess] = {}
        self._waiting: list[HostProcess] = []
        self._watch: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._closing = False
        setup = HostSetup.of(settings, beat_s, worker)
        kind = ChildKind(
            name="spawner of processor hosts",
            code=_CODE,
            version=messages.VERSION,
            answers=messages.FromSpawner,
            withheld=secret_names(os.environ, settings.host_env),
        )
        self._supervisor: Supervisor[ChildProcess] = Supervisor(
            1,
            lambda index: ChildProcess(kind, index, setup, self._spawner_says),
            lambda _: None,
            ChildLimits(beat_s=beat_s),
            end_within_s=settings.handler_grace_s + SLACK_S + END_WITHIN_S,
        )

    @property
    def hosts(self) -> list[HostProcess]:
        """Those that run."""
        return list(self._hosts.values())

    @property
    def n_hosts(self) -> tuple[int, int]:
        """See ``Runners``."""
        return len(self._hosts), sum(host.n_calls for host in self._hosts.values())

    @property
    def resident_bytes(self) -> int:
        """See ``Runners``; the spawner's own is in it, which has what they share."""
        spawners = sum(resident_bytes(each.pid) for each in self._supervisor.children)
        return spawners + sum(host.resident_bytes for host in self._hosts.values())

    async def start(self) -> None:
        """Load the processors in the spawner, and have one host ready.

        Raises:
            ConfigurationError: a processor cannot be used.
        """
        if self._batches is not None:
            self._batches.start()
        await self._supervisor.start()
        self._start_host()
        self._due = monotonic()
        self._look()

    async def close(self) -> None:
        """End all hosts; their calls are over."""
        self._closing = True
        if self._watch is not None:
            self._watch.cancel()
        for host in list(self._hosts.values()):
            host.close()
            if host.tainted:  # what still runs there was given its time
                self._tell(messages.KillHost(host.number))
        await self._supervisor.close()
        # The spawner that started one may have died long before.
        for host in [*self._hosts.values(), *self._ending.values()]:
            host.kill()
        if self._batches is not None:
            self._batches.close()

    def make_runner(self, chosen: Sequence[Chosen], settings: Settings) -> Runner:
        """What runs a chain: inline, unless one of its processors asks for isolation."""
        if not any(choice.isolated for choice in chosen):
            return InlineRunner(chosen, settings, self._batches, self._neighbours)
        taps = [choice for choice in chosen if choice.spec.tap]
        chain = tuple(choice.index for choice in chosen if not choice.spec.tap)
        outside = chosen[0].outside
        return IsolatedRunner(
            self.place,
            InlineRunner(taps, settings, self._batches),
            [choice.spec.name for choice in chosen],
            chain,
            outside,
            settings,
            self._control,
        )

    def place(self, alone: bool) -> HostProcess:
        """The host for one more call: the fullest that has room.

        Raises:
            OSError: there is none, and none can be started.
        """
        most = 1 if alone else self._settings.calls_per_host
        able = [
            host
            for host in self._hosts.values()
            if host.n_calls < most and not (host.alone or host.tainted or host.is_gone)
        ]
        chosen = max(able, key=lambda host: host.n_calls) if able else self._start_host()
        chosen.alone = alone
        if not any(h.n_calls == 0 and h is not chosen for h in self._hosts.values()):
            with contextlib.suppress(OSError):  # too many open files: the next call says so
                self._start_host()  # one is always ready
        return chosen

    # Hosts.

    def _start_host(self) -> HostProcess:
        host = HostProcess(next(self._numbers), self._lost)
        self._hosts[host.number] = host
        self._waiting.append(host)
        self._spawn_waiting()
        return host

    def _spawn_waiting(self) -> None:
        """Have the spawner start what waits; it may be being replaced itself."""
        for spawner in self._supervisor.children:
            if spawner.is_ready:
                waiting, self._waiting = self._waiting, []
                for host in waiting:
                    spawner.channel.send(messages.SpawnHost(host.number), host.theirs.detach())

    def _spawner_says(self, message: Any) -> None:
        match message:
            case messages.HostStarted(number, pid, shared_bytes):
                host = self._hosts.get(number)
                if host is not None:
                    host.started(pid, shared_bytes)
            case messages.HostExited(number, code):
                how = f"was ended by signal {-code}" if code < 0 else f"exited with code {code}"
                host = self._hosts.get(number)
                if host is not None:
                    host.give_up(how)
                dying = self._dying.pop(number, None)
                if dying is not None:
                    dying.tell_lost(how)
                self._kill_now(number)

    def _lost(self, host: HostProcess) -> None:
        """A host is gone; what is left of its process is killed."""
        del self._hosts[host.number]
        self._kill(host)
        if self._closing:
            return
        # Its exit code comes soon, and says more.
        self._dying[host.number] = host
        asyncio.get_running_loop().call_later(EXIT_CODE_WITHIN_S, self._exit_unknown, host.number)

    def _exit_unknown(self, number: int) -> None:
        dying = self._dying.pop(number, None)
        if dying is not None:
            dying.tell_lost("has closed its link")

    def _look(self) -> None:
        """Judge all hosts."""
        self._watch = asyncio.get_running_loop().call_later(LOOK_EVERY_S, self._look)
        now = monotonic()
        stood_still_s = now - self._due
        self._due = now + LOOK_EVERY_S
        self._spawn_waiting()
        memory_bytes = self._settings.host_memory_mb << 20
        n_spare = 0
        for host in list(self._hosts.values()):
            if stood_still_s > LOOK_EVERY_S:
                host.excuse(stood_still_s)
            why = host.judge(now, self._settings.host_silent_s, memory_bytes)
            if why:
                text = "%s (process %d): %s; killed"
                limited.error("hosts killed", text, host.name, host.pid, why)
                self._tell(messages.KillHost(host.number, hangs="hangs" in why))
                host.give_up(f"was killed: {why}")
            elif host.n_calls == 0 and not self._waiting:
                # One is kept ready; one that is tainted, or was for one call, is of no more use.
                is_used_up = host.tainted or host.alone
                n_spare += not is_used_up
                if is_used_up or n_spare > 1:
                    self._end_host(host)

    def _end_host(self, host: HostProcess) -> None:
        """Have a host without calls end; one that does not is killed."""
        del self._hosts[host.number]
        host.close()
        self._ending[host.number] = host
        within_s = self._settings.handler_grace_s + END_WITHIN_S
        asyncio.get_running_loop().call_later(within_s, self._kill, host)

    def _kill(self, host: HostProcess) -> None:
        """Have the spawner kill a host, which says how it ended; or do it, should that be gone."""
        self._ending[host.number] = host
        self._tell(messages.KillHost(host.number))
        asyncio.get_running_loop().call_later(KILLED_WITHIN_S, self._kill_now, host.number)

    def _kill_now(self, number: int) -> None:
        host = self._ending.pop(number, None)
        if host is not None:
            host.kill()

    def _tell(self, message: msgspec.Struct) -> None:
        for spawner in self._supervisor.children:
            spawner.channel.send(message)
