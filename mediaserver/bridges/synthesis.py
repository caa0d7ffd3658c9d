"""``Synthesis``: text to speech over a WebSocket, by a service that speaks Cartesia's protocol.

Text goes as it is made, piece by piece; each ``Speech`` is a context of the service's.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection

from mediaserver.bridges.audio_socket import AudioSocket
from mediaserver.bridges.connecting import LATER, key_from
from mediaserver.bridges.errors import ServiceDownError, ServiceRefusedError
from mediaserver.bridges.pcm import from_base64
from mediaserver.bridges.retries import Limits
from mediaserver.errors import StreamFullError
from mediaserver.processors.api import Call, PlayEnd, PlayState, Stream

RATES_HZ = (8000, 16000, 22050, 24000, 44100, 48000)


@dataclass(frozen=True)
class Voice:
    """The settings of the speech.

    Attributes:
        id: the service's id of a voice.
        model: a model, by the service's name for it.
        language: such as ``en``.
        url: of the service.
        version: of the protocol, a date.
        key_variable: the environment variable that holds the key.
        more: further fields of each request, such as ``{"max_buffer_delay_ms": 200}``.
    """

    id: str
    model: str = "sonic-3"
    language: str = "en"
    url: str = "wss://api.cartesia.ai/tts/websocket"
    version: str = "2025-04-16"
    key_variable: str = "CARTESIA_API_KEY"
    more: Mapping[str, Any] = field(default_factory=dict)


class Speech:
    """One thing that is said: made by ``Synthesis.say``.

    **Call ``write`` for each piece of text; ``end`` behind the last.**
    """

    def __init__(self, synthesis: Synthesis) -> None:
        self.context_id: str = uuid.uuid4().hex
        self.texts: list[str] = []
        self.has_ended: bool = False
        self.has_audio: bool = False
        self.has_failed: bool = False
        self.stream: Stream = synthesis.call.stream(synthesis.rate)
        self._synthesis = synthesis

    @property
    def state(self) -> PlayState:
        """As of any play."""
        return self.stream.state

    @property
    def heard(self) -> float:
        """Seconds of it the caller has heard."""
        return self.stream.heard

    async def finished(self) -> PlayEnd:
        """Wait until it was heard to its end, or cut."""
        return await self.stream.finished()

    def write(self, text: str) -> bool:
        """Append text, with the blanks and stops between the pieces.

        Returns:
            False where it was cut, as by an interruption: there is no sense in writing more.

        Raises:
            ValueError: after ``end()``.
        """
        if self.has_ended:
            raise ValueError("nothing can be written behind end()")
        if self.stream.reason is not None:
            self._synthesis.drop(self)
            return False
        if text:
            self.texts.append(text)
            self._synthesis.request(self, text, goes_on=True)
        return True

    def end(self) -> None:
        """No more text comes."""
        if self.has_ended:
            return
        self.has_ended = True
        if self.stream.reason is not None:
            self._synthesis.drop(self)
        elif self.texts:
            self._synthesis.request(self, "", goes_on=False)
        else:
            self._synthesis.drop(self)
            self.stream.end()

    def cancel(self) -> None:
        """Say no more of it. What is at the caller's ear already is cleared by ``call.clear()``."""
        self.stream.cancel()
        self._synthesis.drop(self)


class _Chunk(msgspec.Struct):
    context_id: str
    data: str


class _Failure(msgspec.Struct):
    context_id: str | None = None
    status_code: int = 0
    error_code: str | None = None
    message: str | None = None
    error: str | None = None


