"""A bot that gathers twice, and hangs up."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from mediaserver import Call, gather, processor, tone


@processor
async def menu(call: Call, notes: Path) -> None:
    """Writes what it got to a file."""
    first = await gather(call, tone(440, ms=20_000), digits=2)
    second = await gather(call, digits=2, between_s=0.3)
    told = json.dumps([first, first.reason, second, second.reason])
    await asyncio.to_thread(notes.write_text, told)
    await call.hangup()
