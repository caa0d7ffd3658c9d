"""Carries a command out: one id, several tries, one deadline."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from mediaserver.control.errors import (
    ApiError,
    CommandTimeoutError,
    ControlError,
    NetworkError,
)
from mediaserver.control.rest.replies import api_error, data_of
from mediaserver.control.rest.retry import RetryPolicy
from mediaserver.control.rest.transport import Reply, Transport, TryTimeoutError
from mediaserver.figures.figures import Figures

T = TypeVar("T")


@dataclass(frozen=True)
class Command:
    """One command on its way: the same body, and so the same ``command_id``, on every try.

    Without a body it is a GET request, which changes nothing.
    """

    path: str
    body: Mapping[str, object] = field(repr=False, default_factory=dict)
    only_if_unsent: bool = False
    """Never repeated where the first try may have had an effect."""
    already: frozenset[str] = frozenset()
    """Error codes of 422 that mean: it is so already."""

    @property
    def command_id(self) -> str:
        """Telnyx's means to know a repeated command; empty of a question."""
        return str(self.body.get("command_id", ""))

    @property
    def content(self) -> bytes:
        """The body as JSON; empty of a question."""
        return msgspec.json.encode(self.body) if self.body else b""


class Commander:
    """Carries commands out over a transport.

    Args:
        transport: sends one try.
        policy: deadlines and retries.
        secrets: texts that no error may show; Telnyx's answer may quote them.
        clock: monotonic seconds.
        sleep: waits between tries.
        draw: jitter, in [0, 1).

    Attributes:
        figures: commands by outcome, how long they took, and tries beyond the first.
    """

    def __init__(
        self,
        transport: Transport,
        policy: RetryPolicy,
        *,
        secrets: tuple[str, ...],
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]],
        draw: Callable[[], float],
    ) -> None:
        self._transport = transport
        self._policy = policy
        self._secrets = secrets
        self._clock, self._sleep, self._draw = clock, sleep, draw
        self.figures: Figures = Figures()

    async def run(self, command: Command) -> dict[str, Any] | None:
        """Carry out a command with its retries.

        Returns:
            The ``data`` of Telnyx's answer, or None if things were so already.

        Raises:
            ApiError: Telnyx refused, finally.
            NetworkError: no answer (CommandTimeoutError: in time).
        """
        return await self._repeated(command, data_of)

    async def ask(self, question: Command, read: Callable[[Reply], T]) -> T:
        """Ask a question with its retries; ``read`` makes something of the answer.

        Raises:
            ApiError, NetworkError: as ``run``.
        """
        answer = await self._repeated(question, read)
        assert answer is not None, "no code means that a question is answered already"
        return answer

    async def _repeated(self, command: Command, read: Callable[[Reply], T]) -> T | None:
        began, outcome = self._clock(), "abandoned"
        try:
            done = await self._tried(command, read, began)
            outcome = "ok" if done is not None else "already"
            return done
        except ControlError as error:
            outcome = _outcome(error)
            raise
        finally:
            self.figures.add("commands_total", 1, outcome)
            self.figures.observe("command_seconds", self._clock() - began)

    async def _tried(self, command: Command, read: Callable[[Reply], T], began: float) -> T | None:
        """Try until it is done, or must be given up."""
        n_tries = 0
        while True:
            n_tries += 1
            try:
                return await self._try(command, read, self._clock() - began)
            except ControlError as error:
                elapsed_s = self._clock() - began
                wait_s = self._policy.wait_s(
                    error, n_tries, elapsed_s, self._draw, only_if_unsent=command.only_if_unsent
                )
                if wait_s is None:
                    raise
            await self._sleep(wait_s)
            self.figures.add("command_retries_total", 1)

    async def _try(
        self, command: Command, read: Callable[[Reply], T], elapsed_s: float
    ) -> T | None:
        left_s = self._policy.deadline_s - elapsed_s
        limit_s = min(self._policy.try_s, left_s)
        try:
            if limit_s <= 0:
                raise TryTimeoutError("the deadline has passed", sent=True)
            method = "POST" if command.body else "GET"
            reply = await self._transport.send(method, command.path, command.content, limit_s)
        except NetworkError as error:
            is_last = isinstance(error, TryTimeoutError) and limit_s == left_s
            kind = CommandTimeoutError if is_last else NetworkError
            raise kind(error.reason, sent=error.sent, command_id=command.command_id) from error
        if reply.status < 300:
            return read(reply)
        refusal = api_error(reply, command.command_id, self._secrets_of(command))
        is_about_state = refusal.status == 422
        if is_about_state and any(each.code in command.already for each in refusal.problems):
            return None
        raise refusal

    def _secrets_of(self, command: Command) -> tuple[str, ...]:
        """What an answer that quotes the request must not carry into an error."""
        token = command.body.get("stream_auth_token")
        return (*self._secrets, token) if isinstance(token, str) else self._secrets


def _outcome(error: ControlError) -> str:
    """The word for a failure; see ``commands_total``."""
    if isinstance(error, CommandTimeoutError):
        return "timeout"
    if isinstance(error, ApiError):
        if error.status == 429:
            return "rate_limit"
        return "server_error" if error.status >= 500 else "refused"
    return "network"


def new_command_id() -> str:
    """A name for a command that no other has."""
    return str(uuid.uuid4())
