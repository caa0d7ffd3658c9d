"""``RealtimeService``: a stand-in for a speech-to-speech service of OpenAI's Realtime protocol."""

from __future__ import annotations

import asyncio
import itertools
import json
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import pybase64
from websockets.asyncio.server import ServerConnection

from mediaserver.testing.ear import SpeechEar
from mediaserver.testing.realtime_shapes import EVENTS, SESSIONS
from mediaserver.testing.shapes import problems
from mediaserver.testing.stand_in import StandIn
from telephony_codecs import Int16Array

RATE_HZ = 24_000
PIECE_MS = 100


class Truncation(NamedTuple):
    """What a client reported about an answer that was cut.

    Attributes:
        item_id: of the answer.
        heard_ms: how much was heard, as the client reported.
        sent_ms: how much audio of the answer had been sent.
    """

    item_id: str
    heard_ms: int
    sent_ms: int


class RealtimeService(StandIn):
    """Answers whatever is said with the next of ``answers``; see ``StandIn``.

    It detects speech by loudness. It speaks the present form of the protocol, unless a client
    sends the header ``OpenAI-Beta``.

    Args:
        answers: what it says, int16 ``(n,)`` at 24000 Hz each; the last one is repeated.
        key: the key that it accepts.

    Attributes:
        delay_s: between the end of a question and its answer.
        pace: how fast an answer is sent; 1.0: as fast as it is heard; None: all at once.
        fail_codes: codes with which the next answers fail, one code for each.
        heard: the caller's audio, int16, of all connections.
        events: the events that it was sent, without audio.
        n_answers: how many answers were begun so far.
        truncations: what clients reported about answers that were cut.
    """

    path: str = "/v1/realtime"

    def __init__(self, answers: list[Int16Array], key: str = "key-of-the-stand-in") -> None:
        super().__init__(key)
        self.answers = answers
        self.delay_s: float = 0.0
        self.pace: float | None = None
        self.fail_codes: list[str] = []
        self.heard: list[Int16Array] = []
        self.events: list[dict[str, Any]] = []
        self.n_answers: int = 0
        self.truncations: list[Truncation] = []

    def judge_query(self, query: dict[str, str]) -> list[str]:
        """See ``StandIn``."""
        return problems(query, {"model": str}, "query")

    async def talk(self, connection: ServerConnection) -> None:
        """See ``StandIn``."""
        conversation = _Conversation(self, connection)
        try:
            await conversation.begin()
            async for data in connection:
                await conversation.take(data)
        finally:
            conversation.stop()


