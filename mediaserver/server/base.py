"""What the two kinds of media service have in common, and what their users may call."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import Counter
from typing import Protocol

from mediaserver.settings import Settings

logger = logging.getLogger(__name__)

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

    def drain(self) -> None:
        """Take no new calls; live ones go on, and may come back with another socket."""

    async def drained(self) -> None:
        """Wait until no call is left; when ``drain_s`` is over, do what ``drain_end`` says."""

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

    Attributes:
        draining: no new calls are taken.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.draining: bool = False
        self._explained: set[str] = set()

    @property
    @abstractmethod
    def n_calls(self) -> int:
        """Live calls."""

    @abstractmethod
    def _tell_draining(self) -> None:
        """Tell live calls that the server wants to end."""

    def explain(self, name: str) -> None:
        """Something was counted: say once what it means, if somebody should know."""
        if name in EXPLAINED and name not in self._explained:
            self._explained.add(name)
            logger.warning(EXPLAINED[name])

    @abstractmethod
    async def _emptied(self) -> None:
        """Wait until no call is left."""

    def drain(self) -> None:
        """See ``Service``."""
        if self.draining:
            return
        self.draining = True
        logger.info("draining: %d calls go on", self.n_calls)
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
            logger.warning("drain time is over: %d calls are %s", self.n_calls, what)
            if not leave:
                await self._hang_up_all()
