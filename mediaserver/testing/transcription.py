"""``TranscriptionService``: a stand-in for a service of Deepgram's streaming protocol."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from websockets.asyncio.server import ServerConnection

from mediaserver.testing.ear import SpeechEar
from mediaserver.testing.shapes import Shape, problems
from mediaserver.testing.stand_in import StandIn
from telephony_codecs import Int16Array

IDLE_S = 10.0
_FLAG = ("true", "false")
QUERY: dict[str, Shape] = {
    "encoding": ("linear16",),
    "sample_rate": str,
    "channels": ("1",),
    "model": str,
    "language?": str,
    "interim_results?": _FLAG,
    "endpointing?": str,
    "utterance_end_ms?": str,
    "smart_format?": _FLAG,
    "punctuate?": _FLAG,
    "vad_events?": _FLAG,
    "diarize?": _FLAG,
    "numerals?": _FLAG,
    "profanity_filter?": _FLAG,
    "keyterm?": str,
    "keywords?": str,
    "tag?": str,
}
"""Of the documented parameters those that this stand-in knows."""
MESSAGES: dict[str, Shape] = {
    "KeepAlive": {"type": str},
    "CloseStream": {"type": str},
    "Finalize": {"type": str, "channel?": int},
}


class TranscriptionService(StandIn):
    """Understands the next of ``lines`` in each stretch of speech; see ``StandIn``.

    It hears speech by loudness, and says something about each second of audio.

    Args:
        lines: what is "understood", one for each stretch of speech; after the last: ``…``.
        key: the one that it takes.

    Attributes:
        heard_s: seconds of audio that it was sent.
        heard: that audio, int16, at the rate of its connection.
        n_lines: how many of ``lines`` were used.
        messages: what it was sent apart from audio.
    """

    path: str = "/v1/listen"
    key_format: str = "Token {}"

    def __init__(self, lines: Sequence[str], key: str = "key-of-the-stand-in") -> None:
        super().__init__(key)
        self.lines = lines
        self.heard_s: float = 0.0
        self.heard: list[Int16Array] = []
        self.n_lines: int = 0
        self.messages: list[dict[str, Any]] = []

    def judge_query(self, query: dict[str, str]) -> list[str]:
        """See ``StandIn``; a service of this kind answers a wrong one with status 400."""
        lines = problems(query, QUERY, "query")
        numbers = ("sample_rate", "endpointing", "utterance_end_ms")
        lines += [
            f"query.{name} is no number" for name in numbers if not query.get(name, "1").isdecimal()
        ]
        if query.get("interim_results") != "true" and "utterance_end_ms" in query:
            lines.append("utterance_end_ms needs interim_results")
        return lines

    async def talk(self, connection: ServerConnection) -> None:
        """See ``StandIn``."""
        hearing = _Hearing(self, connection, self.queries[-1])
        while True:
            try:
                async with asyncio.timeout(IDLE_S):
                    data = await connection.recv()
            except TimeoutError:
                self.wrong("neither audio nor KeepAlive came for 10 s")
                await connection.close(1011, "NET-0001")
                return
            if isinstance(data, bytes):
                await hearing.hear(data)
            elif await hearing.obey(data):
                await connection.close(1000)
                return


class _Hearing:
    """One connection."""

    def __init__(
        self, service: TranscriptionService, connection: ServerConnection, query: dict[str, str]
    ) -> None:
        self._service, self._connection = service, connection
        self._rate_hz = int(query["sample_rate"])
        self._wants_interim = query.get("interim_results") == "true"
        self._ear = SpeechEar(self._rate_hz, int(query.get("endpointing", "10")))
        self._line = ""
        self._from_s = self._told_s = 0.0

    async def hear(self, data: bytes) -> None:
        """Audio."""
        if not data or len(data) % 2:
            self._service.wrong(f"audio of {len(data)} octets")
            return
        samples = np.frombuffer(data, "<i2").astype(np.int16)
        self._service.heard.append(samples)
        self._service.heard_s += len(samples) / self._rate_hz
        self._service.changed()
        for is_speaking in self._ear.hear(samples):
            if is_speaking:
                self._from_s = self._at_s
                self._line = self._next_line()
            else:
                await self._final(ends_speech=True)
        if self._at_s - self._told_s >= 1.0:
            self._told_s = self._at_s
            await self._interim()

    @property
    def _at_s(self) -> float:
        return self._ear.at_ms / 1000

    def _next_line(self) -> str:
        at, lines = self._service.n_lines, self._service.lines
        self._service.n_lines += 1
        return lines[at] if at < len(lines) else "…"

    async def obey(self, text: str) -> bool:
        """A message; whether it ends the connection."""
        try:
            message = json.loads(text)
            shape = MESSAGES[message["type"]]
        except (ValueError, TypeError, KeyError):
            self._service.wrong(f"no message: {text[:80]!r}")
            return False
        self._service.wrong(*problems(message, shape, message["type"]))
        self._service.messages.append(message)
        self._service.changed()
        if message["type"] == "KeepAlive":
            return False
        if self._ear.is_speaking:
            await self._final(ends_speech=False)
        if message["type"] == "Finalize":
            return False
        end = {"type": "Metadata", "request_id": "stand-in", "duration": self._at_s, "channels": 1}
        await self._say(end)
        return True

    async def _interim(self) -> None:
        if self._ear.is_speaking and self._wants_interim:
            words = self._line.split()
            await self._results(" ".join(words[: (len(words) + 1) // 2]), False, False)
        elif not self._ear.is_speaking:
            self._from_s = self._at_s - 1.0
            await self._results("", True, False)

    async def _final(self, *, ends_speech: bool) -> None:
        line, self._line = self._line, ""
        await self._results(line, True, ends_speech)

    async def _results(self, text: str, is_final: bool, ends_speech: bool) -> None:
        alternative = {"transcript": text, "confidence": 0.99 if text else 0.0, "words": []}
        await self._say(
            {
                "type": "Results",
                "channel_index": [0, 1],
                "start": self._from_s,
                "duration": self._at_s - self._from_s,
                "is_final": is_final,
                "speech_final": ends_speech,
                "from_finalize": False,
                "channel": {"alternatives": [alternative]},
                "metadata": {"request_id": "stand-in", "model_uuid": "stand-in"},
            }
        )

    async def _say(self, message: dict[str, Any]) -> None:
        if not self._service.is_mute:
            await self._connection.send(json.dumps(message))
