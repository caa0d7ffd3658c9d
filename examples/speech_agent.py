"""A voice agent of three parts: transcription, a text model of your own, synthesis.

mediaserver serve --processor barge_in --processor "examples/speech_agent.py:agent?voice=ID"

It needs DEEPGRAM_API_KEY and CARTESIA_API_KEY; isolated, `host_env` has to name both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from importlib import import_module

from mediaserver import Call, bridges, processor

# Who said what so far → the answer, piece by piece, as a language model makes it.
History = list[tuple[str, str]]
TextModel = Callable[[History], AsyncIterator[str]]


async def parrot(history: History) -> AsyncIterator[str]:
    """A model that needs no service."""
    for piece in ("You said: ", history[-1][1], ". What else?"):
        yield piece


@processor
async def agent(
    call: Call,
    voice: str,
    model: str = "speech_agent:parrot",
    greeting: str = "Good morning. How can I help you?",
    sorry: str = "",
    listen_url: str = "wss://api.deepgram.com/v1/listen",
    speak_url: str = "wss://api.cartesia.ai/tts/websocket",
) -> None:
    """Talk until the caller hangs up.

    Args:
        call: the call.
        voice: the synthesis service's id of one.
        model: ``module:function``, a ``TextModel``.
        greeting: what is said first.
        sorry: an audio file for the caller when a service is down; empty: three tones.
        listen_url: of the transcription service.
        speak_url: of the synthesis service.
    """
    module, _, name = model.partition(":")
    think: TextModel = getattr(import_module(module), name)
    history: History = []
    async with (
        bridges.on_service_down(call, sorry or None),
        bridges.Transcription(call, bridges.TranscriptionSession(url=listen_url)) as heard,
        bridges.Synthesis(call, bridges.Voice(voice, url=speak_url)) as mouth,
    ):
        speech = mouth.say(greeting)
        answering = None
        async for transcript in heard:
            if speech.state == "playing" and transcript.text:
                await call.clear()  # where barge_in has not done it already
            if transcript.turn:
                if answering is not None:
                    answering.cancel()
                speech.cancel()
                history.append(("user", transcript.turn))
                speech = mouth.say()
                answering = call.spawn(answer(call, speech, think, history))


async def answer(call: Call, speech: bridges.Speech, think: TextModel, history: History) -> None:
    """Speak while the model still thinks."""
    text = ""
    async for piece in think(history):
        if not speech.write(piece):
            break
        text += piece
    speech.end()
    state = await speech.finished()
    history.append(("assistant", text))
    call.log.info("answered (%s), %.1f s of it heard", state, speech.heard)
