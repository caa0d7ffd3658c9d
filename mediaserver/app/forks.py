"""Forked media alone, without a server for streams."""

from __future__ import annotations

from collections import Counter
from types import TracebackType

from mediaserver.app.runners import runners_for
from mediaserver.app.signals import StopSignals
from mediaserver.observer import CallSummary
from mediaserver.server.calls.registry import CallRegistry
from mediaserver.server.calls.session import Session
from mediaserver.server.fork.receiver import Forks
from mediaserver.settings import Settings

HURRY_S = 0.4


class ForkReceiver:
    """Receives forks that somebody else starts, and runs the processors of the settings on them.

    Use it as an async context manager; `listen` opens the ports::

        async with ForkReceiver(Settings(fork_ports="20000-20009")) as receiver:
            for rx, tx in receiver.listen():
                print(rx, tx)

    Args:
        settings: see ``Settings``; ``fork_ports`` at least.

    Attributes:
        forks: hands out ports, too: ``forks.open(call_control_id)``.
        ended: the calls that have ended, the last 1000.

    Raises:
        ConfigurationError: a setting cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._calls = CallRegistry(settings, self, runners=runners_for(settings))
        self.forks: Forks = Forks(settings, self._calls)
        self._is_hurried = False

    @property
    def counters(self) -> Counter[str]:
        """What happened how often; the names are in ``mediaserver.counters``."""
        return self._calls.counters

    @property
    def n_calls(self) -> int:
        """Live calls."""
        return len(self._calls.sessions)

    def listen(self) -> list[tuple[int, int]]:
        """Open all ports; see ``Forks.listen``."""
        return self.forks.listen()

    async def __aenter__(self) -> ForkReceiver:
        await self._calls.start()
        try:
            await self.forks.start()
        except BaseException:  # a cancellation as well
            await self._calls.close()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.forks.close()
        await self._calls.close(HURRY_S if self._is_hurried else None)

    async def run(self) -> None:
        """Receive until SIGTERM or SIGINT; a second one ends it within two seconds."""
        signals = StopSignals(lambda: None)
        signals.listen()
        try:
            await signals.stop.wait()
        finally:
            self._is_hurried = signals.now.is_set()
            signals.close()

    # CallsFollower: nobody else follows these calls.

    def call_opened(self, session: Session) -> None:
        """A call has begun."""

    def call_lost(self, call_id: str) -> None:
        """There is no socket that could be lost."""

    def call_closed(self, summary: CallSummary, *, over: bool) -> None:
        """A call has ended."""
