"""Processors for forked calls; loaded by file name, as a user's are."""

from __future__ import annotations

from pathlib import Path

from mediaserver.processors.api import Call, processor
from tests.server.fork.forking import talks


@processor
async def talker(call: Call, notes: Path) -> None:
    """Notes what every attempt to speak comes to, then listens on."""
    problems: list[str] = []
    await talks(call, problems)
    with notes.open("w") as file:  # a few octets
        file.write(" ".join(problems))
    async for _ in call.frames(None):
        pass


@processor
async def forker(call: Call, notes: Path) -> None:
    """Has its own call forked to this server, and given to another processor."""
    events = call.events()  # from now on: the stream may end before the answer is here
    with notes.open("a") as file:
        try:
            result = await call.control.start_forking(
                receive=True, processor="listen", processor_parameters={}
            )
            file.write(f"{result.result}\n")
        except Exception as exc:
            file.write(f"{type(exc).__name__} {exc}\n")
    async for event in events:
        with notes.open("a") as file:
            file.write(f"{event}\n")
