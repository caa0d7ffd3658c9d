"""One generation of a server among others: what it takes over, and what it hands on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from mediaserver.app.relations import Relations
from mediaserver.control import WebhookReceiver, encoding
from mediaserver.control.events import Event
from mediaserver.errors import ConfigurationError
from mediaserver.logs import LimitedLog
from mediaserver.observer import CallSummary, ReportedEvent, StreamRequest
from mediaserver.processes import systemd
from mediaserver.server.base import Service
from mediaserver.server.generations import rendezvous, successor
from mediaserver.server.generations.messages import State
from mediaserver.server.generations.newer import NewerGeneration
from mediaserver.server.generations.older import Older, say_failed
from mediaserver.server.handover.passing import PassedOn
from mediaserver.settings import Settings

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

# Enough for processors that load models.
START_WITHIN_S = 300.0
MAX_GENERATIONS = 8
LOOK_EVERY_S = 0.25


class Handed(NamedTuple):
    """What this process was given at its start.

    Attributes:
        sockets: to listen on, by systemd.
        older: the way to the generation that started it.
    """

    sockets: Sequence[socket.socket] = ()
    older: socket.socket | None = None

    @classmethod
    def here(cls) -> Handed:
        """What the environment says; taken out of it.

        Raises:
            ConfigurationError: what systemd gave is of no use.
        """
        older = successor.older_of(os.environ)
        return cls(systemd.listening_sockets(os.environ), older)

    def failed(self, reason: str) -> None:
        """Tell who started this process that it cannot serve."""
        if self.older is not None:
            say_failed(self.older, reason)


class Generations:
    """Follows the calls of this generation, and those of others; a ``CallObserver``.

    **Call ``enter``, start the service, call ``serving``; where another one listens instead,
    wait for ``deserted``; then ``close``.**

    Args:
        settings: see ``Settings``.
        handed: what this process was given.
        relations: follows the calls of this generation, too.
        webhooks: what Telnyx reports; of an older generation's calls it goes there.

    Attributes:
        older: generations before this one.
        replaced: the next one listens.
    """

    def __init__(
        self,
        settings: Settings,
        handed: Handed,
        relations: Relations,
        webhooks: WebhookReceiver | None,
    ) -> None:
        self.older: Older = Older(self._opened, self._closed_elsewhere)
        self.replaced: asyncio.Event = asyncio.Event()
        self._settings = settings
        self._handed = handed
        self._relations = relations
        self._webhooks = webhooks
        if webhooks is not None:
            webhooks.forward_to(self._forward)
        self._calls: set[str] = set()
        self._service: Service | None = None
        self._newer: NewerGeneration | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._name = ""
        self._rendezvous: rendezvous.Rendezvous | None = None
        self._on_end: Callable[[bool], None] = lambda _: None
        self._watchdog: asyncio.Task[None] | None = None

    # CallObserver: the calls of this generation.

    def opened(
        self, call_id: str, request: StreamRequest, webhook: Callable[[ReportedEvent], None]
    ) -> None:
        """See ``CallObserver``."""
        if call_id not in self._calls:
            self._calls.add(call_id)
            self._opened(call_id)
        self._relations.opened(call_id, request, webhook)

    def lost(self, call_id: str) -> None:
        """See ``CallObserver``."""
        self._relations.lost(call_id)

    def closed(self, summary: CallSummary) -> None:
        """See ``CallObserver``."""
        self._relations.closed(summary)
        self._calls.discard(summary.call_id)
        self._closed(summary.call_id)

    def _opened(self, call_id: str) -> None:
        if self._newer is not None:
            self._newer.opened(call_id)

    def _closed(self, call_id: str) -> None:
        if self._newer is not None:
            self._newer.closed(call_id)

    def _closed_elsewhere(self, call_id: str) -> None:
        if self._service is not None:
            self._service.call_over(call_id)
        self._closed(call_id)

    def _forward(self, event: Event) -> bool:
        """Whether the event is of a call that an older generation has, which is told of it."""
        call_id = event.call_control_id
        if call_id is None or not self.older.has_call(call_id):
            return False
        try:
            encoded = msgspec.json.encode(event)
        except (RecursionError, ValueError):  # a payload nested too deep
            return False
        return self.older.tell(call_id, event.event_type, encoded)

    # The beginning.

    async def enter(self, service: Service) -> None:
        """Take the address, and learn which calls older generations have.

        Raises:
            ConfigurationError: the address cannot be had, or the older server does not answer.
        """
        self._service = service
        given = list(self._handed.sockets)
        if self._handed.older is not None:
            # What is left here is for ``failed``.
            given = await self._meet(service, self._handed.older.dup()) or given
        await service.bind(given)
        if not rendezvous.AVAILABLE:
            return
        self._name = rendezvous.name_of(service.listener.sockets)
        waiting = rendezvous.knock(self._name)
        if waiting is not None:
            try:
                for each in await self._meet(service, waiting):
                    each.close()
            except ConfigurationError as exc:
                limited.warning(
                    "older generation unknown", "%s: its calls that reconnect begin anew here", exc
                )

    async def _meet(self, service: Service, end: socket.socket) -> list[socket.socket]:
        """Know an older generation's calls and tokens; its sockets, if they are of use."""
        link, state = await self.older.meet(end)
        service.gate.adopt(state.claims)
        limited.info(
            "older generation found", "an older server goes on with %d calls", len(state.calls)
        )
        if (state.host, state.port) == (self._settings.host, self._settings.port):
            return link.sockets
        for each in link.sockets:
            each.close()
        return []

    def serving(self, on_end: Callable[[bool], None]) -> None:
        """This process listens; ``on_end(now)`` is called where a newer one says so."""
        self._on_end = on_end
        if self._handed.older is not None and self._service is not None:
            self._service.count("reloads")
            self._handed.older.close()
        self.older.ready()
        self._write_pid_file()
        systemd.notify("READY=1", f"STATUS=serving, process {os.getpid()}")
        self._watchdog = asyncio.create_task(systemd.signs_of_life())

    # The next generation.

    async def reload(self) -> None:
        """Start the next generation, and wait until it listens, or has failed."""
        assert self._service is not None
        problem = self._cannot_reload() or await self._start_next()
        if problem:
            self._service.count("reloads_failed")
            limited.error("reload failed", "reload failed, this process serves on: %s", problem)
        assert problem or self._process is not None
        successor.tell_outcome(problem or f"ok {self._process.pid if self._process else 0}")

    def _cannot_reload(self) -> str:
        if self.replaced.is_set():
            return "this process was replaced already: ask the one that serves"
        if self._newer is not None:
            return "another reload is not over yet"
        if os.getpid() == 1:
            return "the first process of a container cannot be replaced: start a new container"
        if self.older.n + 1 >= MAX_GENERATIONS:
            return f"{MAX_GENERATIONS} generations of this server still have calls"
        return ""

    async def _start_next(self) -> str:
        """What went wrong; empty where nothing did."""
        ours, theirs = socket.socketpair()
        self._newer = newer = NewerGeneration(ours, self)
        with theirs:
            try:
                self._process = process = successor.spawn(theirs)
            except OSError as exc:
                await self._forget_newer()
                return f"no process can be started: {exc.strerror}"
        limited.info("reload", "reload: process %d starts", process.pid)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(newer.settled.wait(), START_WITHIN_S)
        if newer.is_ready:
            systemd.notify(f"MAINPID={process.pid}")
            return ""
        await self._forget_newer()
        code = await asyncio.to_thread(_ended, process)
        return newer.failure or f"process {process.pid} ended with {code} before it served"

    async def _forget_newer(self) -> None:
        newer, self._newer = self._newer, None
        if newer is not None:
            await newer.close()

    def give_up_next(self) -> None:
        """This process is to end: a next generation that does not serve yet is not to."""
        if self._process is not None and not self.replaced.is_set():
            self._process.terminate()

    def wait_for_next(self) -> None:
        """Let a server that is started from now on know the calls of this one."""
        if rendezvous.AVAILABLE and self._newer is None and self._rendezvous is None:
            self._rendezvous = rendezvous.Rendezvous(self._name, self._came)

    def _came(self, end: socket.socket) -> None:
        self._rendezvous = None
        self._newer = NewerGeneration(end, self)

    # NewerHost: what it may ask.

    def listening(self) -> Sequence[socket.socket]:
        """See ``NewerHost``."""
        return self._service.listener.sockets if self._service is not None else ()

    def state(self) -> State:
        """See ``NewerHost``."""
        assert self._service is not None
        settings, calls = self._settings, self._calls | self.older.calls
        return State(
            settings.host,
            settings.port,
            settings.auth_token,
            sorted(calls),
            self._service.gate.claims,
            self.older.n + 1,
        )

    def replaced_by_newer(self) -> None:
        """See ``NewerHost``."""
        assert self._service is not None
        self._service.leave_port()
        if self._watchdog is not None:
            self._watchdog.cancel()
        limited.info(
            "replaced", "a newer server listens: %d calls go on here", self._service.n_calls
        )
        self.replaced.set()

    def take(self, passed: PassedOn, fd: int) -> None:
        """See ``NewerHost``."""
        assert self._service is not None
        self._service.take(passed, fd)

    def webhook_reported(self, event_type: str, event: bytes) -> None:
        """See ``NewerHost``."""
        if self._webhooks is not None:
            self._webhooks.dispatch(encoding.decode_event(event_type, event))

    def end_asked(self, *, now: bool) -> None:
        """See ``NewerHost``."""
        self._on_end(now)

    def newer_gone(self) -> None:
        """See ``NewerHost``."""
        self._newer = None
        if self.replaced.is_set():
            limited.warning(
                "newer generation gone", "the newer server is gone: the calls here go on"
            )
            self.wait_for_next()

    # The end.

    async def deserted(self) -> None:
        """Wait until nothing is left that this process must be there for."""
        service = self._service
        assert service is not None
        # Looked at, and not told: then a call's end has one thing less to do.
        while service.n_calls or service.n_connections or len(self.older):  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(LOOK_EVERY_S)

    async def close(self) -> None:
        """Say no more to other generations."""
        if self._watchdog is not None:
            self._watchdog.cancel()
        if self._rendezvous is not None:
            self._rendezvous.close()
        self.older.close()
        await self._forget_newer()
        self._remove_pid_file()

    def _remove_pid_file(self) -> None:
        """It may name a newer process by now."""
        path = self._settings.pid_file
        with contextlib.suppress(OSError):
            if path is not None and Path(path).read_text().strip() == str(os.getpid()):
                Path(path).unlink()

    def _write_pid_file(self) -> None:
        path = self._settings.pid_file
        if path is None:
            return
        written = Path(f"{path}.{os.getpid()}")
        try:
            written.write_text(f"{os.getpid()}\n")
            written.replace(path)
        except OSError as exc:
            limited.error(
                "pid file failed", "the pid file %s cannot be written: %s", path, exc.strerror
            )


def _ended(process: subprocess.Popen[bytes]) -> str:
    """How it ended; one that does not by itself is ended."""
    try:
        code = process.wait(5.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return "nothing: it was too slow, and is killed"
    return f"exit code {code}"
