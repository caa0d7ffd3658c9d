"""``Realtime``: a speech-to-speech service that speaks OpenAI's Realtime protocol.

It sends the present form of the protocol or, if asked to, that of the beta; it reads both.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self
from urllib.parse import urlencode

import msgspec
from websockets.asyncio.client import ClientConnection

from mediaserver.bridges.audio_socket import AudioSocket
from mediaserver.bridges.connecting import key_from
from mediaserver.bridges.errors import ServiceDownError, ServiceRefusedError
from mediaserver.bridges.mailbox import Mailbox
from mediaserver.bridges.pcm import from_base64, to_base64
from mediaserver.bridges.retries import Limits
from mediaserver.errors import StreamFullError
from mediaserver.media.frames import Int16Array
from mediaserver.processors.api import Call, Interrupted, Stream, Task

RATE_HZ = 24_000
OCTETS_PER_MS = 2 * RATE_HZ // 1000
AUDIO_DELTAS = ("response.output_audio.delta", "response.audio.delta")
AUDIO_DONE = ("response.output_audio.done", "response.audio.done")
# Errors that no other try mends.
REFUSALS = ("invalid_api_key", "insufficient_quota", "model_not_found", "account_deactivated")
# Answers that failed one after the other before the service is given up.
MAX_FAILED = 2


@dataclass(frozen=True)
class RealtimeSession:
    """The settings of a session.

    Attributes:
        instructions: the role and the task of the model.
        voice: a voice, by the service's name for it.
        model: a model, by the service's name for it.
        url: without the model.
        key_variable: the environment variable that holds the key.
        interrupted_by: what detects that the caller interrupts: the service's own speech
            detection, or ``barge_in`` in the call's chain, which allows for the bot's echo.
        dialect: ``ga``, or ``beta`` for services that speak only the older form.
        more: further fields of the session (tools, turn detection …), merged into it.
    """

    instructions: str = ""
    voice: str = "marin"
    model: str = "gpt-realtime"
    url: str = "wss://api.openai.com/v1/realtime"
    key_variable: str = "OPENAI_API_KEY"
    interrupted_by: Literal["service", "barge_in"] = "service"
    dialect: Literal["ga", "beta"] = "ga"
    more: Mapping[str, Any] = field(default_factory=dict)

    def update(self) -> dict[str, Any]:
        """The ``session`` of ``session.update``."""
        turns = {
            "type": "server_vad",
            "create_response": True,
            "interrupt_response": self.interrupted_by == "service",
        }
        if self.dialect == "beta":
            session: dict[str, Any] = {
                "modalities": ["audio", "text"],
                "voice": self.voice,
                "input_audio_format": "pcm16",
                "output_audio_format": "pcm16",
                "turn_detection": turns,
            }
        else:
            audio = {"type": "audio/pcm", "rate": RATE_HZ}
            session = {
                "type": "realtime",
                "output_modalities": ["audio"],
                "audio": {
                    "input": {"format": audio, "turn_detection": turns},
                    "output": {"format": audio, "voice": self.voice},
                },
            }
        if self.instructions:
            session["instructions"] = self.instructions
        return _merged(session, self.more)


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Both together; of two objects of the same name their fields."""
    result = dict(one)
    for name, value in other.items():
        mine = result.get(name)
        both = isinstance(mine, Mapping) and isinstance(value, Mapping)
        result[name] = _merged(mine, value) if both else value  # type: ignore[arg-type]  # both are
    return result


class _Delta(msgspec.Struct):
    item_id: str
    delta: str
    content_index: int = 0


class _Problem(msgspec.Struct):
    code: str | None = None
    message: str | None = None
    type: str | None = None


class _StatusDetails(msgspec.Struct):
    error: _Problem | None = None
    reason: str | None = None


class _Response(msgspec.Struct):
    id: str | None = None
    status: str | None = None
    status_details: _StatusDetails | None = None


