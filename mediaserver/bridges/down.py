"""``on_service_down``: what a caller hears when a speech service is gone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mediaserver.bridges.errors import ServiceError
from mediaserver.errors import CallEndedError, MediaServerError
from mediaserver.processors.api import Call
from mediaserver.processors.kit.tones import tone

TONES_HZ = (950, 1400, 1800)
TONE_MS = 330.0


@asynccontextmanager
async def on_service_down(
    call: Call, clip: Path | str | None = None, *, transfer_to: str | None = None
) -> AsyncIterator[None]:
    """Tell the caller when a service in this block is down, then transfer or hang up.

    What the bot was saying is cut; the clip is heard to its end.

    Args:
        call: the call.
        clip: an audio file; None: the three rising tones of a call that failed.
        transfer_to: a number or SIP URI to transfer the call to. If it is None, or the
            transfer fails, the call is hung up.
    """
    try:
        yield
    except (ServiceError, BaseExceptionGroup) as error:
        if isinstance(error, BaseExceptionGroup) and error.split(ServiceError)[1] is not None:
            raise
        call.log.error("given up: %s", error)
        try:
            await _end_kindly(call, clip, transfer_to)
        except CallEndedError:
            call.log.info("the call ended meanwhile")


async def _end_kindly(call: Call, clip: Path | str | None, transfer_to: str | None) -> None:
    await call.clear()
    for source in [clip] if clip else [tone(hertz, ms=TONE_MS) for hertz in TONES_HZ]:
        play = await call.play(source)
    await play.finished()
    if transfer_to is not None:
        try:
            await call.control.transfer(transfer_to)
        except CallEndedError:
            raise
        except MediaServerError as failure:
            call.log.error("not transferred: %s", failure)
        else:
            return
    await call.hangup()
