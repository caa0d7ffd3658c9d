"""Each command sends the literal body of protocol.md."""

from __future__ import annotations

from typing import Any

import pytest

from mediaserver.control.rest.fields import COMMANDS
from tests.control.rest.sending import CALL, COMMON, COMMON_SENT, URL, sent

STREAM_ID = "32DE0DEA-53CB-4B21-89A4-9E1819C043BC"
BOT = {
    "stream_url": URL,
    "stream_bidirectional_mode": "rtp",
    "stream_bidirectional_codec": "PCMU",
    "stream_bidirectional_sampling_rate": 8000,
    "stream_bidirectional_target_legs": "self",
    "custom_parameters": [
        {"name": "send_codec", "value": "PCMU"},
        {"name": "send_rate", "value": "8000"},
    ],
}


def with_told(codec: str, rate_hz: int, told_hz: int | None = None) -> dict[str, Any]:
    """The body of a stream in another codec."""
    return BOT | {
        "stream_bidirectional_codec": codec,
        "stream_bidirectional_sampling_rate": rate_hz,
        "custom_parameters": [
            {"name": "send_codec", "value": codec},
            {"name": "send_rate", "value": str(told_hz or rate_hz)},
        ],
    }


STREAM_CASES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, BOT),
    *[
        ({"stream_track": t}, BOT | {"stream_track": t})
        for t in ("inbound_track", "outbound_track")
    ],
    ({"stream_track": "both_tracks"}, BOT | {"stream_track": "both_tracks"}),
    *[
        ({"stream_codec": c}, BOT | {"stream_codec": c})
        for c in ("PCMU", "PCMA", "G722", "OPUS", "AMR-WB", "L16", "default")
    ],
    ({"stream_bidirectional_codec": "PCMA"}, with_told("PCMA", 8000)),
    ({"stream_bidirectional_codec": "G722"}, with_told("G722", 16000)),
    ({"stream_bidirectional_codec": "OPUS"}, with_told("OPUS", 16000)),
    ({"stream_bidirectional_codec": "AMR-WB"}, with_told("AMR-WB", 16000)),
    *[
        (
            {"stream_bidirectional_codec": "L16", "stream_bidirectional_sampling_rate": rate},
            with_told("L16", rate),
        )
        for rate in (8000, 16000, 22050, 24000, 48000)
    ],
    (
        {"stream_bidirectional_codec": "G722", "stream_bidirectional_sampling_rate": 8000},
        with_told("G722", 8000, 16000),
    ),
    *[
        (
            {"stream_bidirectional_target_legs": legs},
            BOT | {"stream_bidirectional_target_legs": legs},
        )
        for legs in ("both", "self", "opposite")
    ],
    ({"stream_bidirectional_mode": None}, {"stream_url": URL}),
    (
        {"stream_bidirectional_mode": "mp3"},
        {
            "stream_url": URL,
            "stream_bidirectional_mode": "mp3",
            "stream_bidirectional_target_legs": "self",
            "custom_parameters": [{"name": "send_codec", "value": "MP3"}],
        },
    ),
    ({"stream_auth_token": "a" * 4000}, BOT | {"stream_auth_token": "a" * 4000}),
    ({"enable_dialogflow": True}, BOT | {"enable_dialogflow": True}),
    (
        {"dialogflow_config": {"analyze_sentiment": True, "partial_automated_agent_reply": False}},
        BOT
        | {
            "dialogflow_config": {"analyze_sentiment": True, "partial_automated_agent_reply": False}
        },
    ),
    (
        {"custom_parameters": {"customer": "7", "vip": True, "n": 3}},
        BOT
        | {
            "custom_parameters": [
                {"name": "customer", "value": "7"},
                {"name": "vip", "value": "true"},
                {"name": "n", "value": "3"},
                *BOT["custom_parameters"],  # type: ignore[misc]  # a list among values of object
            ]
        },
    ),
    (
        {"processor": "bot-1.0", "processor_parameters": {"db": -6.5, "loud": False}},
        BOT
        | {
            "custom_parameters": [
                *BOT["custom_parameters"],  # type: ignore[misc]  # a list among values of object
                {"name": "processor", "value": "bot-1.0"},
                {"name": "param_db", "value": "-6.5"},
                {"name": "param_loud", "value": "false"},
            ]
        },
    ),
]


@pytest.mark.parametrize(("options", "body"), STREAM_CASES)
def test_streaming_start_sends_the_literal_body(
    options: dict[str, Any], body: dict[str, Any]
) -> None:
    """Every field and value of streaming_start gives the documented body."""
    path, got = sent("start_streaming", CALL, stream_url=URL, **COMMON, **options)
    assert path == "/v2/calls/v3%3Aabc%2Fdef/actions/streaming_start"
    assert got == body | COMMON_SENT


