"""Bots that break with secrets in their hands."""

from __future__ import annotations

import os
import sys

from mediaserver import Call, Filter, Frame, processor


@processor
async def crashes(call: Call, key: str = "") -> None:
    """Raises with numbers in its chain of errors, and a secret among its variables."""
    secret = f"canary of a bot {key}"
    if os.environ.get("PRINT_NUMBERS"):
        print("printed, and", call.caller, file=sys.stderr)
    call.log.info("from %s to %s", call.caller, call.callee, extra={"who": call.caller})
    try:
        raise KeyError(call.caller)
    except KeyError as exc:
        raise RuntimeError(f"{len(secret)} sip:{call.callee}@example.com") from exc


class Fails(Filter):
    """Raises for each frame."""

    def process(self, frame: Frame) -> Frame:
        """See ``Filter``."""
        raise RuntimeError(f"no frame of {self.call.caller}")


@processor
async def commands(call: Call) -> None:
    """Commands that are refused, and a source that fails."""

    async def source() -> object:
        raise ValueError(f"for {call.caller}")
        yield b""

    async def plays() -> None:
        play = await call.play(source(), 8000)  # type: ignore[arg-type]  # it fails before
        await play.finished()

    for command in (
        call.control.transfer(to=str(call.caller)),
        call.control.send_dtmf("canary"),
        plays(),
    ):
        try:
            await command
        except Exception:  # what came of it is for the log
            call.log.exception("refused")
    await call.hangup()
