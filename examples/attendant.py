"""An attendant: Telnyx speaks and records; 1 passes the caller on, any other key repeats.

mediaserver serve --processor examples/attendant.py:attendant --answer
"""

from __future__ import annotations

import logging

from mediaserver import Call, ControlError, Dtmf, RecordingSaved, Webhook, processor

log = logging.getLogger(__name__)


@processor
async def attendant(
    call: Call,
    operator: str = "+13125550100",
    text: str = "For the operator, press 1.",
    voice: str = "female",
) -> None:
    """Speak ``text``, and pass the caller on to ``operator`` when 1 is pressed.

    Args:
        call: the call.
        operator: number or SIP URI.
        text: what is spoken.
        voice: Telnyx's name of a voice.
    """
    control = call.control
    events = call.events()
    await control.start_recording(channels="dual", format="mp3")
    await control.speak(text, voice=voice)
    async for event in events:
        match event:
            case Dtmf(digit="1"):
                try:
                    await control.transfer(operator, timeout_secs=20)
                except ControlError as error:
                    log.warning("call %s: not passed on: %s", call.id, error)
                    await control.speak("Nobody is there.", voice=voice)
            case Dtmf():
                await control.speak(text, voice=voice)
            case Webhook(event=RecordingSaved() as saved):
                log.info("call %s: recorded at %s", call.id, saved.recording_urls)
