"""An outbound reminder that hangs up on an answering machine.

mediaserver serve --processor beep_detect --processor "examples/reminder.py:remind?clip=due.wav"

Dial with `answering_machine_detection="detect"` and a `stream_url` that leads to this server.
What Telnyx finds comes as a webhook; `beep_detect` hears the beep of a machine that was missed.
"""

from __future__ import annotations

from pathlib import Path

from mediaserver import Beep, Call, CallEvent, Dtmf, Webhook, processor


@processor
async def remind(call: Call, clip: Path, times: int = 2) -> None:
    """Play the reminder, again where 1 is not pressed; hang up on a machine.

    Args:
        call: the call.
        clip: an audio file with the reminder: "… please press 1."
        times: how often it is played.
    """
    listener = call.spawn(hang_up_on_machine(call))
    for _ in range(times):
        play = await call.play(clip)
        if await play.finished() != "played":
            break
    await call.hangup()
    listener.cancel()


async def hang_up_on_machine(call: Call) -> None:
    """Wait for a machine, or for the key that says that a person has understood."""
    async for event in call.events():
        if is_machine(event):
            call.log.info("an answering machine")
            await call.hangup()
        elif isinstance(event, Dtmf) and event.digit == "1":
            call.log.info("confirmed")
            await call.hangup()


def is_machine(event: CallEvent) -> bool:
    """Whether Telnyx says so, or a beep was heard."""
    match event:
        case Beep():
            return True
        case Webhook(event=reported):
            is_result = reported.event_type.startswith("call.machine.")
            return is_result and reported.payload.get("result") in ("machine", "fax_detected")
    return False