class Synthesis(AudioSocket):
    """Speaks to the caller: ``speech = synthesis.say("Good morning")``.

    Args:
        call: the call.
        voice: how.
        limits: how long a caller is to wait for the service.

    Attributes:
        rate: of the audio, in Hz: the rate to the caller, if the service offers it.
    """

    service: str = "synthesis service"

    def __init__(self, call: Call, voice: Voice, limits: Limits | None = None) -> None:
        key = key_from(voice.key_variable)
        headers = {"Authorization": f"Bearer {key}", "Cartesia-Version": voice.version}
        super().__init__(call, voice.url, headers, key, limits=limits)
        self.rate: int = call.send_rate if call.send_rate in RATES_HZ else 24_000
        self._voice = voice
        self._speeches: dict[str, Speech] = {}
        self._to_repeat: list[dict[str, Any]] = []

    def say(self, text: str | None = None) -> Speech:
        """Speak behind all that is queued.

        Args:
            text: all of it; None: it is written into what is returned.

        Raises:
            CallEndedError: the call is over.
        """
        speech = Speech(self)
        self._speeches[speech.context_id] = speech
        if text is not None:
            speech.write(text)
            speech.end()
        return speech

    def request(self, speech: Speech, text: str, *, goes_on: bool) -> None:
        """Have a piece of text spoken; for ``Speech``."""
        self.send(self._request(speech, text, goes_on))
        if not goes_on:
            self.expect_answer()

    def _request(self, speech: Speech, text: str, goes_on: bool) -> dict[str, Any]:
        output = {"container": "raw", "encoding": "pcm_s16le", "sample_rate": self.rate}
        return {
            "model_id": self._voice.model,
            "transcript": text,
            "voice": {"mode": "id", "id": self._voice.id},
            "language": self._voice.language,
            "context_id": speech.context_id,
            "output_format": output,
            "continue": goes_on,
            **self._voice.more,
        }

    def drop(self, speech: Speech) -> None:
        """Nobody is to hear the rest; for ``Speech``."""
        if self._speeches.pop(speech.context_id, None) is not None and speech.texts:
            self.send({"context_id": speech.context_id, "cancel": True})
        self._look_ahead()

    # See ``AudioSocket``.

    async def opened(self, connection: ClientConnection) -> None:
        """What the last connection did not get to is said on this one."""
        requests, self._to_repeat = self._to_repeat, []
        for request in requests:
            await connection.send(msgspec.json.encode(request).decode())
        self._look_ahead()

    async def received(self, message: dict[str, Any]) -> None:
        """Play audio, end what is done."""
        self.answered()
        kind = message.get("type")
        if kind == "chunk":
            self._play(msgspec.convert(message, _Chunk))
        elif kind == "done":
            speech = self._speeches.pop(str(message.get("context_id")), None)
            if speech is not None:
                speech.stream.end()
        elif kind == "error":
            self._failed(msgspec.convert(message, _Failure))
        self._look_ahead()

    def lost(self) -> None:
        """Where audio has come the rest is given up; else it is said again."""
        for speech in list(self._speeches.values()):
            if speech.has_audio:
                self._give_up(speech)
        self._to_repeat = [self._whole(each) for each in self._speeches.values() if each.texts]

    def _whole(self, speech: Speech) -> dict[str, Any]:
        return self._request(speech, "".join(speech.texts), not speech.has_ended)

    def _give_up(self, speech: Speech) -> None:
        """A speech ends where it is."""
        del self._speeches[speech.context_id]
        speech.stream.end()
        self.warn("a sentence was cut short")

    def _play(self, chunk: _Chunk) -> None:
        speech = self._speeches.get(chunk.context_id)
        if speech is None:
            return
        speech.has_audio = True
        try:
            if not speech.stream.write(from_base64(chunk.data)):
                self.drop(speech)
        except StreamFullError as error:
            self.warn(str(error))
            speech.cancel()

    def _look_ahead(self) -> None:
        """An answer is due while the text of something is whole, and its audio is not."""
        if any(speech.has_ended for speech in self._speeches.values()):
            self.expect_answer()
        else:
            self.answered()

    def _failed(self, failure: _Failure) -> None:
        told = self._clean(str(failure.message or failure.error or failure.error_code))
        if 400 <= failure.status_code < 500 and failure.status_code not in LATER:
            raise ServiceRefusedError(self.service, told)
        speech = self._speeches.get(failure.context_id or "")
        self.warn(f"error {failure.status_code}: {told}")
        if speech is None:
            return
        if speech.has_audio:
            self._give_up(speech)
        elif speech.has_failed:
            raise ServiceDownError(self.service, told)
        else:
            del self._speeches[speech.context_id]
            speech.has_failed, speech.context_id = True, uuid.uuid4().hex
            self._speeches[speech.context_id] = speech
            self.send(self._whole(speech))
