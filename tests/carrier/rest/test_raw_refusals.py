"""Codes and rules of the fake, from protocol.md 3, by plain requests."""

from __future__ import annotations

from typing import Any

import pytest

from mediaserver.carrier.rest.faults import RestFault
from tests.carrier.rest.raw import DIAL, raw

DEEPGRAM = {"transcription_engine": "Deepgram", "transcription_model": "deepgram/nova-3"}
AZURE = {"transcription_engine": "Azure", "region": "eastus"}
GOOGLE = {"transcription_engine": "Google"}
SONIOX = {"transcription_engine": "Soniox"}
RX, TX = "udp:192.0.2.1:9000", "udp:192.0.2.1:9001"
CONFIG = "transcription_engine_config"

REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    ("speak", {"payload": "a"}, "10004", "/voice"),
    ("speak", {"voice": "a"}, "10004", "/payload"),
    ("speak", {"payload": "a", "voice": "b", "payload_type": "html"}, "10032", "/payload_type"),
    ("speak", {"payload": "a", "voice": "b", "target_legs": "all"}, "10032", "/target_legs"),
    ("speak", {"payload": "a", "voice": "b", "pitch": 1}, "10015", "/pitch"),
    ("record_start", {"channels": "dual"}, "10004", "/format"),
    ("record_start", {"channels": "two", "format": "wav"}, "10032", "/channels"),
    (
        "record_start",
        {"channels": "dual", "format": "wav", "max_length": -1},
        "10033",
        "/max_length",
    ),
    ("send_dtmf", {}, "10004", "/digits"),
    ("send_dtmf", {"digits": "x"}, "10015", "/digits"),
    ("transfer", {}, "10004", "/to"),
    ("transfer", {"to": "+2", "timeout_secs": 601}, "10033", "/timeout_secs"),
    ("transfer", {"to": "nobody"}, "10016", "/to"),
    ("transfer", {"to": "+2", "from": "nobody"}, "10016", "/from"),
    ("bridge", {}, "10004", "/call_control_id"),
    ("gather_using_speak", {"payload": "a"}, "10004", "/voice"),
    ("playback_start", {"audio_type": "ogg"}, "10032", "/audio_type"),
    ("suppression_start", {"direction": "self"}, "10032", "/direction"),
    ("streaming_start", {}, "10004", "/stream_url"),
    ("streaming_start", {"stream_url": "wss://a", "stream_codec": "x"}, "10032", "/stream_codec"),
    (
        "answer",
        {"stream_bidirectional_sampling_rate": 8000},
        "10015",
        "/stream_bidirectional_sampling_rate",
    ),
    ("answer", {"custom_parameters": []}, "10015", "/custom_parameters"),
    ("fork_start", {}, "10004", "/rx"),
    ("fork_start", {"rx": RX}, "10004", "/tx"),
    ("fork_start", {"tx": TX, "stream_type": "decrypted"}, "10004", "/rx"),
    ("fork_start", {"rx": RX, "tx": TX, "stream_type": "raw"}, "10032", "/stream_type"),
    ("fork_start", {"target": RX, "stream_type": "decrypted"}, "10015", "/stream_type"),
    ("fork_start", {"target": RX, "rx": RX}, "10015", "/rx"),
    ("transcription_start", {"transcription_engine": "Tomorrow"}, "10032", "/transcription_engine"),
    ("transcription_start", {"transcription_engine": "Azure"}, "10004", f"/{CONFIG}/region"),
    *[
        (
            "transcription_start",
            {"transcription_engine": engine, CONFIG: config},
            code,
            f"/{CONFIG}/{key}",
        )
        for engine, config, code, key in (
            ("Google", {"language": "en"}, "10004", "transcription_engine"),
            ("Google", {"transcription_engine": "Telnyx"}, "10032", "transcription_engine"),
            ("Google", GOOGLE | {"model": "nova"}, "10032", "model"),
            ("Google", GOOGLE | {"langage": "en"}, "10015", "langage"),
            ("Google", GOOGLE | {"speech_context": [{"boost": 21}]}, "10015", "speech_context"),
            (
                "Telnyx",
                {"transcription_engine": "Telnyx", "transcription_model": "whisper"},
                "10032",
                "transcription_model",
            ),
            ("Deepgram", {"transcription_engine": "Deepgram"}, "10004", "transcription_model"),
            (
                "Deepgram",
                DEEPGRAM | {"transcription_model": "nova-3"},
                "10032",
                "transcription_model",
            ),
            ("Deepgram", DEEPGRAM | {"hints": ["a"]}, "10015", "hints"),
            ("Deepgram", DEEPGRAM | {"keyterms": ["a"] * 101}, "10015", "keyterms"),
            ("Deepgram", DEEPGRAM | {"utterance_end_ms": 5001}, "10033", "utterance_end_ms"),
            ("Azure", {"transcription_engine": "Azure"}, "10004", "region"),
            ("Azure", AZURE | {"region": "westus"}, "10032", "region"),
            ("Soniox", SONIOX | {"max_endpoint_delay_ms": 499}, "10033", "max_endpoint_delay_ms"),
        )
    ],
]


