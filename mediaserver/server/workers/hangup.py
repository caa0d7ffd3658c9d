"""Hanging up for a call in a worker: the worker asks its parent, which has the control client.

A bot sees the errors that it would see in a single process.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from mediaserver.observer import ReportedEvent
from mediaserver.server.workers.messages import HangUp, HungUp
from mediaserver.shown import shown

logger = logging.getLogger(__name__)

# At the server's end.
COMMANDS_WITHIN_S = 5.0
# More than the control client's own deadline, which brings a better answer.
ANSWER_WITHIN_S = 40.0


class ControlDecoder(Protocol):
    """What a worker must know of the control client's values; ``control.encoding`` does."""

    def decode_event(self, event_type: str, encoded: bytes) -> ReportedEvent:
        """The event of a webhook."""

    def decode_error(self, encoded: bytes) -> Exception:
        """Why a command failed."""

    def no_answer(self, reason: str) -> Exception:
        """The error of a command of which it is not known whether it was carried out."""


class HangUpRequests:
    """The worker's side: its requests, each of which ends.

    Args:
        send: sends a request.
        decoder: makes the errors.
    """

    def __init__(self, send: Callable[[HangUp], None], decoder: ControlDecoder) -> None:
        self._send = send
        self._decoder = decoder
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[HungUp]] = {}
        self._closed = ""

    async def hangup(self, call_id: str) -> None:
        """Have the parent end a phone call.

        Raises:
            Exception: as the control client; its "no answer" too where the parent gave none.
        """
        if self._closed:
            raise self._decoder.no_answer(self._closed)
        number = next(self._numbers)
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            self._send(HangUp(number, call_id))
            answer = await asyncio.wait_for(waiting, ANSWER_WITHIN_S)
        except TimeoutError:
            raise self._decoder.no_answer("the server's main process is silent") from None
        finally:
            del self._waiting[number]
        if answer.error is not None:
            raise self._decoder.decode_error(answer.error)

    def answered(self, answer: HungUp) -> None:
        """From the parent."""
        waiting = self._waiting.get(answer.request)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def close(self, reason: str) -> None:
        """There will be no more answers."""
        self._closed = self._closed or reason
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(self._decoder.no_answer(reason))


class HangUpAnswers:
    """The parent's side: carries requests out.

    Args:
        hangup: ends a phone call by REST.
        encode_error: encodes what that raises.
    """

    def __init__(
        self,
        hangup: Callable[[str], Awaitable[object]],
        encode_error: Callable[[Exception], bytes],
    ) -> None:
        self._hangup = hangup
        self._encode_error = encode_error
        self._tasks: set[asyncio.Task[None]] = set()

    def requested(self, request: HangUp, answer: Callable[[HungUp], None]) -> None:
        """A worker asks; ``answer`` is called later with what became of it."""
        task = asyncio.get_running_loop().create_task(self._carry_out(request, answer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def hang_up_all(self, call_ids: Iterable[str]) -> None:
        """End these phone calls, within a few seconds; what goes wrong is logged."""

        async def hang_up(call_id: str) -> None:
            try:
                await self._hangup(call_id)
            except Exception as exc:  # whatever the client raises: nobody else is told
                logger.error("call %s could not be hung up: %s", shown(call_id), shown(exc, 400))

        tasks = [asyncio.create_task(hang_up(call_id)) for call_id in call_ids]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=COMMANDS_WITHIN_S)
            for task in late:
                task.cancel()

    async def close(self) -> None:
        """Carry out no more."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _carry_out(self, request: HangUp, answer: Callable[[HungUp], None]) -> None:
        error = None
        try:
            await self._hangup(request.call_id)
        except Exception as exc:  # whatever it is, the bot is to see it
            error = self._encode_error(exc)
        answer(HungUp(request.request, error))
