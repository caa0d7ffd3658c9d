"""A bot that waits until the caller has finished, says back what it heard, and can be interrupted.

mediaserver serve --processor vad --processor barge_in --processor examples/listening_bot.py:listen
"""

from __future__ import annotations

from mediaserver import Call, Interrupted, processor


@processor(rate=8000)
async def listen(call: Call, silence_s: float = 0.8) -> None:
    """Say each utterance back, and log what the caller did not want to hear to its end."""
    call.spawn(watch(call))
    async for utterance in call.utterances(silence_s=silence_s):
        seconds = len(utterance.samples) / utterance.rate
        call.log.info("said something of %.1f s at %.1f s", seconds, utterance.start)
        await call.play(utterance.samples)


async def watch(call: Call) -> None:
    """Say how much was heard of what was interrupted."""
    async for event in call.events():
        if isinstance(event, Interrupted):
            for _, seconds in event.heard:
                call.log.info("interrupted after %.1f s", seconds)
