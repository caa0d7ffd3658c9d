"""The process that processor hosts are forked from; of no use alone."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
from functools import partial

import msgspec

from mediaserver.app.log_setup import set_up_logging
from mediaserver.app.loop import loop_factory
from mediaserver.control import encoding
from mediaserver.errors import ConfigurationError
from mediaserver.processes import inside
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
        _set_up_logging(settings, "processor hosts")
        specs = load_isolated(settings)
    except EOFError:
        return
    except (msgspec.MsgspecError, ConfigurationError) as exc:
        inside.fail(end, str(exc))
        return
    status()  # loads the codecs' libraries
    loop_factory()  # and the loop's
    memory_bytes = settings.host_memory_mb << 20
    Spawner(end, memory_bytes, settings.handler_grace_s, partial(_host, settings, specs)).run()


def _host(settings: Settings, specs: dict[object, Spec], number: int, end: socket.socket) -> None:
    """The life of one host, in its own process."""
    name = f"processor host {number}"
    _set_up_logging(settings, name)
    # The spawner, which would end it, may be gone as well.
    inside.end_with_parent(end, settings.handler_grace_s + SLACK_S, name)
    gc.enable()
    loop = (loop_factory() or asyncio.new_event_loop)()
    asyncio.set_event_loop(loop)
    # What still runs then is not waited for: the process ends.
    loop.run_until_complete(_run(end, settings, specs))


async def _run(end: socket.socket, settings: Settings, specs: dict[object, Spec]) -> None:
    await ProcessorHost(end, settings, specs, encoding, Batching(settings)).run()


class LineLimit(logging.Filter):
    """Lets so many lines a second through; how many were left out, the next one says.

    What a plugin floods its log with would else fill the server's. One may be the filter of
    several handlers: each line counts once.
    """

    def __init__(self, lines_a_second: int = LINES_A_SECOND) -> None:
        super().__init__()
        self._most = lines_a_second
        self._second = 0
        self._n = 0
        self._last: logging.LogRecord | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """See ``logging.Filter``."""
        if record is not self._last:
            self._last = record
            self._count(record)
        return self._n <= self._most

    def _count(self, record: logging.LogRecord) -> None:
        second = int(record.created)
        if second != self._second:
            left_out, self._second, self._n = self._n - self._most, second, 0
            if left_out > 0:
                record.msg = f"{record.msg} (and {left_out} lines before it)"
        self._n += 1


def _set_up_logging(settings: Settings, name: str) -> None:
    set_up_logging(settings.log_level, settings.log_config, name)
    limit = LineLimit()
    named = logging.getLogger().manager.loggerDict.values()
    loggers = [logging.getLogger(), *(each for each in named if isinstance(each, logging.Logger))]
    for handler in {handler for logger in loggers for handler in logger.handlers}:
        # A host has those of the process that it was forked from, with their filter.
        for former in [each for each in handler.filters if isinstance(each, LineLimit)]:
            handler.removeFilter(former)
        handler.addFilter(limit)
