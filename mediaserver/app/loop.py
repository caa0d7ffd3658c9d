"""The event loop that everything runs on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Coroutine
from typing import Any

from mediaserver.interrupts import is_operators
from mediaserver.logs import LimitedLog

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's event loop where there is one."""
    try:
        import uvloop
    except ImportError:  # pragma: no cover - Windows
        return None
    return uvloop.new_event_loop


def run_process(main: Coroutine[Any, Any, None]) -> None:
    """Run a process of ours to its end, whatever the tasks of users' code raise.

    Out of a task of their own, or a callback, a SystemExit or KeyboardInterrupt ends the loop
    where it stands, and all calls with it. Here the loop goes on. What ``main`` raises itself is
    raised, and what an operator's signal does is done. Behind ``main`` a signal ends the process
    at once: users' code may keep it from ending by itself.
    """
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        task = runner.get_loop().create_task(main)
        run_to_end(task, runner.run)
        code = 1 if task.cancelled() or task.exception() else 0
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: os._exit(code))
        task.result()


def run_to_end(
    task: asyncio.Task[None], run: Callable[[Coroutine[Any, Any, None]], object]
) -> None:
    """Run a task to its end, whatever other tasks of its loop raise; ``run`` runs the loop."""
    while not task.done():
        try:
            run(_end_of(task))
        except (SystemExit, KeyboardInterrupt) as exc:
            if task.done() or is_operators(exc):
                raise
            text = "a task or callback of users' code failed"
            limited.error("tasks that failed", text, exc_info=exc)


async def _end_of(task: asyncio.Task[None]) -> None:
    with contextlib.suppress(Exception):  # the task has it
        await task
