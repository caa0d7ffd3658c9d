"""Ending phone calls: the stream at once, the call by a command that outlives the session."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol

from mediaserver.logs import LimitedLog, shown
from mediaserver.observer import ReportedEvent
from mediaserver.server.calls.audio.outbound import Outbound

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

Perform = Callable[[str, str, Sequence[Any], Mapping[str, Any]], Awaitable[Any]]
"""Commands a phone call by REST: its id, the control client's method, what that is given.

What comes back, and what is raised, are the control client's.
"""

# At the server's end: for commands under way.
COMMANDS_WITHIN_S = 5.0


class ControlEncoding(Protocol):
    """What the two sides must know of the control client's values; ``control.encoding`` does."""

    def encode_arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
        """What a command is given; raises where it cannot be."""

    def decode_arguments(self, encoded: bytes) -> tuple[list[Any], dict[str, Any]]:
        """The arguments that were encoded."""

    def encode_result(self, result: Any) -> bytes:
        """What a command has come to."""

    def decode_result(self, encoded: bytes) -> Any:
        """The result that was encoded."""

    def encode_error(self, error: Exception) -> bytes:
        """Why a command failed."""

    def decode_error(self, encoded: bytes) -> Exception:
        """The error that was encoded."""

    def no_answer(self, reason: str) -> Exception:
        """The error of a command of which it is not known whether it was carried out."""

    def decode_event(self, event_type: str, encoded: bytes) -> ReportedEvent:
        """The event of a webhook."""


class HangableCall(Protocol):
    """What is to be known of a call that is hung up."""

    @property
    def call_id(self) -> str:
        """Its id."""

    @property
    def outbound(self) -> Outbound:
        """Its outbound half."""

    @property
    def is_hung_up(self) -> bool:
        """Telnyx has reported that the phone call is over."""

    def end(self, reason: str) -> None:
        """End its media."""


class HangUps:
    """Hangs up phone calls.

    Args:
        command: ends a phone call by REST; None where there is no control client.
    """

    def __init__(self, command: Callable[[str], Awaitable[object]] | None) -> None:
        self._command = command
        self._tasks: set[asyncio.Task[None]] = set()
        # Commands under way: a call that is hung up twice is sent one.
        self._commands: dict[str, asyncio.Task[None]] = {}

    def start(self, call: HangableCall, *, after_playout: bool, reason: str) -> None:
        """As ``hang_up``, without waiting; what goes wrong is logged."""
        self._run(self._logged(call, after_playout=after_playout, reason=reason))

    async def hang_up(self, call: HangableCall, *, after_playout: bool, reason: str) -> None:
        """End the stream now, or once all accepted plays were heard; then the phone call.

        Raises:
            ControlError: Telnyx did not take the command.
        """
        if after_playout:
            await call.outbound.played_out()
        call.end(reason)
        if call.is_hung_up:
            return
        if self._command is None:
            text = "call %s: its stream ends, and the phone call stays up: there is no API key"
            limited.warning("calls left up", text, shown(call.call_id), call=call.call_id)
            return
        command = self._commands.get(call.call_id)
        if command is None:
            command = self._run(self._send(self._command, call.call_id))
            self._commands[call.call_id] = command
        # It is carried out, also where the handler that waits for it is cancelled.
        await asyncio.shield(command)

    async def closed(self) -> None:
        """Wait for commands under way, for a few seconds."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=COMMANDS_WITHIN_S)
        for call_id in self._commands:
            text = "call %s: no answer to its hang-up: it may be up"
            limited.error("hang-ups without an answer", text, shown(call_id), call=call_id)
        for task in self._tasks:
            task.cancel()

    async def _send(self, command: Callable[[str], Awaitable[object]], call_id: str) -> None:
        try:
            await command(call_id)
        except Exception as exc:  # said here: whoever waited may have been cancelled
            text = "call %s could not be hung up: %s"
            limited.error("calls not hung up", text, shown(call_id), shown(exc, 400), call=call_id)
            raise
        finally:
            del self._commands[call_id]

    async def _logged(self, call: HangableCall, *, after_playout: bool, reason: str) -> None:
        with contextlib.suppress(Exception):  # it was logged, and there is nobody to raise it to
            await self.hang_up(call, after_playout=after_playout, reason=reason)

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen: nobody may be waiting for it any more
