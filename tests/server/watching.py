"""What a test sees of running calls, and how it waits for it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

from mediaserver.carrier import CallPlan


def seen(plan: CallPlan) -> list[Any]:
    """What the bots noted of a call."""
    noted: list[Any] = sys.modules["bots"].SEEN.setdefault(plan.call_control_id, [])
    return noted


async def soon(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    """Wait until ``condition()`` holds: what the server does has no event to wait for."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110  # see above
            await asyncio.sleep(0.01)
