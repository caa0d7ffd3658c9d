"""A bot that tells what it saw, by a file that all nodes write."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

from mediaserver.processors.api import Call, Webhook, processor


@processor
async def witness(call: Call, file: str) -> None:
    """Echo the caller, and write down each webhook that the call gets."""
    call.spawn(echo(call))
    call.state["snapshot"] = f"before: {call.id}"
    if "snapshot" in call.parameters:
        line = {"call": call.id, "id": "", "snapshot": call.parameters["snapshot"]}
        await asyncio.to_thread(append, file, json.dumps(line) + "\n")
    async for event in call.events():
        if isinstance(event, Webhook):
            line = {"call": call.id, "pid": os.getpid(), **told(event)}
            # One write each: several processes append to it.
            await asyncio.to_thread(append, file, json.dumps(line) + "\n")


def append(file: str, line: str) -> None:
    with Path(file).open("a") as out:
        out.write(line)


async def echo(call: Call) -> None:
    async for frame in call.frames():
        call.play_live(frame.samples)


def told(event: Webhook) -> dict[str, str]:
    reported = event.event
    return {"id": getattr(reported, "id", ""), "type": reported.event_type}
