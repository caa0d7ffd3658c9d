"""Server, processors, control and settings put together; names are imported when asked for.

A worker's process is made here as well, and must not load the web server and the control
client for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mediaserver.app.forks import ForkReceiver
    from mediaserver.app.generations import Handed
    from mediaserver.app.log_setup import set_up_logging
    from mediaserver.app.loop import loop_factory, run_process
    from mediaserver.app.server import MediaServer
    from mediaserver.control.client import client_from
    from mediaserver.processes.garbage import freeze_loaded
    from mediaserver.server.generations.successor import outcome_address

__all__ = [
    "ForkReceiver",
    "Handed",
    "MediaServer",
    "client_from",
    "freeze_loaded",
    "loop_factory",
    "outcome_address",
    "run_process",
    "set_up_logging",
]

_LATER = {
    "ForkReceiver": "mediaserver.app.forks",
    "Handed": "mediaserver.app.generations",
    "MediaServer": "mediaserver.app.server",
    "client_from": "mediaserver.control.client",
    "freeze_loaded": "mediaserver.processes.garbage",
    "loop_factory": "mediaserver.app.loop",
    "outcome_address": "mediaserver.server.generations.successor",
    "run_process": "mediaserver.app.loop",
    "set_up_logging": "mediaserver.app.log_setup",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first asked for."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LATER[name]), name)
