"""A real server in this process, and small bots to run on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mediaserver.app import MediaServer
from mediaserver.server.workers.process import WorkerLimits
from mediaserver.settings import ProcessorSetting, Settings
from tests.asgi.hosting import served
from tests.server.following import followed

__all__ = ["BOTS", "Serving", "bot", "followed", "serving"]

Serving = Callable[..., AbstractAsyncContextManager[MediaServer]]
BOTS = Path(__file__).parent / "bots.py"


def bot(name: str, **parameters: Any) -> ProcessorSetting:
    """One of the processors in ``bots.py``."""
    return ProcessorSetting(f"{BOTS}:{name}", parameters, alias=name)


@pytest.fixture
def serving() -> Serving:
    """``async with serving("echo", auth_token="…") as server``; on a free port of loopback."""

    @asynccontextmanager
    async def run(
        *processors: str | ProcessorSetting, limits: WorkerLimits | None = None, **settings: Any
    ) -> AsyncIterator[MediaServer]:
        chain = tuple(ProcessorSetting(p) if isinstance(p, str) else p for p in processors)
        # A busy machine may stall for longer than live audio may wait: nothing is dropped here,
        # and no call is refused.
        defaults: dict[str, Any] = {
            "port": 0,
            "backlog_ms": 30_000,
            "catch_up": False,
            "reconnect_grace_s": 0,
            "shed_lag_ms": None,
        }
        given = Settings(processors=chain, **{**defaults, **settings})
        async with served(given, limits) as server:
            yield server
        assert server.service.n_calls == 0

    return run
