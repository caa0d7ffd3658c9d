"""An alarm when a word is said: Telnyx transcribes, its webhooks bring the text.

mediaserver serve --processor "examples/keyword_alarm.py:alarm?words=cancel,lawyer" --answer
"""

from __future__ import annotations

import re

from mediaserver import Call, Transcription, Webhook, processor
from mediaserver.control.rest.fields import TranscriptionTracks


@processor(tap=True)
async def alarm(
    call: Call,
    words: tuple[str, ...],
    engine: str = "Telnyx",
    tracks: TranscriptionTracks = "both",
    supervisor: str = "",
) -> None:
    """Log a warning the first time that each word is said.

    Args:
        call: the call.
        words: what to wait for, in lower case.
        engine: what transcribes.
        tracks: who is heard.
        supervisor: where the call is put through to at the first alarm; empty: nowhere.
    """
    events = call.events()
    await call.control.start_transcription(transcription_engine=engine, transcription_tracks=tracks)
    missing = set(words)
    async for event in events:
        match event:
            case Webhook(event=Transcription(transcript=str(text), transcription_track=track)):
                said = missing.intersection(re.findall(r"\w+", text.lower()))
                for word in sorted(said):
                    call.log.warning("alarm: %r was said on the %s track", word, track)
                if said and supervisor and missing == set(words):
                    await call.control.transfer(supervisor)
                missing -= said
