"""The process of one worker; started by ``mediaserver.server.workers.process``, of no use alone."""

from __future__ import annotations

import socket
from functools import partial

import msgspec

from mediaserver.app.log_setup import LogProcess, set_up_logging
from mediaserver.app.loop import run_process
from mediaserver.app.runners import runners_for
from mediaserver.control import encoding
from mediaserver.errors import ConfigurationError
from mediaserver.processes import inside
from mediaserver.processes.garbage import freeze_loaded
from mediaserver.server.workers.messages import VERSION, Setup
from mediaserver.server.workers.worker import Worker

# How long, beyond the handlers' grace, a worker may outlive its parent.
ORPHAN_S = 5.0


def main(fd: int) -> None:
    """Carry calls for the process at the other end of ``fd`` until it ends."""
    end = inside.begin(fd, VERSION)
    try:
        setup = inside.first_message(end, Setup)
    except EOFError:
        return
    except msgspec.MsgspecError as exc:
        inside.fail(end, f"its settings cannot be read: {exc}")
        return
    within_s = setup.settings.handler_grace_s + ORPHAN_S
    inside.end_with_parent(end, within_s, f"mediaserver worker {setup.index}")
    try:
        settings = msgspec.structs.replace(setup.settings, log_config=setup.log_config())
        set_up_logging(settings, LogProcess("worker", setup.index))
        run_process(_work(setup, end))
    except ConfigurationError as exc:
        inside.fail(end, str(exc))


async def _work(setup: Setup, end: socket.socket) -> None:
    worker = Worker(setup, end, encoding, partial(runners_for, worker=setup.index))
    freeze_loaded()
    await worker.run()
