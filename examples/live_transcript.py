"""Live transcription of both tracks, a line of the log for each thing that was said.

DEEPGRAM_API_KEY=… mediaserver serve --processor examples/live_transcript.py:transcribe
mediaserver control streaming-start "$CALL" --stream-track both_tracks …
"""

from __future__ import annotations

import asyncio

from mediaserver import Call, processor
from mediaserver.bridges import ServiceError, Transcription, TranscriptionSession
from mediaserver.media.frames import Track


@processor(tap=True)
async def transcribe(
    call: Call,
    url: str = "wss://api.deepgram.com/v1/listen",
    model: str = "nova-3",
    language: str = "en",
) -> None:
    """Log who says what, until the call is over.

    Args:
        call: the call.
        url: of the service.
        model: the service's name of one.
        language: what is spoken.
    """
    session = TranscriptionSession(url=url, model=model, language=language)
    await asyncio.gather(follow(call, "inbound", session), follow(call, "outbound", session))


async def follow(call: Call, track: Track, session: TranscriptionSession) -> None:
    """One side. Where the service is down the call goes on without."""
    try:
        async with Transcription(call, session, track=track) as heard:
            async for transcript in heard:
                if transcript.turn:
                    call.log.info("%s at %.1f s: %s", track, transcript.start, transcript.turn)
    except ServiceError as error:
        call.log.error("the %s track is not transcribed any more: %s", track, error)