class _Conversation:
    """One connection."""

    def __init__(self, service: RealtimeService, connection: ServerConnection) -> None:
        request = connection.request
        assert request is not None
        beta = request.headers.get("OpenAI-Beta")
        self._is_beta = beta == "realtime=v1"
        if beta is not None and not self._is_beta:
            service.wrong(f"OpenAI-Beta is {beta!r}")
        self._service, self._connection = service, connection
        self._ids = itertools.count(1)
        self._ear = SpeechEar(RATE_HZ, 500)
        self._turns: dict[str, Any] | None = {"create_response": True, "interrupt_response": True}
        self._sent_ms: dict[str, int] = {}
        self._answer: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """It speaks first."""
        await self._say("session.created", session={"id": self._id("sess")})

    def stop(self) -> None:
        """The connection is over."""
        if self._answer is not None:
            self._answer.cancel()

    def _id(self, kind: str) -> str:
        return f"{kind}_{id(self):x}{next(self._ids)}"

    async def _say(self, kind: str, /, **fields: Any) -> None:
        if not self._service.is_mute:
            message = {"type": kind, "event_id": self._id("event"), **fields}
            await self._connection.send(json.dumps(message))

    async def _refuse(self, code: str, message: str) -> None:
        self._service.wrong(message)
        error = {"type": "invalid_request_error", "code": code, "message": message, "param": None}
        await self._say("error", error=error)

    async def take(self, data: str | bytes) -> None:
        """A client's event."""
        try:
            event = json.loads(data)
            kind = event["type"]
            shape = EVENTS[kind]
        except (ValueError, TypeError, KeyError):
            await self._refuse("invalid_event", f"no event: {data[:80]!r}")
            return
        lines = problems(event, shape, kind)
        if lines:
            await self._refuse("invalid_value", "; ".join(lines))
            return
        if kind != "input_audio_buffer.append":
            self._service.events.append(event)
        self._service.changed()
        match kind:
            case "session.update":
                await self._update(event["session"])
            case "input_audio_buffer.append":
                await self._hear(event["audio"])
            case "conversation.item.truncate":
                await self._truncate(event)
            case "response.create":
                await self._respond()
            case "response.cancel":
                await self._cancel("client_cancelled")
            case "conversation.item.create":
                await self._say("conversation.item.added", item=event["item"])

    async def _update(self, session: dict[str, Any]) -> None:
        lines = problems(session, SESSIONS["beta" if self._is_beta else "ga"], "session")
        if lines:
            await self._refuse("unknown_parameter", "; ".join(lines))
            return
        own = session if self._is_beta else session.get("audio", {}).get("input", {})
        if "turn_detection" in own:
            self._turns = own["turn_detection"]
        silence_ms = (self._turns or {}).get("silence_duration_ms", 500)
        self._ear = SpeechEar(RATE_HZ, silence_ms)
        await self._say("session.updated", session=session)

    async def _hear(self, audio: str) -> None:
        samples = np.frombuffer(pybase64.b64decode(audio), "<i2").astype(np.int16)
        self._service.heard.append(samples)
        for is_speaking in self._ear.hear(samples):
            if self._turns is None:
                continue
            at_ms, item_id = self._ear.at_ms, self._id("item")
            if is_speaking:
                began = {"audio_start_ms": at_ms, "item_id": item_id}
                await self._say("input_audio_buffer.speech_started", **began)
                if self._turns.get("interrupt_response", True):
                    await self._cancel("turn_detected")
                continue
            ended = {"audio_end_ms": at_ms, "item_id": item_id}
            await self._say("input_audio_buffer.speech_stopped", **ended)
            await self._say("input_audio_buffer.committed", item_id=item_id)
            if self._turns.get("create_response", True):
                await self._respond()

    async def _respond(self) -> None:
        if self._answer is not None and not self._answer.done():
            await self._refuse("conversation_already_has_active_response", "it answers already")
            return
        self._answer = asyncio.create_task(self._speak())

    async def _speak(self) -> None:
        service = self._service
        await asyncio.sleep(service.delay_s)
        response_id, item_id = self._id("resp"), self._id("item")
        self._response_id = response_id
        await self._say("response.created", response={"id": response_id, "status": "in_progress"})
        if service.fail_codes:
            problem = {"type": "server_error", "code": service.fail_codes.pop(0)}
            await self._done("failed", {"type": "failed", "error": problem})
            return
        answer = service.answers[min(service.n_answers, len(service.answers) - 1)]
        service.n_answers += 1
        service.changed()
        where = {"response_id": response_id, "output_index": 0}
        item = {"id": item_id, "type": "message", "role": "assistant"}
        await self._say("response.output_item.added", **where, item=item)
        where |= {"item_id": item_id, "content_index": 0}
        await self._send(answer, where)
        await self._say(self._named("done"), **where)
        await self._done("completed", None)

    async def _send(self, answer: Int16Array, where: dict[str, Any]) -> None:
        """An answer's audio, in pieces."""
        n_piece = RATE_HZ * PIECE_MS // 1000
        item_id = where["item_id"]
        self._sent_ms[item_id] = 0
        for at in range(0, len(answer), n_piece):
            octets = answer[at : at + n_piece].astype("<i2").tobytes()
            self._sent_ms[item_id] += len(octets) * 1000 // (2 * RATE_HZ)
            delta = pybase64.b64encode(octets).decode()
            await self._say(self._named("delta"), **where, delta=delta)
            pace = self._service.pace
            await asyncio.sleep(PIECE_MS / 1000 / pace if pace else 0)

    def _named(self, what: str) -> str:
        return f"response.audio.{what}" if self._is_beta else f"response.output_audio.{what}"

    async def _done(self, status: str, details: dict[str, Any] | None) -> None:
        response = {"id": self._response_id, "status": status, "status_details": details}
        await self._say("response.done", response=response)

    async def _cancel(self, reason: str) -> None:
        answer = self._answer
        if answer is None or answer.done():
            if reason == "client_cancelled":
                await self._refuse("response_cancel_not_active", "there is no answer to cancel")
            return
        answer.cancel()
        with suppress(asyncio.CancelledError):
            await answer
        await self._done("cancelled", {"type": "cancelled", "reason": reason})

    async def _truncate(self, event: dict[str, Any]) -> None:
        item_id, heard_ms = event["item_id"], event["audio_end_ms"]
        sent_ms = self._sent_ms.get(item_id)
        if sent_ms is None or event["content_index"] != 0:
            await self._refuse("item_truncate_invalid_item_id", f"there is no answer {item_id}")
            return
        if not 0 <= heard_ms <= sent_ms:
            told = f"{heard_ms} ms are told as heard of {sent_ms} ms"
            await self._refuse("invalid_value", told)
            return
        self._service.truncations.append(Truncation(item_id, heard_ms, sent_ms))
        self._service.changed()
        truncated = {"item_id": item_id, "content_index": 0, "audio_end_ms": heard_ms}
        await self._say("conversation.item.truncated", **truncated)
