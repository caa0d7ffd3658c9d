"""A menu by keys: 1 and 2 pass the caller on, 3 plays the opening hours, 9 repeats.

mediaserver serve --processor "examples/ivr.py:menu?prompt=menu.wav&hours=hours.wav"
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from mediaserver import Call, CallEvent, ControlError, Dtmf, processor


@processor
async def menu(
    call: Call,
    prompt: Path,
    hours: Path,
    sales: str = "+13125550101",
    support: str = "+13125550102",
    wait_s: float = 5.0,
    tries: int = 3,
) -> None:
    """Play the prompt until a key is chosen; hang up when none is for too long.

    Args:
        call: the call.
        prompt: an audio file that names the keys.
        hours: an audio file.
        sales: where 1 goes.
        support: where 2 goes.
        wait_s: for a key, behind the prompt's end.
        tries: how often the prompt is played without an answer.
    """
    events = call.events()
    left = tries
    while left:
        key = await ask(call, events, prompt, wait_s)
        left = left - 1 if key is None else tries
        match key:
            case "1" | "2":
                try:
                    await call.control.transfer(sales if key == "1" else support)
                except ControlError as error:
                    call.log.warning("not passed on: %s", error)
                else:
                    return
            case "3":
                await (await call.play(hours)).finished()
    await call.hangup()


async def ask(
    call: Call, events: AsyncIterator[CallEvent], prompt: Path, wait_s: float
) -> str | None:
    """Play the prompt; return the key that is pressed meanwhile or soon after it."""
    play = await call.play(prompt)
    pressed = asyncio.create_task(next_key(events))
    heard = asyncio.create_task(play.finished())
    await asyncio.wait([pressed, heard], return_when="FIRST_COMPLETED")
    await asyncio.wait([pressed], timeout=wait_s)
    await call.clear()
    if pressed.done():
        return pressed.result()
    pressed.cancel()
    return None


async def next_key(events: AsyncIterator[CallEvent]) -> str | None:
    """The next key; None where the call is over."""
    async for event in events:
        if isinstance(event, Dtmf):
            return event.digit
    return None
