"""What the two kinds of media service have in common, and what their users may call."""

from __future__ import annotations

import asyncio
import logging
import socket
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from mediaserver.logs import LimitedLog
from mediaserver.server.handover.passing import NoOlderGenerations, OlderGenerations, PassedOn
from mediaserver.server.load import LoadGuard
from mediaserver.settings import Settings
from mediaserver.tokens import TokenGate

if TYPE_CHECKING:  # a worker has use for this module, and none for a web server
    from mediaserver.server.handover.arrival import Arrival
    from mediaserver.server.listener import Listening

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

# What the first of these counts means for whoever runs the server.
EXPLAINED = {
    "refused_origin": "a socket was refused because it came from a web page (it sent `Origin`)."
    " If that page may connect, name its origin in `allowed_origins`",
    "no_pong": "this peer does not answer pings: if one like it vanishes, the call goes on until"
    " nothing has come for 60 s",
    "cut_ringing": "a socket was closed that had waited for `start` for `start_without_token_s`."
    " If that was an outgoing call that still rang, set `auth_token`: then it may ring for"
    " `start_within_s`",
}
# For handlers, where the server ends in a hurry.
HURRY_S = 0.4


Answered = list[tuple[int | None, bytes]]
"""Answers to a question, each with the number of its worker."""


class Service(Protocol):
    """The media side of a server; ``MediaServer.service`` is one."""

    @property
    def port(self) -> int:
        """The TCP port it listens on."""

    @property
    def counters(self) -> Counter[str]:
        """What happened how often; the names are in ``mediaserver.counters``."""

    @property
    def n_calls(self) -> int:
        """Live calls."""

    @property
    def n_connections(self) -> int:
        """Media connections."""

    @property
    def is_able(self) -> bool:
        """A new call can be carried."""

    @property
    def draining(self) -> bool:
        """No new calls are taken."""

    @property
    def status(self) -> str:
        """``ready``, or why no new call is taken now, as ``/readyz`` says it."""

    @property
    def pids(self) -> dict[str, int]:
        """The processes that carry calls and this one, by name; no processor hosts."""

    @property
    def worker_states(self) -> list[str]:
        """Of each worker: ``starting``, ``able``, ``late`` or ``suspected``."""

    async def ask(self, what: str, argument: str = "", worker: int | None = None) -> Answered:
        """What each process that carries calls knows by this word of ``answers_of``.

        With each answer the number of its worker; None: this process itself. Empty: there is no
        such word. A worker that does not answer within a second is left out. ``argument`` is
        for the words that take one; ``worker``: ask this one only.
        """

    def drain(self) -> None:
        """Take no new calls; live ones go on, and may come back with another socket."""

    async def drained(self) -> None:
        """Wait until no call is left; when ``drain_s`` is over, do what ``drain_end`` says."""

    @property
    def listener(self) -> Listening:
        """Where it listens."""

    @property
    def gate(self) -> TokenGate:
        """What is known of tokens."""

    def count(self, name: str) -> None:
        """One more of ``name``."""

    def call_over(self, call_id: str) -> None:
        """An older generation's call has ended: its tokens have their grace."""

    def take(self, passed: PassedOn, fd: int) -> None:
        """Go on with a stream of a call of ours that a newer generation has read so far."""

    def leave_port(self) -> None:
        """Listen no more, so that another process can; what is connected goes on."""

    async def bind(self, given: Sequence[socket.socket] = ()) -> None:
        """Take the address; ``MediaServer`` does it.

        Raises:
            ConfigurationError: it cannot be had.
        """

    async def start(self) -> None:
        """Listen; ``MediaServer`` does it.

        Raises:
            ConfigurationError: the address cannot be listened on, or a worker does not start.
        """

    async def close(self, *, hurry: bool = False) -> None:
        """End everything now; ``MediaServer`` does it.

        ``hurry``: handlers have ``HURRY_S`` instead of their grace.
        """

    def abort(self) -> None:
        """End all processes but this one, at once; from any thread."""


class ServiceBase(ABC):
    """The drain, and what is said once.

    Args:
        settings: see ``Settings``.
        elsewhere: calls that older generations have.

    Attributes:
        draining: no new calls are taken.
        elsewhere: as above.
        listener: where it listens.
    """

    listener: Listening

    def __init__(self, settings: Settings, elsewhere: OlderGenerations | None = None) -> None:
        self.settings = settings
        self.elsewhere: OlderGenerations = NoOlderGenerations() if elsewhere is None else elsewhere
        self.draining: bool = False
        self._load = LoadGuard(settings, self)
        self._explained: set[str] = set()

    @property
    @abstractmethod
    def n_calls(self) -> int:
        """Live calls."""

    @property
    def overload(self) -> str:
        """Why new calls must wait; see ``LoadGuard``."""
        return self._load.why

    @property
    @abstractmethod
    def is_late(self) -> bool:
        """No process that could carry a new call is in time."""

    @property
    @abstractmethod
    def resident_bytes(self) -> int:
        """Memory of all processes."""

    @abstractmethod
    def count(self, name: str) -> None:
        """One more of ``name``."""

    @abstractmethod
    def _tell_draining(self) -> None:
        """Tell live calls that the server wants to end."""

    def explain(self, name: str) -> None:
        """Something was counted: say once what it means, if somebody should know."""
        if name in EXPLAINED and name not in self._explained:
            self._explained.add(name)
            limited.each(logging.WARNING, f"explained {name}", EXPLAINED[name])

    def leave_port(self) -> None:
        """See ``Service``."""
        self.listener.leave_port()

    def pass_on(self, arrival: Arrival, call_id: str) -> None:
        """Give a socket to the older generation that has its call."""
        if not self.elsewhere.has_call(call_id):
            arrival.refuse(1013, "try again later: the call has ended")
            return
        passed = arrival.passed_on(call_id)
        try:
            fd = arrival.release()
        except OSError as exc:
            arrival.refuse(1013, f"try again later: {exc.strerror}")
            return
        self.listener.forget(arrival.connection)
        self.count("passed_on")
        self.elsewhere.pass_on(passed, fd)

    @abstractmethod
    async def _emptied(self) -> None:
        """Wait until no call is left."""

    def drain(self) -> None:
        """See ``Service``."""
        if self.draining:
            return
        self.draining = True
        limited.each(logging.INFO, "draining", "draining: %d calls go on", self.n_calls)
        self._tell_draining()

    @abstractmethod
    async def _hang_up_all(self) -> None:
        """Hang up the phone calls of all live calls, within a few seconds."""

    async def drained(self) -> None:
        """See ``Service``."""
        try:
            await asyncio.wait_for(self._emptied(), self.settings.drain_s)
        except TimeoutError:
            leave = self.settings.drain_end == "leave"
            what = "cut, their phone calls stay up" if leave else "hung up"
            text = "drain time is over: %d calls are %s"
            limited.each(logging.WARNING, "drain time over", text, self.n_calls, what)
            if not leave:
                await self._hang_up_all()
