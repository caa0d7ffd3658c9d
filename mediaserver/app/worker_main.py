"""The process of one worker; started by ``mediaserver.server.workers.process``, of no use alone."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable

from mediaserver.app.loop import loop_factory
from mediaserver.errors import ConfigurationError
from mediaserver.server.workers.channel import receive_first, send_last
from mediaserver.server.workers.messages import Failed, Setup
from mediaserver.server.workers.worker import Worker
from mediaserver.settings import Settings

# How long, beyond the handlers' grace, a worker may outlive its parent.
ORPHAN_S = 5.0


def main(fd: int) -> None:
    """Carry calls for the process at the other end of ``fd`` until it ends."""
    # The terminal signals the whole group: what it means is for the parent to say. Handlers,
    # for SIG_IGN would be inherited by programs that a processor starts.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    # The parent asks for this before it kills a worker that hangs: in which line does it?
    if sys.stderr is not None:
        faulthandler.register(signal.SIGUSR1)
    end = socket.socket(fileno=fd)
    end.set_inheritable(False)
    try:
        setup: Setup = receive_first(end)
    except EOFError:
        return
    except Exception as exc:  # unpickling imports the processors: whatever that raises
        send_last(end, Failed(f"cannot import a processor: {type(exc).__name__}: {exc}"))
        return
    logging.basicConfig(
        level=setup.settings.log_level.upper(),
        format=f"%(asctime)s %(levelname)s worker {setup.index} %(name)s: %(message)s",
    )
    give_up_s = setup.settings.handler_grace_s + ORPHAN_S
    threading.Thread(target=_outlive, args=(fd, give_up_s), daemon=True).start()
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(_work(setup, end))
    except ConfigurationError as exc:
        send_last(end, Failed(str(exc)))


async def _work(setup: Setup, end: socket.socket) -> None:
    hangup, close = _control(setup.settings)
    worker = Worker(setup, end, hangup)
    try:
        await worker.run()
    finally:
        await close()


def _control(
    settings: Settings,
) -> tuple[Callable[[str], Awaitable[object]] | None, Callable[[], Awaitable[None]]]:
    """How to hang up, and how to end that; loaded now, as it would hold up calls later."""

    async def nothing() -> None:
        """There is nothing to end."""

    if settings.api_key is None and settings.public_keys is None:
        return None, nothing  # a third of a second and some megabytes are spared
    from mediaserver.control.client import client_from

    client = client_from(settings)
    return (None, nothing) if client is None else (client.calls.actions.hangup, client.aclose)


def _outlive(fd: int, for_s: float) -> None:
    """End this process if it hangs while its parent is gone: nobody else would."""
    poll = select.poll()
    poll.register(fd, 0)  # only the hang-up is reported
    poll.poll()
    time.sleep(for_s)
    print("mediaserver worker: hangs without its parent, gives up", file=sys.stderr, flush=True)
    os._exit(1)
