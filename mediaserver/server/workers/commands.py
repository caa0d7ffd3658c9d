"""Commands of calls in a worker: the worker asks its parent, which has the control client.

A bot sees the results and errors that it would see in a single process.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mediaserver.logs import LimitedLog, shown
from mediaserver.server.calls.hangups import ControlEncoding, Perform
from mediaserver.server.workers.messages import Abandoned, Command, Commanded

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

# At the server's end.
COMMANDS_WITHIN_S = 5.0
# More than the control client's own deadline, which brings a better answer.
ANSWER_WITHIN_S = 40.0


class CommandRequests:
    """The worker's side: sends requests; each ends with a result or an error.

    Args:
        send: sends a request, or the message that nobody waits for one any more.
        encoding: of arguments, results and errors.
    """

    def __init__(
        self, send: Callable[[Command | Abandoned], None], encoding: ControlEncoding
    ) -> None:
        self._send = send
        self._encoding = encoding
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Commanded]] = {}
        self._closed = ""

    async def perform(
        self, call_id: str, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        """Have the parent carry out a command; see ``Perform``.

        Raises:
            Exception: as the control client; its "no answer" too where the parent gave none.
        """
        if self._closed:
            raise self._encoding.no_answer(self._closed)
        command = Command(
            next(self._numbers), call_id, method, self._encoding.encode_arguments(args, kwargs)
        )
        answer = await self._answer(command)
        if answer.error is not None:
            raise self._encoding.decode_error(answer.error)
        return self._encoding.decode_result(answer.result)

    async def _answer(self, command: Command) -> Commanded:
        number = command.request
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            self._send(command)
            return await asyncio.wait_for(waiting, ANSWER_WITHIN_S)
        except TimeoutError:
            raise self._encoding.no_answer("the server's main process is silent") from None
        except asyncio.CancelledError:
            if not self._closed:
                self._send(Abandoned(number))
            raise
        finally:
            del self._waiting[number]

    def answered(self, answer: Commanded) -> None:
        """From the parent."""
        waiting = self._waiting.get(answer.request)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def close(self, reason: str) -> None:
        """There will be no more answers."""
        self._closed = self._closed or reason
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(self._encoding.no_answer(reason))


Answer = Callable[[Commanded], None]


class CommandAnswers:
    """The parent's side: carries requests out.

    Args:
        perform: carries out a command; refuses one that does not exist.
        encoding: of arguments, results and errors.
    """

    def __init__(self, perform: Perform, encoding: ControlEncoding) -> None:
        self._perform = perform
        self._encoding = encoding
        # Each worker counts its requests for itself, and has a way back of its own.
        self._tasks: dict[tuple[Answer, int], asyncio.Task[None]] = {}

    def requested(self, request: Command, answer: Answer) -> None:
        """A worker asks; ``answer`` is called later with what became of it."""
        key = (answer, request.request)
        task = asyncio.get_running_loop().create_task(self._carry_out(request, answer))
        self._tasks[key] = task
        task.add_done_callback(lambda _: self._tasks.pop(key, None))

    def abandoned(self, request: int, answer: Answer) -> None:
        """Nobody waits for it any more: it is not tried again."""
        task = self._tasks.get((answer, request))
        if task is not None:
            task.cancel()

    async def hang_up_all(self, call_ids: Iterable[str]) -> None:
        """End these phone calls, within a few seconds; what goes wrong is logged."""

        async def hang_up(call_id: str) -> None:
            try:
                await self._perform(call_id, "hangup", (), {})
            except Exception as exc:  # whatever the client raises: nobody else is told
                text = "call %s could not be hung up: %s"
                shown_id, why = shown(call_id), shown(exc, 400)
                limited.error("calls not hung up", text, shown_id, why, call=call_id)

        tasks = [asyncio.create_task(hang_up(call_id)) for call_id in call_ids]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=COMMANDS_WITHIN_S)
            for task in late:
                task.cancel()

    async def close(self) -> None:
        """Carry out no more."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _carry_out(self, request: Command, answer: Answer) -> None:
        result, error = b"", None
        try:
            args, kwargs = self._encoding.decode_arguments(request.arguments)
            done = await self._perform(request.call_id, request.method, args, kwargs)
            result = self._encoding.encode_result(done)
        except Exception as exc:  # whatever it is, the bot is to see it
            error = self._encoding.encode_error(exc)
        answer(Commanded(request.request, result, error))