RECORD = {
    "record": "record-from-answer",
    "record_channels": "dual",
    "record_format": "mp3",
    "record_max_length": 3600,
    "record_timeout_secs": 0,
    "record_track": "both",
    "record_trim": "trim-silence",
    "record_custom_file_name": "order-17",
}
ANSWER = {
    "send_silence_when_idle": True,
    "webhook_url": "https://hooks.example.com/x",
    "webhook_url_method": "POST",
    "preferred_codecs": "G722,PCMU",
    "transcription": True,
    "transcription_config": {
        "transcription_engine": "Azure",
        "transcription_engine_config": {"transcription_engine": "Azure", "region": "westus2"},
    },
    "custom_headers": [{"name": "X-Order", "value": "17"}],
    **RECORD,
}

PLAIN_CASES: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("stop_streaming", "streaming_stop", {}, {}),
    ("stop_streaming", "streaming_stop", {"stream_id": STREAM_ID}, {"stream_id": STREAM_ID}),
    (
        "start_forking",
        "fork_start",
        {"rx": "udp:192.0.2.1:9000", "tx": "udp:192.0.2.1:9001"},
        {"rx": "udp:192.0.2.1:9000", "tx": "udp:192.0.2.1:9001", "stream_type": "decrypted"},
    ),
    (
        "start_forking",
        "fork_start",
        {"target": "udp:192.0.2.1:65535"},
        {"target": "udp:192.0.2.1:65535"},
    ),
    ("stop_forking", "fork_stop", {}, {"stream_type": "decrypted"}),
    ("stop_forking", "fork_stop", {"stream_type": "raw"}, {"stream_type": "raw"}),
    ("start_transcription", "transcription_start", {}, {}),
    *[
        (
            "start_transcription",
            "transcription_start",
            {"transcription_tracks": tracks},
            {"transcription_tracks": tracks},
        )
        for tracks in ("inbound", "outbound", "both")
    ],
    ("stop_transcription", "transcription_stop", {}, {}),
    ("hangup", "hangup", {}, {}),
    (
        "hangup",
        "hangup",
        {"custom_headers": {"X-Reason": "done"}},
        {"custom_headers": [{"name": "X-Reason", "value": "done"}]},
    ),
    ("answer", "answer", {}, {}),
    ("answer", "answer", ANSWER, ANSWER),
]


@pytest.mark.parametrize(("method", "action", "options", "body"), PLAIN_CASES)
def test_an_action_sends_the_literal_body(
    method: str, action: str, options: dict[str, Any], body: dict[str, Any]
) -> None:
    """Every field and value of the other actions gives the documented body."""
    path, got = sent(method, "v3:a", **COMMON, **options)
    assert path == f"/v2/calls/v3%3Aa/actions/{action}"
    assert got == body | COMMON_SENT


def test_dial_sends_the_literal_body() -> None:
    """Dialling tells our server by the URL's query what custom parameters cannot carry."""
    path, got = sent(
        "dial",
        connection_id="12",
        from_="+13122010094",
        to="+13122123456",
        stream_url=URL + "?a=b",
        stream_track="both_tracks",
        stream_codec="G722",
        stream_bidirectional_codec="L16",
        stream_auth_token="T",
        stream_establish_before_call_originate=True,
        send_silence_when_idle=False,
        webhook_url="https://hooks.example.com/x",
        processor="bot",
        processor_parameters={"say": "a b&c"},
        **COMMON,
    )
    assert path == "/v2/calls"
    assert got == COMMON_SENT | {
        "connection_id": "12",
        "from": "+13122010094",
        "to": "+13122123456",
        "stream_url": URL + "?a=b&send_codec=L16&send_rate=16000&processor=bot&param_say=a%20b%26c",
        "stream_track": "both_tracks",
        "stream_codec": "G722",
        "stream_bidirectional_mode": "rtp",
        "stream_bidirectional_codec": "L16",
        "stream_bidirectional_sampling_rate": 16000,
        "stream_bidirectional_target_legs": "self",
        "stream_auth_token": "T",
        "stream_establish_before_call_originate": True,
        "send_silence_when_idle": False,
        "webhook_url": "https://hooks.example.com/x",
    }


DIAL = {
    "enable_dialogflow": True,
    "dialogflow_config": {"analyze_sentiment": True},
    "timeout_secs": 600,
    "time_limit_secs": 14400,
    "answering_machine_detection": "premium",
    "sip_headers": [{"name": "User-to-User", "value": "17"}],
    "link_to": "v3:other",
    "bridge_intent": True,
    "from_display_name": "Shop",
    "media_encryption": "SRTP",
    **ANSWER,
}


@pytest.mark.parametrize("to", ["+13122123456", ["+13122123456", "sip:a@example.com"]])
def test_dial_names_the_documented_fields_and_passes_on_the_rest(to: Any) -> None:
    """``to`` is text or a list; fields without a name here go out by ``extra``."""
    extra = {"supervise_call_control_id": "v3:s", "sound_modifications": {"pitch": 0.8}}
    options = DIAL | {"extra": extra}
    _, got = sent("dial", connection_id="12", from_="+1", to=to, **options, **COMMON)
    ends = {"connection_id": "12", "from": "+1", "to": to}
    assert got == COMMON_SENT | ends | DIAL | extra


