"""Where a process of the server's own writes its log."""

from __future__ import annotations

import logging
import logging.config
import multiprocessing
from typing import Any

from mediaserver.conversion import did_you_mean
from mediaserver.errors import ConfigurationError

_KEYS = (
    *("version", "formatters", "filters", "handlers", "loggers", "root"),
    *("incremental", "disable_existing_loggers"),
)


def set_up_logging(level: str, config: dict[str, Any] | None, process: str = "") -> None:
    """Write the log as the settings say; not for a program that embeds the server.

    Args:
        level: ``log_level``; for the log on stderr.
        config: ``log_config``; where it has no handlers, it only sets levels of that log.
        process: what this process is, such as ``worker 0``; empty for the server itself. Its
            lines say so; those of a format of the user's own by ``%(processName)s``.

    Raises:
        ConfigurationError: the configuration cannot be used.
    """
    label = f"{process} " if process else ""
    if process:
        multiprocessing.current_process().name = process
    if config is None or not config.get("handlers"):
        logging.basicConfig(
            level=level.upper(),
            format=f"%(asctime)s %(levelname)s {label}%(name)s: %(message)s",
            force=bool(process),
        )
    if config is not None:
        _apply(config)


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
