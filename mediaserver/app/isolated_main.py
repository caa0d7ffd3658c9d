"""The process that processor hosts are forked from; of no use alone."""

from __future__ import annotations

import asyncio
import gc
import socket
from functools import partial

import msgspec

from mediaserver.app.log_setup import LogProcess, all_handlers, set_up_logging
from mediaserver.app.loop import loop_factory, run_to_end
from mediaserver.control import encoding
from mediaserver.errors import ConfigurationError
from mediaserver.logs import LinesASecond
from mediaserver.processes import inside
from mediaserver.processes.garbage import FullCollections
from mediaserver.processors.spec import Spec
from mediaserver.server.batching import Batching
from mediaserver.server.isolation.hosted import ProcessorHost, load_isolated
from mediaserver.server.isolation.messages import VERSION
from mediaserver.server.isolation.setup import HostSetup
from mediaserver.server.isolation.spawner import Spawner
from mediaserver.settings import Settings
from telephony_codecs import status

LINES_A_SECOND = 100
# How much longer than its handlers' grace a host may outlive the server.
SLACK_S = 2.0


def main(fd: int) -> None:
    """Fork processor hosts for the process at the other end of ``fd`` until it ends."""
    end = inside.begin(fd, VERSION)
    try:
        setup = inside.first_message(end, HostSetup)
        settings = setup.settings.whole()
        set_up_logging(settings, LogProcess("spawner", setup.worker))
        specs = load_isolated(settings)
    except EOFError:
        return
    except (msgspec.MsgspecError, ConfigurationError) as exc:
        inside.fail(end, str(exc))
        return
    status()  # loads the codecs' libraries
    loop_factory()  # and the loop's
    memory_bytes = settings.host_memory_mb << 20
    host_main = partial(_host, settings, specs, setup.worker)
    Spawner(end, memory_bytes, settings.handler_grace_s, host_main).run()


def _host(
    settings: Settings,
    specs: dict[object, Spec],
    worker: int | None,
    number: int,
    end: socket.socket,
    stderr: int,
) -> None:
    """The life of one host, in its own process; its log goes to ``stderr``."""
    process = LogProcess("host", worker, number)
    set_up_logging(settings, process, stderr)
    limit_lines()
    # The spawner, which would end it, may be gone as well.
    inside.end_with_parent(end, settings.handler_grace_s + SLACK_S, process.label)
    gc.enable()
    loop = (loop_factory() or asyncio.new_event_loop)()
    asyncio.set_event_loop(loop)
    task = loop.create_task(_run(end, settings, specs))
    run_to_end(task, loop.run_until_complete)
    # What still runs is not waited for: the process ends.
    task.result()


async def _run(end: socket.socket, settings: Settings, specs: dict[object, Spec]) -> None:
    FullCollections().start()
    await ProcessorHost(end, settings, specs, encoding, Batching(settings)).run()


def limit_lines() -> None:
    """Have one limit for all handlers of this process."""
    limit = LinesASecond(LINES_A_SECOND)
    for handler in all_handlers():
        handler.addFilter(limit)