def test_dial_fills_in_the_engine_of_its_transcription() -> None:
    """The configuration inside ``transcription_config`` names its engine too."""
    inner = {"transcription_engine": "Telnyx", "transcription_engine_config": {"language": "en"}}
    ends = {"connection_id": "12", "from_": "+1", "to": "+2"}
    _, got = sent("dial", **ends, transcription=True, transcription_config=inner)
    assert got["transcription_config"] == {
        "transcription_engine": "Telnyx",
        "transcription_engine_config": {"language": "en", "transcription_engine": "Telnyx"},
    }


def test_dial_without_a_stream_sends_none() -> None:
    """A call can be made first and streamed later."""
    _, got = sent("dial", connection_id="12", from_="+1", to="sip:a@b", **COMMON)
    assert got == COMMON_SENT | {"connection_id": "12", "from": "+1", "to": "sip:a@b"}


@pytest.mark.parametrize(
    ("codec", "told_hz"),
    [
        ("PCMU", 8000),
        ("PCMA", 8000),
        ("G722", 16000),
        ("OPUS", 8000),
        ("AMR-WB", 16000),
        ("L16", 8000),
    ],
)
def test_answer_sends_no_rate_and_tells_the_one_telnyx_takes(codec: str, told_hz: int) -> None:
    """``answer`` has no rate field, so the server is told Telnyx's default for the codec."""
    _, got = sent("answer", "v3:a", stream_url=URL, stream_bidirectional_codec=codec, **COMMON)
    assert got == COMMON_SENT | {
        "stream_url": f"{URL}?send_codec={codec}&send_rate={told_hz}",
        "stream_bidirectional_mode": "rtp",
        "stream_bidirectional_codec": codec,
        "stream_bidirectional_target_legs": "self",
    }


def test_client_state_may_be_octets() -> None:
    """Octets are encoded as they are."""
    assert sent("hangup", "v3:a", client_state=b"\xff", command_id="c")[1] == {
        "client_state": "/w==",
        "command_id": "c",
    }


def test_a_command_id_is_made_for_each_command() -> None:
    """Two commands never share an id by chance."""
    ids = {sent("hangup", "v3:a")[1]["command_id"] for _ in range(3)}
    assert len(ids) == 3


def test_every_documented_field_has_a_rule() -> None:
    """The table of commands holds each field that protocol.md lists, and no command more."""
    stream = {
        "stream_url", "stream_track", "stream_codec", "stream_bidirectional_mode",
        "stream_bidirectional_codec", "stream_bidirectional_target_legs",
    }  # fmt: skip
    common = {"client_state", "command_id"}
    rated = stream | common | {"stream_bidirectional_sampling_rate", "stream_auth_token"}
    dialogflow = {"enable_dialogflow", "dialogflow_config"}
    answer = stream | common | set(ANSWER)
    spoken = {"payload", "voice", "language", "payload_type", "service_level", "voice_settings"}
    assert {name: set(rules) for name, rules in COMMANDS.items()} == {
        "streaming_start": rated | dialogflow | {"custom_parameters"},
        "streaming_stop": common | {"stream_id"},
        "fork_start": common | {"rx", "tx", "target", "stream_type"},
        "fork_stop": common | {"stream_type"},
        "transcription_start": common
        | {"transcription_engine", "transcription_tracks", "transcription_engine_config"},
        "transcription_stop": common,
        "dial": rated
        | answer
        | set(DIAL)
        | {"connection_id", "from", "to", "stream_establish_before_call_originate"},
        "answer": answer,
        "hangup": common | {"custom_headers"},
        "speak": common | spoken | {"loop", "stop", "target_legs"},
        "playback_start": common
        | {"audio_url", "media_name", "playback_content", "audio_type", "loop", "overlay"}
        | {"stop", "target_legs", "cache_audio"},
        "playback_stop": common | {"overlay", "stop"},
        "record_start": common
        | {"channels", "format", "play_beep", "max_length", "timeout_secs", "recording_track"}
        | {"trim", "custom_file_name", "transcription"},
        "record_stop": common | {"recording_id"},
        "record_pause": common | {"recording_id"},
        "record_resume": common | {"recording_id"},
        "send_dtmf": common | {"digits", "duration_millis"},
        "transfer": common
        | set(RECORD)
        | {"to", "from", "from_display_name", "audio_url", "early_media", "timeout_secs"}
        | {"time_limit_secs", "custom_headers", "sip_headers", "answering_machine_detection"}
        | {"mute_dtmf", "park_after_unbridge", "target_leg_client_state", "webhook_url"},
        "bridge": common
        | set(RECORD)
        | {"call_control_id", "hold_after_unbridge", "park_after_unbridge", "play_ringtone"}
        | {"mute_dtmf", "queue"},
        "gather_using_speak": common
        | spoken
        | {"minimum_digits", "maximum_digits", "maximum_tries", "timeout_millis"}
        | {"inter_digit_timeout_millis", "terminating_digit", "valid_digits", "invalid_payload"},
        "suppression_start": common
        | {"direction", "noise_suppression_engine", "noise_suppression_engine_config"},
        "suppression_stop": common,
    }
