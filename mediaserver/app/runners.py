"""Where a process that carries calls runs their processors: here, or in hosts of its own."""

from __future__ import annotations

from mediaserver.control import encoding
from mediaserver.processors.discovery import check_importable, is_isolated
from mediaserver.server.batching import Batching
from mediaserver.server.calls.runner import InlineRunners, Runners
from mediaserver.server.isolation.pool import HostPool
from mediaserver.settings import Settings


def runners_for(settings: Settings, worker: int | None = None) -> Runners:
    """What makes the runners that these settings ask for, in this worker if it is one.

    Raises:
        ConfigurationError: another process cannot be given what it is to run.
    """
    named = [each for _, each in settings.named()]
    if not settings.isolate and not any(is_isolated(each, settings) for each in named):
        return InlineRunners(Batching(settings))
    for each in named:
        check_importable(each.name)
    return HostPool(settings, encoding, Batching(settings), worker=worker)
