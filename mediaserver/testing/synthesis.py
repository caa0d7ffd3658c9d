"""``SynthesisService``: a stand-in for a text-to-speech service of Cartesia's protocol."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pybase64
from websockets.asyncio.server import ServerConnection

from mediaserver.testing.shapes import AnyOf, Shape, problems
from mediaserver.testing.stand_in import StandIn
from telephony_codecs import Int16Array

PIECE_MS = 100
MS_PER_CHARACTER = 60
# The fields of a context's inputs that may differ.
MAY_DIFFER = ("transcript", "continue", "duration")
RATES_HZ = (8000, 16000, 22050, 24000, 44100, 48000)
GENERATE: dict[str, Shape] = {
    "model_id": str,
    "transcript": str,
    "voice": {"mode": ("id",), "id": str},
    "output_format": {
        "container": ("raw",),
        "encoding": ("pcm_s16le",),
        "sample_rate": RATES_HZ,
    },
    "context_id": str,
    "language?": str,
    "continue?": bool,
    "flush?": bool,
    "duration?": AnyOf(float, (None,)),
    "max_buffer_delay_ms?": int,
    "speed?": object,
    "generation_config?": dict,
    "add_timestamps?": bool,
    "add_phoneme_timestamps?": bool,
    "pronunciation_dict_id?": str,
}
CANCEL: dict[str, Shape] = {"context_id": str, "cancel": (True,)}


def hum(text: str, rate_hz: int) -> Int16Array:
    """A tone of 60 ms for each character: what a stand-in says."""
    n_samples = rate_hz * MS_PER_CHARACTER * len(text) // 1000
    tone = 8000 * np.sin(2 * np.pi * 300 * np.arange(n_samples) / rate_hz)
    return tone.astype(np.int16)


class SynthesisService(StandIn):
    """Speaks whatever it is given; see ``StandIn``.

    Args:
        key: the one that it takes.
        voice: makes the audio of a piece of text at a rate in Hz.

    Attributes:
        delay_s: before the first audio of each thing that is said.
        fail_status: status codes with which the next requests fail, one code for each.
        said: the text of each context, in the order of their beginnings.
        cancelled: contexts that were cancelled.
    """

    path: str = "/tts/websocket"

    def __init__(
        self,
        key: str = "key-of-the-stand-in",
        voice: Callable[[str, int], Int16Array] = hum,
    ) -> None:
        super().__init__(key)
        self.voice = voice
        self.delay_s: float = 0.0
        self.fail_status: list[int] = []
        self.said: dict[str, str] = {}
        self.cancelled: list[str] = []

    async def talk(self, connection: ServerConnection) -> None:
        """See ``StandIn``."""
        request = connection.request
        assert request is not None
        version = request.headers.get("Cartesia-Version", "")
        if not re.fullmatch(r"\d{4}-\d\d-\d\d", version):
            self.wrong(f"Cartesia-Version is {version!r}, no date")
        contexts: dict[str, _Context] = {}
        try:
            async for data in connection:
                await self._take(connection, contexts, data)
        finally:
            for context in contexts.values():
                context.task.cancel()

    async def _take(
        self, connection: ServerConnection, contexts: dict[str, _Context], data: str | bytes
    ) -> None:
        try:
            message = json.loads(data)
            is_cancel = "cancel" in message
        except (ValueError, TypeError):
            self.wrong(f"no message: {data[:80]!r}")
            return
        lines = problems(message, CANCEL if is_cancel else GENERATE)
        self.wrong(*lines)
        if lines:
            await self.fail(connection, message, 400, "; ".join(lines))
            return
        context_id = message["context_id"]
        context = contexts.get(context_id)
        if is_cancel:
            self.cancelled.append(context_id)
            self.changed()
            if context is not None:
                context.task.cancel()
            return
        if self.fail_status:
            await self.fail(connection, message, self.fail_status.pop(0), "as the test wants it")
            return
        if context is None:
            context = contexts[context_id] = _Context(self, connection, message)
            self.said[context_id] = ""
        self.wrong(*context.add(message))
        self.said[context_id] += message["transcript"]
        self.changed()

    async def fail(
        self, connection: ServerConnection, message: dict[str, Any], status: int, why: str
    ) -> None:
        """Answer with an error."""
        failure = {
            "type": "error",
            "context_id": message.get("context_id"),
            "status_code": status,
            "done": True,
            "title": "Failed",
            "message": why,
            "error_code": "failed",
        }
        await connection.send(json.dumps(failure))


class _Context:
    """One thing that is said, in inputs one after the other."""

    def __init__(
        self, service: SynthesisService, connection: ServerConnection, first: dict[str, Any]
    ) -> None:
        self._service, self._connection, self._first = service, connection, first
        self._inputs: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._is_whole = False
        self.task = asyncio.create_task(self._speak())

    def add(self, message: dict[str, Any]) -> list[str]:
        """One input more; what is wrong with it."""
        lines = []
        if self._is_whole:
            lines.append("an input came behind one without continue")
        mine = {name: value for name, value in self._first.items() if name not in MAY_DIFFER}
        others = {name: value for name, value in message.items() if name not in MAY_DIFFER}
        if mine != others:
            lines.append("the fields of a context's inputs differ")
        self._is_whole = not message.get("continue", False)
        self._inputs.put_nowait(message)
        return lines

    async def _speak(self) -> None:
        await asyncio.sleep(self._service.delay_s)
        rate_hz = self._first["output_format"]["sample_rate"]
        n_piece = rate_hz * PIECE_MS // 1000
        goes_on = True
        while goes_on:
            message = await self._inputs.get()
            goes_on = message.get("continue", False)
            samples = self._service.voice(message["transcript"], rate_hz)
            for at in range(0, len(samples), n_piece):
                octets = samples[at : at + n_piece].astype("<i2").tobytes()
                await self._say("chunk", data=pybase64.b64encode(octets).decode(), done=False)
                await asyncio.sleep(0)
        await self._say("done", done=True)

    async def _say(self, kind: str, **fields: Any) -> None:
        if not self._service.is_mute:
            message = {"type": kind, "status_code": 206, **fields}
            message["context_id"] = self._first["context_id"]
            await self._connection.send(json.dumps(message))
