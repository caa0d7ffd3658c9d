"""A bot that tells what it saw, by a file that all nodes write."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

from mediaserver.processors.api import Call, Webhook, processor


@processor
async def witness(call: Call, file: str) -> None:
    """Write down each webhook that the call gets."""
    # Before the first wait: events that come earlier are kept until then.
    events = call.events()
    call.state["snapshot"] = f"before: {call.id}"
    if "snapshot" in call.parameters:
        line = {"call": call.id, "id": "", "snapshot": call.parameters["snapshot"]}
        await asyncio.to_thread(append, file, json.dumps(line) + "\n")
    async for event in events:
        if isinstance(event, Webhook):
            line = {"call": call.id, "pid": os.getpid(), **told(event)}
            # One write each: several processes append to it.
            await asyncio.to_thread(append, file, json.dumps(line) + "\n")


def append(file: str, line: str) -> None:
    with Path(file).open("a") as out:
        out.write(line)


def told(event: Webhook) -> dict[str, str]:
    reported = event.event
    return {"id": getattr(reported, "id", ""), "type": reported.event_type}