@pytest.mark.parametrize(("action", "body", "code", "pointer"), REFUSED)
async def test_a_wrong_body_has_its_code_and_its_field(
    action: str, body: dict[str, Any], code: str, pointer: str
) -> None:
    """10004: missing; 10032: not in the enumeration; 10033: out of range; the field is named."""
    async with raw() as r:
        status, answer = await r.post(f"/calls/v3:x/actions/{action}", body)
        error = answer["errors"][0]
        assert (status, error["code"], error["source"]) == (422, code, {"pointer": pointer})


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        ({"from": "+1", "to": "+2"}, "10004", "/connection_id"),
        (DIAL | {"connection_id": ""}, "10015", "/connection_id"),
        (DIAL | {"to": []}, "10015", "/to"),
        (DIAL | {"to": 5}, "10015", "/to"),
        *(
            (DIAL | {"to": to}, "10016", "/to")
            for to in (
                *("notanumber", "13122123456", "+1 312 212 3456", "+0312", "+", "(312) 212-3456"),
                *("+1312212345678901", "+1312212345６", "+13122123456\n", "sip:", "sip:nobody"),
                *("sip:a b@example.com", "mailto:a@example.com"),
                *(["+13122123456", "notanumber"], ["sip:a@example.com", ""]),
            )
        ),
        (DIAL | {"from": "me"}, "10016", "/from"),
        (DIAL | {"answering_machine_detection": "on"}, "10032", "/answering_machine_detection"),
        (
            DIAL | {"transcription_config": {"transcription_engine": "x"}},
            "10032",
            "/transcription_engine",
        ),
    ],
)
async def test_a_wrong_dial_has_its_code(body: dict[str, Any], code: str, pointer: str) -> None:
    """10015 is a bad connection_id, 10016 a number that is none."""
    async with raw() as r:
        status, answer = await r.post("/calls", body)
        error = answer["errors"][0]
        assert (status, error["code"], error["source"]) == (422, code, {"pointer": pointer})


@pytest.mark.parametrize(
    "to",
    ["+13122123456", "sip:a@example.com", "sips:a@example.com;transport=tls", ["+2", "sip:a@b"]],
)
async def test_numbers_and_sip_uris_are_dialled(to: object) -> None:
    """One or several of either."""
    async with raw() as r:
        assert await r.dial(to=to)


async def test_an_unknown_call_is_422_and_90015() -> None:
    """Not 404: for an action, and for the other call of a bridge."""
    async with raw() as r:
        assert await r.refused("v3:x", "hangup") == (422, "90015")
        call = await r.dialled()
        assert await r.refused(call, "bridge", call_control_id="v3:x") == (422, "90015")


CONFIGS: list[tuple[str, dict[str, Any]]] = [
    (
        "Google",
        {
            "transcription_engine": "Google",
            "language": "en",
            "interim_results": True,
            "model": "phone_call",
            "speech_context": [{"phrases": ["x"], "boost": 20}],
        },
    ),
    ("A", {"transcription_engine": "A", "hints": ["a"]}),
    ("Telnyx", {"transcription_engine": "Telnyx", "transcription_model": "openai/whisper-tiny"}),
    ("B", {"transcription_engine": "B", "language": "en"}),
    ("Deepgram", DEEPGRAM | {"keyterms": ["a"] * 100, "keywords_boosting": {"a": 1.5}}),
    (
        "Deepgram",
        {"transcription_engine": "Deepgram", "transcription_model": "deepgram/nova-2", "hints": []},
    ),
    ("Deepgram", DEEPGRAM | {"transcription_engine": "deepgram/nova-3"}),
    ("Azure", AZURE | {"api_key_ref": "my-key"}),
    ("Soniox", SONIOX | {"enable_endpoint_detection": True, "max_endpoint_delay_ms": 3000}),
    *[
        (engine, {"transcription_engine": engine, "transcription_model": "m", "new": 1})
        for engine in (
            *("xAI", "AssemblyAI", "Speechmatics", "Parakeet"),
            *("Humain", "Reson8", "Cohere"),
        )
    ],
]


