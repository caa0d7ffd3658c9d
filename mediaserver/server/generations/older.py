"""Older generations of this server, which finish their calls, as this one sees them."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable
from typing import Any

from mediaserver.errors import ConfigurationError
from mediaserver.logs import LimitedLog, shown
from mediaserver.processes.channel import Channel, send_blocking
from mediaserver.server.generations.messages import (
    VERSION,
    CallClosed,
    CallOpened,
    Drain,
    End,
    Failed,
    FromOlder,
    Hello,
    Listening,
    PassedOn,
    Ready,
    State,
    WebhookReported,
)
from mediaserver.tokens import TokenGate

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

# For the first words; an older generation that is busy with its calls answers in milliseconds.
MEET_WITHIN_S = 10.0


class OlderGeneration:
    """One of them, and the calls that it has, or that are behind it.

    **Call ``meet``; then, when this process listens, ``ready``.**

    Args:
        end: a connected Unix socket; it is this object's own from now on.
        opened: told of each call that begins there.
        closed: told of each that is over.

    Attributes:
        calls: ids of the calls.
        sockets: what it listened on, for this process.
        n: how many generations it stands for.
        gone: it has ended.
    """

    def __init__(
        self, end: socket.socket, opened: Callable[[str], None], closed: Callable[[str], None]
    ) -> None:
        self.calls: set[str] = set()
        self.sockets: list[socket.socket] = []
        self.n: int = 1
        self.gone: asyncio.Event = asyncio.Event()
        self._opened = opened
        self._closed = closed
        self._gate: TokenGate | None = None
        self._met: asyncio.Future[State] = asyncio.get_running_loop().create_future()
        self._channel = Channel(end, FromOlder, self._received, self._over, "the older server")

    async def meet(self) -> State:
        """Ask what it has; its calls are known from then on.

        Raises:
            ConfigurationError: it does not answer.
        """
        self._channel.send(Hello(VERSION))
        try:
            return await asyncio.wait_for(self._met, MEET_WITHIN_S)
        except (TimeoutError, ConnectionError) as exc:
            self.leave()
            raise ConfigurationError("the older server does not answer") from exc

    def ready(self) -> None:
        """This process listens: the older one need not any more."""
        self._channel.send(Ready())

    def accepts(self, token: str) -> bool:
        """Whether one of its calls may have this token."""
        now = time.time()
        return self._gate is not None and self._gate.looks_valid(token, now)

    def pass_on(self, passed: PassedOn, fd: int) -> None:
        """Give it a socket of one of its calls; ``fd`` is closed here."""
        self._channel.send(passed, fd)

    def tell(self, event_type: str, event: bytes) -> None:
        """Give it a webhook's event."""
        self._channel.send(WebhookReported(event_type, event))

    def end(self, *, now: bool) -> None:
        """Have it end its calls: within its ``drain_s``, or now."""
        self._channel.send(End() if now else Drain())

    def leave(self) -> None:
        """Say no more, and forget its calls."""
        self._channel.close()
        self._over()

    def _received(self, message: Any, fd: int | None) -> None:
        match message:
            case Listening() if fd is not None:
                self.sockets.append(socket.socket(fileno=fd))
                return
            case State():
                self.calls.update(message.calls)
                self.n = message.n_generations
                if message.secret is not None:
                    self._gate = TokenGate(message.secret)
                    self._gate.adopt(message.claims)
                if not self._met.done():
                    self._met.set_result(message)
            case CallOpened():
                self.calls.add(message.call_id)
                self._opened(message.call_id)
            case CallClosed():
                self.calls.discard(message.call_id)
                self._closed(message.call_id)
        if fd is not None:
            os.close(fd)

    def _over(self) -> None:
        if self.gone.is_set():
            return
        self.gone.set()
        if not self._met.done():
            self._met.set_exception(ConnectionError())
            self._met.exception()  # nobody may wait for it any more
        calls, self.calls = self.calls, set()
        for call_id in calls:
            text = "call %s was lost with the older server"
            limited.warning("calls lost with a generation", text, shown(call_id), call=call_id)
            self._closed(call_id)


class Older:
    """All older generations of this one; an ``OlderGenerations``.

    Args:
        closed: told of each of their calls that is over.
        opened: told of each that begins there.
    """

    def __init__(self, opened: Callable[[str], None], closed: Callable[[str], None]) -> None:
        self._opened = opened
        self._closed = closed
        self._links: list[OlderGeneration] = []

    async def meet(self, end: socket.socket) -> tuple[OlderGeneration, State]:
        """One more; what it has.

        Raises:
            ConfigurationError: it does not answer.
        """
        link = OlderGeneration(end, self._opened, self._closed)
        state = await link.meet()
        self._links.append(link)
        return link, state

    @property
    def calls(self) -> set[str]:
        """Ids of their calls."""
        return set().union(*(link.calls for link in self._links))

    @property
    def n(self) -> int:
        """How many of them have not ended."""
        return sum(link.n for link in self._links if not link.gone.is_set())

    def __len__(self) -> int:
        return sum(len(link.calls) for link in self._links)

    def has_call(self, call_id: str) -> bool:
        """See ``OlderCalls``."""
        return self._of(call_id) is not None

    def accepts(self, token: str) -> bool:
        """See ``OlderCalls``."""
        return any(link.accepts(token) for link in self._links if link.calls)

    def pass_on(self, passed: PassedOn, fd: int) -> None:
        """See ``OlderGenerations``."""
        link = self._of(passed.call_id)
        if link is None:
            os.close(fd)
        else:
            link.pass_on(passed, fd)

    def tell(self, call_id: str, event_type: str, event: bytes) -> bool:
        """Give a webhook's event to the generation that has its call; False if none has."""
        link = self._of(call_id)
        if link is None:
            return False
        link.tell(event_type, event)
        return True

    def ready(self) -> None:
        """This process listens."""
        for link in self._links:
            link.ready()

    def end(self, *, now: bool) -> None:
        """Have them end their calls: within their ``drain_s``, or now."""
        for link in self._links:
            link.end(now=now)

    async def ended(self) -> None:
        """Wait until all of them have."""
        for link in self._links:
            await link.gone.wait()

    def close(self) -> None:
        """Say no more."""
        for link in self._links:
            link.leave()

    def _of(self, call_id: str) -> OlderGeneration | None:
        return next((link for link in self._links if call_id in link.calls), None)


def say_failed(end: socket.socket, reason: str) -> None:
    """Tell an older generation, which has been met or not, why this process cannot serve."""
    try:
        send_blocking(end, Failed(reason))
    except OSError:
        limited.info("older generation gone", "the older server is gone")
