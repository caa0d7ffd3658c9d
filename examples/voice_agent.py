"""A voice agent over a realtime API: it talks with the caller, who may interrupt it.

OPENAI_API_KEY=… mediaserver serve --processor examples/voice_agent.py:agent

Isolated, it needs `host_env = ["OPENAI_API_KEY"]`.
"""

from __future__ import annotations

from mediaserver import Call, processor
from mediaserver.bridges import Realtime, RealtimeSession, on_service_down


@processor(rate=24000)
async def agent(
    call: Call,
    instructions: str = "You answer the telephone of a hotel. Be brief.",
    greeting: str = "Greet the caller.",
    model: str = "gpt-realtime",
    url: str = "wss://api.openai.com/v1/realtime",
    sorry: str = "",
    transfer_to: str = "",
) -> None:
    """Talk until the caller hangs up.

    Args:
        call: the call.
        instructions: who the agent is, and what it does.
        greeting: what it is told to begin with; empty: the caller begins.
        model: the service's name of a model.
        url: of the service.
        sorry: an audio file for the caller when the service is down; empty: three tones.
        transfer_to: where they are put through to then; empty: the call is hung up.
    """
    session = RealtimeSession(instructions=instructions, model=model, url=url)
    async with (
        on_service_down(call, sorry or None, transfer_to=transfer_to or None),
        Realtime(call, session) as bot,
    ):
        if greeting:
            bot.create_response(greeting)
        async for event in bot:
            if event["type"] == "conversation.item.truncated":
                call.log.info("interrupted: they heard %d ms", event["audio_end_ms"])
