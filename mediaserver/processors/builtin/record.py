"""Built-in ``record``: what the caller said and what they heard, while the call runs.

On a full disk the file stays as it is, playable to its last sample. What comes is kept for a
minute and tried again; when there is room the same file goes on, and what was given up is
silence of the same length in it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Literal

from mediaserver.logs import Numbers
from mediaserver.processors.api import processor
from mediaserver.processors.builtin.recording.formats import Form
from mediaserver.processors.builtin.recording.recorder import (
    Layout,
    Plan,
    RecordedCall,
    Recorder,
)
from mediaserver.processors.builtin.recording.storage import Destination

NOWHERE = Destination()


@processor(tap=True)
async def record(
    call: RecordedCall,
    directory: Path = Path("recordings"),
    layout: Layout = "stereo",
    format: Form = "wav",
    to: Destination = NOWHERE,
    keep: bool = False,
    numbers: Literal["masked", "full"] = "masked",
) -> None:
    """Record a call in ``<directory>/<call>.wav``, with a JSON file beside it.

    Args:
        call: which.
        directory: where the files are made.
        layout: ``stereo``: the caller left, what they heard right. ``mono``: both as one.
            ``tracks``: a file for each: ``-inbound``, ``-heard`` and, where it comes,
            ``-outbound``.
        format: ``wav``, ``flac``, or ``opus`` in OGG; the file is WAV while the call lives.
        to: where finished files go; empty: they stay.
        keep: files that went there stay here, too.
        numbers: how telephone numbers are written in the JSON file.
    """
    plan = Plan(directory, layout, format, to, keep, Numbers(numbers))
    recorder = Recorder(call, plan)
    noting = call.spawn(recorder.note(call.events()))
    beating = call.spawn(recorder.beat())
    try:
        async for frame in call.frames(track=None):
            recorder.add(frame)
        await noting
    finally:
        noting.cancel()
        beating.cancel()
        written = recorder.finish()
    await asyncio.shield(written)
