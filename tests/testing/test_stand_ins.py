"""The stand-ins take what is documented, and find what is not; literals of both, no bridge."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from mediaserver.testing import RealtimeService, StandIn, SynthesisService, TranscriptionService

KEY = "key-of-the-stand-in"
LOUD = (np.arange(2400) % 80 * 200).astype("<i2").tobytes()  # 100 ms at 24 kHz
QUIET = bytes(4800)
SESSION = (
    '{"type":"session.update","session":{"type":"realtime","instructions":"Be brief.",'
    '"output_modalities":["audio"],"audio":{"input":{"format":{"type":"audio/pcm","rate":24000},'
    '"turn_detection":{"type":"server_vad","silence_duration_ms":300}},'
    '"output":{"voice":"marin"}}}}'
)
BETA = (
    '{"type":"session.update","session":{"modalities":["text","audio"],"voice":"alloy",'
    '"input_audio_format":"pcm16","output_audio_format":"pcm16","turn_detection":null}}'
)
SPEAK = (
    '{"model_id":"sonic-3","transcript":"%s","voice":{"mode":"id","id":"v"},"language":"en",'
    '"context_id":"c1","output_format":{"container":"raw","encoding":"pcm_s16le",'
    '"sample_rate":8000},"continue":%s}'
)


def append(audio: bytes) -> str:
    return json.dumps(
        {"type": "input_audio_buffer.append", "audio": base64.b64encode(audio).decode()}
    )


async def told(connection: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(10):
        message: dict[str, Any] = json.loads(await connection.recv())
        return message


async def until(connection: ClientConnection, kind: str) -> dict[str, Any]:
    """The next message of this type."""
    while (message := await told(connection))["type"] != kind:
        pass
    return message


def realtime(service: RealtimeService, **headers: str) -> connect:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    url = f"{service.url}?model=gpt-realtime"
    return connect(url, additional_headers={"Authorization": f"Bearer {KEY}", **named}, proxy=None)


async def test_a_conversation_of_the_realtime_protocol() -> None:
    """A question in audio, an answer in pieces, an interruption, a truncation."""
    service = RealtimeService([np.zeros(24_000, np.int16)])
    service.pace = 1.0
    async with service, realtime(service) as connection:
        assert (await told(connection))["type"] == "session.created"
        await connection.send(SESSION)
        assert (await told(connection))["type"] == "session.updated"
        for audio in (LOUD, *[QUIET] * 4):
            await connection.send(append(audio))
        await until(connection, "input_audio_buffer.speech_started")
        await until(connection, "input_audio_buffer.speech_stopped")
        assert (await until(connection, "response.created"))["response"]["status"] == "in_progress"
        delta = await until(connection, "response.output_audio.delta")
        assert len(base64.b64decode(delta["delta"])) == 4800
        await connection.send(append(LOUD))
        done = await until(connection, "response.done")
        assert done["response"]["status_details"]["reason"] == "turn_detected"
        truncate = {"type": "conversation.item.truncate", "item_id": delta["item_id"]}
        await connection.send(json.dumps({**truncate, "content_index": 0, "audio_end_ms": 40}))
        assert (await until(connection, "conversation.item.truncated"))["audio_end_ms"] == 40
        assert service.problems == []
        await connection.send(json.dumps({**truncate, "content_index": 0, "audio_end_ms": 9000}))
        assert (await until(connection, "error"))["error"]["code"] == "invalid_value"
        assert "9000 ms are told as heard" in service.problems[0]
        assert [cut.heard_ms for cut in service.truncations] == [40]


@pytest.mark.parametrize(
    ("event", "problem"),
    [
        ("no JSON", "no event"),
        ("{}", "no event"),
        ('{"type":"session.updat","session":{}}', "no event"),
        ('{"type":"session.update","session":{"voice":"alloy"}}', "session.voice is unknown"),
        (BETA, "session.modalities is unknown"),
        ('{"type":"input_audio_buffer.append","audio":"?"}', "audio is no base64"),
        ('{"type":"input_audio_buffer.append","data":"AAA="}', "data is unknown"),
        (
            '{"type":"conversation.item.truncate","item_id":"i","content_index":0}',
            "audio_end_ms is missing",
        ),
        (
            '{"type":"conversation.item.truncate","item_id":"i","content_index":0,'
            '"audio_end_ms":1.5}',
            "audio_end_ms is float, not int",
        ),
        ('{"type":"response.cancel"}', "no answer to cancel"),
    ],
)
async def test_a_wrong_event_is_found(event: str, problem: str) -> None:
    """It is noted, and the client is told as by the real service."""
    async with RealtimeService([]) as service, realtime(service) as connection:
        await connection.send(event)
        assert (await until(connection, "error"))["error"]["type"] == "invalid_request_error"
        assert problem in service.problems[0]


async def test_the_beta_has_its_own_events() -> None:
    """By the header: its session, its names; the newer session is refused there."""
    service = RealtimeService([np.zeros(2400, np.int16)])
    async with service, realtime(service, OpenAI_Beta="realtime=v1") as connection:
        await connection.send(BETA)
        await until(connection, "session.updated")
        await connection.send('{"type":"response.create"}')
        await until(connection, "response.audio.delta")
        await until(connection, "response.done")
        assert service.problems == []
        await connection.send(SESSION)
        await until(connection, "error")


QUERY = "encoding=linear16&sample_rate=8000&channels=1&model=nova-3&endpointing=300"


def transcription(service: TranscriptionService, query: str = QUERY) -> connect:
    headers = {"Authorization": f"Token {KEY}"}
    return connect(f"{service.url}?{query}", additional_headers=headers, proxy=None)


async def test_a_transcription() -> None:
    """Audio in, a text at each pause, the rest behind CloseStream, and the end."""
    service = TranscriptionService(["one", "two"])
    async with service, transcription(service) as connection:
        for audio in (LOUD, *[QUIET] * 2):  # 0.3 s each at 8 kHz
            await connection.send(audio)
        results = await told(connection)
        assert results["type"] == "Results"
        assert results["channel"]["alternatives"][0]["transcript"] == "one"
        assert (results["is_final"], results["speech_final"]) == (True, True)
        await connection.send(LOUD)
        await connection.send('{"type":"KeepAlive"}')
        await connection.send('{"type":"CloseStream"}')
        assert (await told(connection))["channel"]["alternatives"][0]["transcript"] == "two"
        assert (await told(connection))["type"] == "Metadata"
        with pytest.raises(ConnectionClosed):
            await connection.recv()
        assert connection.close_code == 1000
        assert service.problems == []


@pytest.mark.parametrize(
    ("query", "data", "problem"),
    [
        (QUERY, b"\x00", "audio of 1 octets"),
        (QUERY, '{"type":"Keepalive"}', "no message"),
        (QUERY, '{"type":"KeepAlive","x":1}', "x is unknown"),
        ("encoding=linear16&sample_rate=8000&channels=1", b"", "query.model is missing"),
        (f"{QUERY}&modle=x", b"", "query.modle is unknown"),
        (f"{QUERY}&utterance_end_ms=1000", b"", "needs interim_results"),
    ],
)
async def test_a_wrong_transcription_is_found(query: str, data: str | bytes, problem: str) -> None:
    """In the URL, and in what follows."""
    async with TranscriptionService([]) as service, transcription(service, query) as connection:
        await connection.send(data)
        await service.wait_until(lambda: service.problems)
        assert problem in service.problems[0]


def synthesis(service: SynthesisService, version: str = "2025-04-16") -> connect:
    headers = {"Authorization": f"Bearer {KEY}", "Cartesia-Version": version}
    return connect(service.url, additional_headers=headers, proxy=None)


async def test_a_synthesis() -> None:
    """Text in two inputs, audio, the end; a context that is cancelled says no more."""
    async with SynthesisService() as service, synthesis(service) as connection:
        await connection.send(SPEAK % ("Hello ", "true"))
        await connection.send(SPEAK % ("there.", "false"))
        n_octets = 0
        while (message := await told(connection))["type"] == "chunk":
            assert message["context_id"] == "c1"
            n_octets += len(base64.b64decode(message["data"]))
        assert (message["type"], message["done"]) == ("done", True)
        assert n_octets == 2 * 8 * 60 * len("Hello there.")
        assert service.said == {"c1": "Hello there."}
        await connection.send('{"context_id":"c1","cancel":true}')
        await service.wait_until(lambda: service.cancelled == ["c1"])
        assert service.problems == []


@pytest.mark.parametrize(
    ("texts", "problem"),
    [
        (["{}"], "model_id is missing"),
        ([(SPEAK % ("a", "false")).replace("8000", "11025")], "sample_rate is 11025"),
        ([(SPEAK % ("a", "false")).replace("raw", "wav")], "container is 'wav'"),
        ([SPEAK % ("a", "false"), SPEAK % ("b", "false")], "behind one without continue"),
        (
            [SPEAK % ("a", "true"), (SPEAK % ("b", "true")).replace("sonic-3", "sonic-2")],
            "fields of a context's inputs differ",
        ),
        (['{"context_id":"c1","cancel":1}'], "cancel is 1"),
    ],
)
async def test_a_wrong_synthesis_is_found(texts: list[str], problem: str) -> None:
    """The fields of one input, and those of several together."""
    async with SynthesisService() as service, synthesis(service) as connection:
        for text in texts:
            await connection.send(text)
        await service.wait_until(lambda: service.problems)
        assert problem in service.problems[0]


async def test_a_version_that_is_no_date_is_found() -> None:
    """The header is needed."""
    async with SynthesisService() as service, synthesis(service, "v1"):
        await service.wait_until(lambda: service.problems)
        assert "no date" in service.problems[0]


async def test_the_handshake_is_refused_as_wanted() -> None:
    """Without the key, elsewhere, and while it is busy."""
    async with RealtimeService([]) as service:
        for url, headers, status in (
            (service.url, {}, 401),
            (f"{service.url}/x", {"Authorization": f"Bearer {KEY}"}, 404),
        ):
            with pytest.raises(InvalidStatus) as refused:
                await connect(url, additional_headers=headers, proxy=None)
            assert refused.value.response.status_code == status
        service.refuse_status, service.retry_after_s = 429, 7
        with pytest.raises(InvalidStatus) as refused:
            await realtime(service)
        assert refused.value.response.headers["Retry-After"] == "7"
        assert service.n_connections == 0


async def test_a_stand_in_of_your_own() -> None:
    """A few lines; it can be stopped, and started again at the same port."""

    class Parrot(StandIn):
        async def talk(self, connection: Any) -> None:
            async for data in connection:
                await connection.send(data)

    headers = {"Authorization": f"Bearer {KEY}"}
    async with Parrot() as service:
        url = service.url
        async with connect(url, additional_headers=headers, proxy=None) as connection:
            await connection.send("hello")
            assert await connection.recv() == "hello"
            await service.close(4000, "enough")
            with pytest.raises(ConnectionClosed):
                await connection.recv()
            assert connection.close_code == 4000
        await service.stop()
        with pytest.raises(OSError):
            await connect(url, additional_headers=headers, proxy=None)
        await service.start()
        assert service.url == url
        async with connect(url, additional_headers=headers, proxy=None):
            pass