@dataclass
class _Reply:
    """An answer's audio, on its way to the caller."""

    item_id: str
    content_index: int
    stream: Stream
    n_octets: int = 0

    @property
    def heard_ms(self) -> int:
        """What the caller has heard of it; never more than there is."""
        return min(round(1000 * self.stream.heard), self.n_octets // OCTETS_PER_MS)


class Realtime(AudioSocket):
    """Lets the caller talk with a model: sends the caller's audio, and plays the answers.

    Use ``async with Realtime(call, …) as bot``. ``async for event in bot`` gives the service's
    events (without audio) as they come, until the call ends. When the caller interrupts, what is
    playing is cleared, and the service is told how much of it the caller has heard.

    Args:
        call: the call; if the processor has ``rate=24000`` nothing is resampled here.
        session: the settings of the session.
        limits: how long a caller is to wait for the service.

    Attributes:
        truncated_ms: how much of each answer that was cut was reported as heard, in order.
    """

    service: str = "realtime service"

    def __init__(self, call: Call, session: RealtimeSession, limits: Limits | None = None) -> None:
        key = key_from(session.key_variable)
        headers = {"Authorization": f"Bearer {key}"}
        if session.dialect == "beta":
            headers["OpenAI-Beta"] = "realtime=v1"
        url = f"{session.url}?{urlencode({'model': session.model})}"
        super().__init__(call, url, headers, key, rate=RATE_HZ, limits=limits)
        self.truncated_ms: deque[int] = deque(maxlen=1000)
        self._session = session
        self._events: Mailbox[dict[str, Any]] = Mailbox()
        self._replies: dict[str, _Reply] = {}
        self._cut: deque[str] = deque(maxlen=100)
        self._is_answering = False
        self._wanted: dict[str, Any] | None = None  # an answer that has not begun
        self._owed: dict[str, Any] | None = None  # one that a lost connection took with it
        self._n_failed = 0
        self._listener: Task[None] | None = None

    def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        return self._events

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        if self._session.interrupted_by == "barge_in":
            self._listener = self.call.spawn(self._listen())
        return self

    def create_response(self, instructions: str | None = None) -> None:
        """Have the model speak now: to greet the caller, or behind the result of a tool."""
        self._wanted = {"instructions": instructions} if instructions else {}
        self.send({"type": "response.create", "response": self._wanted})
        self.expect_answer()

    async def interrupt(self) -> None:
        """Silence the bot, and tell the service what the caller has heard."""
        self._settle()
        if self._replies:
            await self.call.clear()
            self._settle()

    # See ``AudioSocket``.

    async def opened(self, connection: ClientConnection) -> None:
        """The session's settings go first; then what the last connection did not answer."""
        update = {"type": "session.update", "session": self._session.update()}
        await connection.send(msgspec.json.encode(update).decode())
        if self._owed is not None:
            self.send({"type": "response.create", "response": self._owed})
            self._wanted, self._owed = self._owed, None
            self.expect_answer()

    def encode(self, samples: Int16Array) -> str:
        """Audio goes as base64 in a message."""
        return f'{{"type":"input_audio_buffer.append","audio":"{to_base64(samples)}"}}'

    async def received(self, message: dict[str, Any]) -> None:
        """Play audio, notice interruptions, hand on the rest."""
        kind = message.get("type")
        if kind in AUDIO_DELTAS:
            await self._play(msgspec.convert(message, _Delta))
            return
        if kind in AUDIO_DONE:
            self._end_reply(str(message.get("item_id")))
        elif kind == "input_audio_buffer.speech_started":
            self.answered()
            self._wanted = None  # they go on speaking
            if self._session.interrupted_by == "service":
                await self.interrupt()
        elif kind == "input_audio_buffer.speech_stopped":
            self._expect_turn()
        elif kind == "response.created":
            self._is_answering = True
        elif kind == "response.done":
            self._response_done(msgspec.convert(message.get("response", {}), _Response))
        elif kind == "error":
            self._problem(msgspec.convert(message.get("error", {}), _Problem))
        self._settle()
        self._events.put(message)

    def lost(self) -> None:
        """The part of an answer that has arrived is played; the next session does not know it.

        An answer that had not begun is asked for again, so the caller is not left in silence.
        """
        self._owed, self._wanted = self._wanted, None
        for reply in self._replies.values():
            reply.stream.end()
        self._cut.extend(self._replies)
        self._replies.clear()
        self._is_answering = False

    def ended(self) -> None:
        """The events end."""
        self._events.close()
        if self._listener is not None:
            self._listener.cancel()

    # What it does with what was said.

    async def _play(self, delta: _Delta) -> None:
        self.answered()
        self._n_failed, self._wanted = 0, None
        octets = from_base64(delta.delta)
        if delta.item_id in self._cut:
            return
        reply = self._replies.get(delta.item_id)
        if reply is None:
            stream = self.call.stream(RATE_HZ)
            reply = _Reply(delta.item_id, delta.content_index, stream)
            self._replies[delta.item_id] = reply
        reply.n_octets += len(octets)
        try:
            goes_on = reply.stream.write(octets)
        except StreamFullError as error:
            self.warn(f"an answer is cut: {error}")
            reply.stream.end()
            self._cut.append(delta.item_id)
            return
        if not goes_on:
            self._settle()

    def _end_reply(self, item_id: str) -> None:
        if item_id in self._replies:
            self._replies[item_id].stream.end()

    def _expect_turn(self) -> None:
        """The caller has said something: is the service to answer by itself?"""
        session = self._session.update()
        own = session if self._session.dialect == "beta" else session["audio"]["input"]
        turns = own.get("turn_detection")
        if turns and turns.get("create_response", True):
            self._wanted = {}
            self.expect_answer()

    def _response_done(self, response: _Response) -> None:
        self.answered()
        self._is_answering = False
        for reply in self._replies.values():
            reply.stream.end()
        if response.status != "failed":
            self._wanted = None
            return
        details = response.status_details or _StatusDetails()
        problem = details.error or _Problem()
        self._n_failed += 1
        self._problem(problem)
        if self._n_failed >= MAX_FAILED:
            raise ServiceDownError(self.service, "its answers fail")
        self.create_response((self._wanted or {}).get("instructions"))

    def _problem(self, problem: _Problem) -> None:
        told = self._clean(f"{problem.code or problem.type}: {problem.message}")
        if problem.code in REFUSALS:
            raise ServiceRefusedError(self.service, told)
        self.warn(f"error {told}")

    def _settle(self) -> None:
        """Forget answers that were heard; tell the service of those that were cut."""
        for item_id, reply in list(self._replies.items()):
            if reply.stream.reason is None:
                continue
            del self._replies[item_id]
            self._cut.append(item_id)
            if reply.stream.state == "played" or reply.stream.reason == "ended":
                continue
            self.truncated_ms.append(reply.heard_ms)
            self.send(
                {
                    "type": "conversation.item.truncate",
                    "item_id": item_id,
                    "content_index": reply.content_index,
                    "audio_end_ms": reply.heard_ms,
                }
            )

    async def _listen(self) -> None:
        """``barge_in`` has cleared what was played: the service is to stop, and to know."""
        async for event in self.call.events():
            if isinstance(event, Interrupted):
                if self._is_answering:
                    self.send({"type": "response.cancel"})
                self._settle()
