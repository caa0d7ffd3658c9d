"""A menu: plays a prompt again and again; a key, or the caller's voice, cuts it short.

mediaserver serve --processor "examples/prompt_bot.py:menu?prompt=menu.wav"
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import numpy as np

from mediaserver import Call, Dtmf, processor

log = logging.getLogger(__name__)


@processor
async def menu(
    call: Call, prompt: Path, pause_s: float = 3.0, barge_in_db: float | None = None
) -> None:
    """Play ``prompt`` until a key is pressed, then hang up with 0.

    Args:
        call: the call.
        prompt: an audio file of any kind.
        pause_s: quiet between two rounds.
        barge_in_db: a voice this loud also cuts the prompt short, in dB of full scale,
            such as -30; None: only keys do.
    """
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(repeat(call, prompt, pause_s))]
        if barge_in_db is not None:
            tasks.append(group.create_task(listen(call, barge_in_db)))
        async for event in call.events():
            if isinstance(event, Dtmf):
                await cut_short(call, f"key {event.digit}")
                if event.digit == "0":
                    await call.hangup()
        for task in tasks:
            task.cancel()


async def repeat(call: Call, prompt: Path, pause_s: float) -> None:
    """Play the prompt, wait until the caller has heard it, and so on."""
    while True:
        play = await call.play(prompt)
        state = await play.finished()
        log.info("call %s: prompt %s after %.1f s", call.id, state, play.heard)
        if state == "failed":  # no such file; the server has said so
            return
        await asyncio.sleep(pause_s)


async def listen(call: Call, barge_in_db: float) -> None:
    """Cut the prompt short when 100 ms of the caller's audio are loud."""
    n_loud = 0
    async for frame in call.frames():
        n_loud = n_loud + 1 if level_db(frame.samples) > barge_in_db else 0
        if n_loud == 5:  # frames of 20 ms
            await cut_short(call, "voice")


async def cut_short(call: Call, why: str) -> None:
    """Silence the caller's ear, and say what was heard until then."""
    cleared = await call.clear()
    log.info("call %s: %s, heard %.1f s", call.id, why, sum(cleared.values()))


def level_db(samples: np.typing.NDArray[np.int16]) -> float:
    """Mean level in dB of full scale."""
    power = float(np.mean(samples.astype(np.float64) ** 2)) if len(samples) else 0.0
    return 10 * float(np.log10(power / 32768**2 + 1e-12))
