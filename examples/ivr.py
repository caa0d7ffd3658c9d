"""A menu by keys: 1 and 2 pass the caller on, 3 plays the opening hours, 9 repeats.

mediaserver serve --processor "examples/ivr.py:menu?prompt=menu.wav&hours=hours.wav"
"""

from __future__ import annotations

from pathlib import Path

from mediaserver import Call, ControlError, gather, processor


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
    left = tries
    while left:
        key = await gather(call, prompt, digits=1, terminator="", timeout_s=wait_s)
        left = tries if key else left - 1
        if key in ("1", "2"):
            try:
                await call.control.transfer(sales if key == "1" else support)
            except ControlError as error:
                call.log.warning("not passed on: %s", error)
            else:
                return
        elif key == "3":
            await (await call.play(hours)).finished()
    await call.hangup()
