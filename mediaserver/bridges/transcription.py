"""``Transcription``: what is said, as text, from a service that speaks Deepgram's protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import msgspec
from websockets.asyncio.client import ClientConnection

from mediaserver.bridges.audio_socket import AudioSocket
from mediaserver.bridges.connecting import TryAgainError, key_from
from mediaserver.bridges.mailbox import Mailbox
from mediaserver.bridges.retries import Limits
from mediaserver.media.frames import Int16Array, Track
from mediaserver.processors.api import Call


@dataclass(frozen=True)
class TranscriptionSession:
    """The settings of a transcription.

    Attributes:
        model: a model, by the service's name for it.
        language: such as ``en``.
        url: without its query.
        key_variable: the environment variable that holds the key.
        interim: whether to get texts that may still change.
        pause_ms: how much silence ends a turn.
        more: further parameters of the URL, such as ``{"keyterm": "Telnyx"}``.
    """

    model: str = "nova-3"
    language: str = "en"
    url: str = "wss://api.deepgram.com/v1/listen"
    key_variable: str = "DEEPGRAM_API_KEY"
    interim: bool = True
    pause_ms: int = 300
    more: Mapping[str, str] = field(default_factory=dict)

    def query(self, rate: int) -> dict[str, str]:
        """The parameters of the URL, for audio of this rate in Hz."""
        own = {
            "encoding": "linear16",
            "sample_rate": str(rate),
            "channels": "1",
            "model": self.model,
            "language": self.language,
            "interim_results": "true" if self.interim else "false",
            "endpointing": str(self.pause_ms),
            "smart_format": "true",
        }
        if self.interim:  # from which it finds ends of speech in noise
            own["utterance_end_ms"] = "1000"
        return {**own, **self.more}


@dataclass(frozen=True)
class Transcript:
    """A text that was heard.

    Attributes:
        text: what was understood of this stretch.
        track: who said it.
        start: where it begins, in seconds of the audio that was meant for the service.
        duration: in seconds.
        is_final: it does not change any more.
        turn: if the speaker has stopped: all that they said in this turn; else None.
    """

    text: str
    track: Track
    start: float
    duration: float
    is_final: bool
    turn: str | None = None


class _Alternative(msgspec.Struct):
    transcript: str


class _Channel(msgspec.Struct):
    alternatives: list[_Alternative]


class _Results(msgspec.Struct):
    channel: _Channel
    start: float
    duration: float
    is_final: bool = False
    speech_final: bool = False


class Transcription(AudioSocket):
    """The texts of one track of a call: ``async for transcript in transcription``.

    They end with the call, behind what the service says last.

    Args:
        call: the call.
        session: how to listen.
        track: whom.
        limits: how long to wait for the service.
    """

    service: str = "transcription service"
    idle_message: str | None = '{"type":"KeepAlive"}'

    def __init__(
        self,
        call: Call,
        session: TranscriptionSession | None = None,
        *,
        track: Track = "inbound",
        limits: Limits | None = None,
    ) -> None:
        session = session or TranscriptionSession()
        key = key_from(session.key_variable)
        url = f"{session.url}?{urlencode(session.query(call.rate))}"
        headers = {"Authorization": f"Token {key}"}
        super().__init__(call, url, headers, key, rate=call.rate, track=track, limits=limits)
        self._texts: Mailbox[Transcript] = Mailbox()
        self._said: list[str] = []
        self._begin_s = 0.0

    def __aiter__(self) -> AsyncIterator[Transcript]:
        return self._texts

    # See ``AudioSocket``.

    async def opened(self, connection: ClientConnection) -> None:
        """Its clock begins with the first audio of a connection."""
        self._begin_s = self.at_s

    def encode(self, samples: Int16Array) -> str | bytes:
        """It says something about all it hears, be it only that nobody speaks."""
        self.expect_answer()
        return super().encode(samples)

    def unanswered(self) -> Exception:
        """A connection on which nothing comes is made again."""
        return TryAgainError("it is connected, but says nothing")

    async def received(self, message: dict[str, Any]) -> None:
        """Hand on texts."""
        self.answered()
        kind = message.get("type")
        if kind == "Results":
            self._heard(msgspec.convert(message, _Results))
        elif kind == "UtteranceEnd" and self._said:
            self._tell(Transcript("", self._track, self.at_s, 0.0, True, self._take_turn()))
        elif kind == "Error":
            self.warn(f"error {message.get('variant')}: {message.get('description')}")

    def lost(self) -> None:
        """What was begun is told as it is: the next connection knows nothing of it."""
        if self._said:
            self._tell(Transcript("", self._track, self.at_s, 0.0, True, self._take_turn()))

    def finish(self) -> bool:
        """It says what is left, and closes."""
        self.send({"type": "CloseStream"})
        return True

    def ended(self) -> None:
        """The texts end."""
        self.lost()
        self._texts.close()

    def _heard(self, results: _Results) -> None:
        alternatives = results.channel.alternatives
        text = alternatives[0].transcript if alternatives else ""
        if results.is_final and text:
            self._said.append(text)
        turn = self._take_turn() if results.speech_final and self._said else None
        if text or turn:
            start = self._begin_s + results.start
            self._tell(
                Transcript(text, self._track, start, results.duration, results.is_final, turn)
            )

    def _take_turn(self) -> str:
        said, self._said = " ".join(self._said), []
        return said

    def _tell(self, transcript: Transcript) -> None:
        self._texts.put(transcript)
