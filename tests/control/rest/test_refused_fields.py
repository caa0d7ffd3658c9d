"""Values that Telnyx does not take are refused by name before any request."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from mediaserver.control.client import TelnyxClient
from mediaserver.control.errors import InvalidFieldError
from tests.control.rest.sending import URL, sent

RX = "udp:192.0.2.1:9000"
START, RATE = "start_streaming", "stream_bidirectional_sampling_rate"
NOVA_2 = {"transcription_model": "deepgram/nova-2"}
NOVA_3: dict[Any, Any] = {"transcription_model": "deepgram/nova-3"}
REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    (START, {"stream_url": None}, "stream_url", "public_url"),
    (START, {"stream_url": "https://a/b"}, "stream_url", "wss://"),
    (START, {"stream_url": "ws://media.example.com/media"}, "stream_url", "allow_insecure"),
    (START, {"stream_url": "wss:///media"}, "stream_url", "wss://"),
    (START, {"stream_url": "wss://a:x/media"}, "stream_url", "wss://"),
    (START, {"stream_url": "wss://a b/media"}, "stream_url", "wss://"),
    (START, {"stream_url": 7}, "stream_url", "wss://"),
    (START, {"stream_url": "wss://a/b#c"}, "stream_url", "fragment"),
    (START, {"stream_url": "wss://u:p@a/b"}, "stream_url", "user"),
    (START, {"stream_url": "wss://a/" + "b" * 2000}, "stream_url", "2000"),
    (START, {"stream_track": "inbound"}, "stream_track", "both_tracks"),
    (START, {"stream_codec": "pcmu"}, "stream_codec", "AMR-WB"),
    (START, {"stream_bidirectional_mode": "RTP"}, "stream_bidirectional_mode", "mp3, rtp"),
    (START, {"stream_bidirectional_codec": "pcmu"}, "stream_bidirectional_codec", "PCMA"),
    (START, {"stream_bidirectional_codec": "default"}, "stream_bidirectional_codec", "PCMA"),
    (START, {"stream_bidirectional_codec": "L16", RATE: 44100}, RATE, "22050"),
    (START, {"stream_bidirectional_codec": "L16", RATE: "16000"}, RATE, "22050"),
    (START, {RATE: 16000}, RATE, "8000 with PCMU"),
    (START, {"stream_bidirectional_mode": "mp3", RATE: 44100}, RATE, "8000"),
    (
        START,
        {"stream_bidirectional_target_legs": "none"},
        "stream_bidirectional_target_legs",
        "self",
    ),
    (START, {"stream_auth_token": "a" * 4001}, "stream_auth_token", "4000"),
    (START, {"stream_auth_token": ""}, "stream_auth_token", "1 to 4000"),
    (START, {"enable_dialogflow": 1}, "enable_dialogflow", "true or false"),
    (START, {"dialogflow_config": {"x": True}}, "dialogflow_config", "analyze_sentiment"),
    (START, {"dialogflow_config": {"analyze_sentiment": "y"}}, "dialogflow_config", "true"),
    (START, {"dialogflow_config": 1}, "dialogflow_config", "an object"),
    (START, {"custom_parameters": [1]}, "custom_parameters", "dict"),
    (START, {"custom_parameters": {"a": None}}, "custom_parameters.a", "text"),
    (START, {"custom_parameters": {1: "a"}}, "custom_parameters", "name"),
    (START, {"custom_parameters": {"send_codec": "L16"}}, "custom_parameters.send_codec", "left"),
    (START, {"custom_parameters": {"param_x": "1"}}, "custom_parameters.param_x", "left"),
    (START, {"processor": "a.py:Bot"}, "processor", "never a path"),
    (START, {"processor": "../bot"}, "processor", "never a path"),
    (START, {"processor": "bot.py"}, "processor", "never a path"),
    (START, {"processor": "package:bot"}, "processor", "never a path"),
    (START, {"processor": ""}, "processor", "never a path"),
    (START, {"processor_parameters": {"a-b": 1}}, "processor_parameters", "letters"),
    (START, {"processor_parameters": {"a": [1]}}, "processor_parameters.a", "text"),
    (START, {"client_state": ""}, "client_state", "not empty"),
    (START, {"client_state": 7}, "client_state", "text or octets"),
    (START, {"command_id": "a b"}, "command_id", "blanks"),
    (START, {"webhook_url": "https://a/b"}, "webhook_url", "does not take it"),
    ("stop_streaming", {"stream_id": "7"}, "stream_id", "UUID"),
    ("start_forking", {}, "rx", "with tx (or target"),
    ("start_forking", {"rx": "udp:192.0.2.1:9000"}, "tx", "with rx (or target"),
    ("start_forking", {"tx": "udp:192.0.2.1:9000"}, "rx", "with tx (or target"),
    ("start_forking", {"target": "udp:192.0.2.1:1", "rx": RX}, "target", "left out with rx"),
    ("start_forking", {"target": "udp:192.0.2.1:1", "tx": RX}, "target", "left out with rx"),
    ("start_forking", {"rx": "192.0.2.1:9000", "tx": RX}, "rx", "udp:ip:port"),
    ("start_forking", {"rx": "udp:host:9000", "tx": RX}, "rx", "udp:ip:port"),
    ("start_forking", {"rx": RX, "tx": "udp:192.0.2.1:65536"}, "tx", "udp:ip:port"),
    ("start_forking", {"rx": RX, "tx": "udp:192.0.2.1:0"}, "tx", "udp:ip:port"),
    ("start_forking", {"target": "udp:192.0.2.1:"}, "target", "udp:ip:port"),
    ("start_forking", {"target": 9}, "target", "udp:ip:port"),
    ("stop_forking", {"stream_type": "encrypted"}, "stream_type", "raw, decrypted"),
    ("start_transcription", {"transcription_engine": ""}, "transcription_engine", "not empty"),
    ("start_transcription", {"transcription_tracks": "all"}, "transcription_tracks", "both"),
    *[
        (
            "start_transcription",
            {"transcription_engine": engine, "transcription_engine_config": config},
            "transcription_engine_config",
            said,
        )
        for engine, config, said in (
            ("Google", {"langage": "en"}, "language"),
            ("Google", {"min_speaker_count": 0}, "min_speaker_count"),
            ("Google", {"min_speaker_count": True}, "min_speaker_count"),
            ("Google", {"model": "latest"}, "latest_long"),
            ("Google", {"speech_context": [{"phrases": ["a"], "boost": 21}]}, "0 to 20"),
            ("Google", {"transcription_engine": "Telnyx"}, "transcription_engine: one of Google"),
            (None, {"transcription_engine": "Telnyx"}, "transcription_engine: one of Google"),
            ("A", {"hints": "word"}, "hints"),
            ("A", {"transcription_engine": "Google"}, "transcription_engine: one of A"),
            ("Telnyx", {"hints": []}, "transcription_model"),
            ("Telnyx", {"transcription_model": "whisper"}, "openai/whisper-tiny"),
            ("Deepgram", {"transcription_model": "nova-2"}, "deepgram/nova-2, deepgram/nova-3"),
            ("Deepgram", {"language": "en"}, "transcription_model required"),
            ("Deepgram", None, "transcription_model required"),
            ("Deepgram", NOVA_2 | {"keyterms": ["a"]}, "hints"),
            ("Deepgram", NOVA_3 | {"hints": ["a"]}, "keyterms"),
            ("Deepgram", NOVA_3 | {"keyterms": ["a"] * 101}, "at most 100"),
            ("Deepgram", NOVA_3 | {"utterance_end_ms": 5001}, "0 to 5000"),
            ("Deepgram", NOVA_3 | {"keywords_boosting": {"a": "b"}}, "words and numbers"),
            ("Deepgram", NOVA_3 | {"other": 1}, "smart_format"),
            ("Deepgram", NOVA_3 | {"transcription_engine": "deepgram/nova-1"}, "deepgram/nova-3"),
            ("Deepgram", NOVA_3 | {1: 2}, "smart_format"),
            ("Azure", {"language": "en"}, "region required"),
            ("Azure", None, "region required"),
            ("Azure", {"region": "westus"}, "westus2"),
            ("Azure", {"region": "eastus", "api_key_ref": 7}, "api_key_ref"),
            ("Soniox", {"max_endpoint_delay_ms": 499}, "500 to 3000"),
            ("Soniox", {"interim_results": "yes"}, "true or false"),
            ("Soniox", {"new_key": {1, 2}}, "new_key"),
            ("Soniox", {"transcription_engine": "xAI"}, "one of Soniox"),
            ("Tomorrow", {"transcription_engine": "Today"}, "one of Tomorrow"),
            ("Soniox", [1], "an object"),
        )
    ],
    ("answer", {"stream_url": URL, RATE: 8000}, RATE, "answer does not take it"),
    ("answer", {"stream_url": URL, "stream_auth_token": "T"}, "stream_auth_token", "not take it"),
    ("answer", {"stream_url": URL, "custom_parameters": {}}, "custom_parameters", "not take it"),
    ("answer", {"stream": True}, "stream_url", "public_url"),
    ("answer", {"stream_track": "both_tracks"}, "stream_track", "stream=True"),
    ("answer", {"processor": "bot"}, "processor", "stream=True"),
    ("hangup", {"client_state": b""}, "client_state", "not empty"),
]


@pytest.mark.parametrize(("method", "options", "field", "said"), REFUSED)
def test_a_wrong_value_is_refused_before_any_request(
    method: str, options: dict[str, Any], field: str, said: str
) -> None:
    """A value Telnyx does not take is refused by name, with what is allowed."""
    base: dict[str, Any] = {"stream_url": URL} if method == START else {}

    def answer(request: httpx.Request) -> httpx.Response:
        raise AssertionError("a request was made")

    async def run() -> None:
        async with TelnyxClient("KEY", transport=httpx.MockTransport(answer)) as client:
            await getattr(client.calls.actions, method)("v3:a", **base | options)

    with pytest.raises(InvalidFieldError) as caught:
        asyncio.run(run())
    assert caught.value.field == field
    assert said in caught.value.allowed
    assert str(caught.value) == f"{field}: must be {caught.value.allowed}"


@pytest.mark.parametrize("call", ["", ".", "..", "a b", "a\n", "é", "x" * 1001])
def test_a_call_id_that_would_command_something_else_is_refused(call: str) -> None:
    """An id that is empty, folds away in a path or holds blanks makes no request."""
    with pytest.raises(InvalidFieldError, match="call_control_id"):
        sent("hangup", call)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"connection_id": "", "from_": "+1", "to": "+2"}, "connection_id"),
        ({"connection_id": "1", "from_": None, "to": "+2"}, "from"),
        ({"connection_id": "1", "from_": "+1", "to": 5}, "to"),
        (
            {"connection_id": "1", "from_": "+1", "to": "+2", "custom_parameters": {}},
            "custom_parameters",
        ),
        (
            {
                "connection_id": "1",
                "from_": "+1",
                "to": "+2",
                "stream_establish_before_call_originate": True,
            },
            "stream_establish_before_call_originate",
        ),
    ],
)
def test_dial_refuses_by_name(fields: dict[str, Any], field: str) -> None:
    """``dial`` names the field it cannot send."""
    with pytest.raises(InvalidFieldError) as caught:
        sent("dial", **fields)
    assert caught.value.field == field
