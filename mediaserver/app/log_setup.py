"""Where a process of the server's own writes its log, and in which form."""

from __future__ import annotations

import logging
import logging.config
import multiprocessing
import os
import sys
from typing import Any

import msgspec

from mediaserver.conversion import did_you_mean
from mediaserver.errors import ConfigurationError
from mediaserver.logs import LinesASecond, Numbers
from mediaserver.logs.formats import JsonFormatter, LineHandler, WithoutNumbers, text_formatter
from mediaserver.settings import Settings

ASYNCIO_LINES = 20  # a second
_KEYS = (
    *("version", "formatters", "filters", "handlers", "loggers", "root"),
    *("incremental", "disable_existing_loggers"),
)


class LogProcess(msgspec.Struct, frozen=True):
    """Which process a log is of.

    Attributes:
        kind: ``server``, ``worker``, ``spawner`` or ``host``.
        worker: number of the worker; of a host: of the one that it belongs to.
        host: number of the processor host.
    """

    kind: str = "server"
    worker: int | None = None
    host: int | None = None

    @property
    def label(self) -> str:
        """What readable lines call it; nothing for the server itself."""
        match self.kind:
            case "worker":
                return f"worker {self.worker}"
            case "spawner":
                return "processor hosts"
            case "host":
                return f"processor host {self.host}"
        return ""


def set_up_logging(
    settings: Settings, process: LogProcess | None = None, fd: int | None = None
) -> None:
    """Write the log as the settings say; not for a program that embeds the server.

    Where ``log_config`` has no handlers, it only sets levels of the log on stderr. A handler of
    its that names no formatter gets ``log_format``.

    Args:
        settings: of them, what begins with ``log_``.
        process: which one this is. Its lines say so; those of a format of the user's own by
            ``%(processName)s``.
        fd: the real stderr, where the number 2 is something else.

    Raises:
        ConfigurationError: the configuration cannot be used.
    """
    process = process or LogProcess()
    config = settings.log_config
    # Of each task of a plugin's that fails and that nobody awaits, it has a line.
    logging.getLogger("asyncio").addFilter(LinesASecond(ASYNCIO_LINES))
    if process.label:
        multiprocessing.current_process().name = process.label
    own = _formatter(settings, process)
    if config is None or not config.get("handlers"):
        # In a child everything is new; a program's own handlers are left alone.
        if process.label or not logging.getLogger().handlers:
            handler = _stderr(fd)
            handler.setFormatter(WithoutNumbers(own, settings.numbers))
            level = settings.log_level.upper()
            logging.basicConfig(level=level, handlers=[handler], force=True)
        if config is not None:
            _apply(config)
        return
    _apply(config)
    _complete(own, settings.numbers, fd)


def _complete(own: logging.Formatter, numbers: Numbers, fd: int | None) -> None:
    """Give the handlers of a configuration what all of ours have."""
    for handler in all_handlers():
        former = handler.formatter
        if isinstance(former, WithoutNumbers):  # of the process that this one was forked from
            former = former.inner
        handler.setFormatter(WithoutNumbers(former or own, numbers))
        if fd is not None and isinstance(handler, logging.StreamHandler):
            _lead_past(handler, fd)


def all_handlers() -> set[logging.Handler]:
    """The handlers of all loggers."""
    named = logging.getLogger().manager.loggerDict.values()
    loggers = [logging.getLogger(), *(each for each in named if isinstance(each, logging.Logger))]
    return {handler for logger in loggers for handler in logger.handlers}


def _formatter(settings: Settings, process: LogProcess) -> logging.Formatter:
    if settings.log_format == "text":
        return text_formatter(process.label)
    numbers = {"worker": process.worker, "host": process.host}
    return JsonFormatter(
        {"process": process.kind, **{n: v for n, v in numbers.items() if v is not None}}
    )


def _stderr(fd: int | None) -> logging.Handler:
    if sys.stderr is None:  # it was closed, and its number may be something else by now
        return logging.NullHandler()
    try:
        return LineHandler(sys.stderr.fileno() if fd is None else fd, sys.stderr.encoding)
    except OSError:  # an object of a program's own
        return logging.StreamHandler()


def _lead_past(handler: logging.StreamHandler[Any], fd: int) -> None:
    """Have a handler for stdout or stderr write to the real one."""
    if handler.stream in (sys.stdout, sys.stderr):
        handler.setStream(os.fdopen(fd, "w", encoding=sys.stderr.encoding, closefd=False))


def _apply(config: dict[str, Any]) -> None:
    for key in config:
        if key not in _KEYS:  # dictConfig would take no notice of it
            raise ConfigurationError(
                f"wrong setting log_config: unknown key {key!r}{did_you_mean(str(key), _KEYS)}"
            )
    # By default dictConfig silences all loggers that are there already: also the server's.
    whole = {"version": 1, "disable_existing_loggers": False, **config}
    try:
        logging.config.dictConfig(whole)
    except Exception as exc:  # the border to what users configure: classes of their own
        why = f": {exc.__cause__}" if exc.__cause__ is not None else ""
        raise ConfigurationError(f"wrong setting log_config: {exc}{why}") from exc