@pytest.mark.parametrize(("engine", "config"), CONFIGS)
async def test_each_engine_s_configuration_is_taken(engine: str, config: dict[str, Any]) -> None:
    """A member of the union, with its engine inside, starts a transcription."""
    async with raw() as r:
        call = await r.dialled()
        body = {"transcription_engine": engine, CONFIG: config}
        await r.act(call, "transcription_start", **body)
        await r.until_event("call.transcription")


async def test_transcription_and_recording_get_into_each_other_s_way() -> None:
    """90054: transcribed already; 90053, 90055: a recording that ends by silence needs it too."""
    async with raw() as r:
        call = await r.dialled()
        by_silence = {"channels": "single", "format": "mp3", "timeout_secs": 5}
        await r.act(call, "transcription_start")
        assert await r.refused(call, "transcription_start") == (422, "90054")
        assert await r.refused(call, "record_start", **by_silence) == (422, "90053")
        await r.act(call, "record_start", channels="single", format="mp3")
        await r.act(call, "transcription_stop")
        await r.act(call, "record_start", **by_silence)
        await r.act(call, "transcription_start")
        assert await r.refused(call, "transcription_stop") == (422, "90055")
        await r.act(call, "record_stop")
        await r.act(call, "transcription_stop")


@pytest.mark.parametrize("body", [{"rx": RX, "tx": TX}, {"target": RX}])
async def test_a_fork_ends_with_its_call(body: dict[str, Any]) -> None:
    """Both addresses, or the old target alone; its end is reported with the call's."""
    async with raw() as r:
        call = await r.dialled()
        await r.act(call, "fork_start", **body)
        await r.until_event("call.fork.started")
        r.call(call).hang_up()
        assert (await r.until_event("call.fork.stopped"))["stream_type"] == "decrypted"
        await r.until_event("call.hangup")


async def test_dial_takes_a_list_and_fields_that_are_not_named() -> None:
    """``to`` may be a list; any other field passes."""
    async with raw() as r:
        await r.dialled(to=["+2", "sip:a@b"], sound_modifications={"pitch": 1}, timeout_secs=30)
        initiated = await r.until_event("call.initiated")
        assert initiated["to"] == "+2"


async def test_answer_takes_its_new_fields() -> None:
    """And goes without a stream."""
    async with raw() as r:
        call = r.fake.ring().call_control_id
        body = {"send_silence_when_idle": True, "webhook_url": r.fake.webhook_url}
        more = {
            "preferred_codecs": "G722",
            "record": "record-from-answer",
            "record_channels": "dual",
        }
        transcription = {"transcription": True, "transcription_config": GOOGLE}
        headers = {"custom_headers": [{"name": "X-A", "value": "b"}]}
        await r.act(call, "answer", **body, **more, **transcription, **headers)
        await r.until_event("call.answered")


@pytest.mark.parametrize(
    ("command", "status", "code"),
    [
        ("dial", 429, "90103"),
        ("dial", 422, "10011"),
        ("hangup", 429, "10011"),
        ("hangup", 503, "10007"),
        ("hangup", 503, "90072"),
    ],
)
async def test_passing_failures_come_on_demand(command: str, status: int, code: str) -> None:
    """Status, code and ``Retry-After`` of a failure are chosen; after it all is as before."""
    async with raw() as r:
        call = await r.dialled()
        fault = RestFault("status", command, status=status, code=code, headers={"retry-after": "1"})
        r.fake.faults.add(fault)
        path, body = (
            ("/calls", DIAL) if command == "dial" else (f"/calls/{call}/actions/hangup", {})
        )
        first, second = await r.post(path, body), await r.post(path, body)
        assert (first[0], first[1]["errors"][0]["code"]) == (status, code)
        assert second[0] == 200


@pytest.mark.parametrize(
    ("codec", "asked_hz", "rate_hz"),
    [("G722", 16000, 16000), ("G722", 8000, 16000), ("L16", 16000, 16000), ("L16", None, 8000)],
)
async def test_the_way_back_has_the_rate_that_was_asked_for(
    codec: str, asked_hz: int | None, rate_hz: int
) -> None:
    """G722 is 16 kHz whatever is said; L16 is 8 kHz where nothing is, as with ``answer``."""
    async with raw() as r:
        body = {
            "stream_url": r.media_url,
            "stream_bidirectional_mode": "rtp",
            "stream_bidirectional_codec": codec,
        }
        if asked_hz is None:
            call = r.fake.ring().call_control_id
            await r.act(call, "answer", **body)
        else:
            call = await r.dialled()
            await r.act(
                call, "streaming_start", **body, stream_bidirectional_sampling_rate=asked_hz
            )
        await r.until(lambda: "start" in r.wire)
        stream = r.call(call).stream
        assert stream is not None
        assert stream.line is not None
        assert stream.line.intake.ear.rate_hz == rate_hz
