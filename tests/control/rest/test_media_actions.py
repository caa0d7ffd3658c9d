"""The commands beside streaming send the literal bodies of protocol.md, bound to a call or not."""

from __future__ import annotations

import asyncio
import inspect
import json
from typing import Any

import httpx
import pytest

from mediaserver.control import BoundActions, TelnyxClient
from mediaserver.control.errors import InvalidFieldError
from mediaserver.control.rest.commands import Actions
from tests.control.rest.sending import CALL, COMMON, COMMON_SENT, sent
from tests.control.rest.test_fields import RECORD

SPOKEN = {
    "payload": "Hello",
    "voice": "female",
    "language": "en-US",
    "payload_type": "text",
    "service_level": "premium",
    "voice_settings": {"type": "elevenlabs"},
}
TRANSFER = {
    "from_display_name": "Shop",
    "audio_url": "https://media.example.com/a.mp3",
    "early_media": False,
    "timeout_secs": 30,
    "time_limit_secs": 14400,
    "custom_headers": [{"name": "X-Order", "value": "17"}],
    "sip_headers": [{"name": "User-to-User", "value": "17"}],
    "answering_machine_detection": "detect",
    "mute_dtmf": "both",
    "park_after_unbridge": "self",
    "webhook_url": "https://hooks.example.com/x",
    **RECORD,
}
SAME: list[tuple[str, str, dict[str, Any]]] = [
    ("speak", "speak", {"payload": "Hello", "voice": "female"}),
    ("speak", "speak", SPOKEN | {"loop": 2, "stop": "current", "target_legs": "self"}),
    ("speak", "speak", {"payload": "<speak/>", "voice": "a", "payload_type": "ssml"}),
    ("speak", "speak", {"payload": "Hello", "voice": "a", "loop": "infinity"}),
    (
        "start_playback",
        "playback_start",
        {
            "audio_url": "https://media.example.com/a.mp3",
            "audio_type": "mp3",
            "loop": "infinity",
            "overlay": True,
            "stop": "all",
            "target_legs": "both",
            "cache_audio": False,
        },
    ),
    ("start_playback", "playback_start", {"media_name": "hello"}),
    ("start_playback", "playback_start", {"playback_content": "SUQz", "audio_type": "wav"}),
    ("stop_playback", "playback_stop", {}),
    ("stop_playback", "playback_stop", {"overlay": True, "stop": "all"}),
    ("start_recording", "record_start", {"channels": "single", "format": "wav"}),
    (
        "start_recording",
        "record_start",
        {
            "channels": "dual",
            "format": "mp3",
            "play_beep": True,
            "max_length": 3600,
            "timeout_secs": 0,
            "recording_track": "inbound",
            "trim": "trim-silence",
            "custom_file_name": "order-17",
            "transcription": True,
        },
    ),
    *[
        (method, action, body)
        for method, action in (
            ("stop_recording", "record_stop"),
            ("pause_recording", "record_pause"),
            ("resume_recording", "record_resume"),
        )
        for body in ({}, {"recording_id": "r1"})
    ],
    ("send_dtmf", "send_dtmf", {"digits": "1www2WABCD*#"}),
    ("send_dtmf", "send_dtmf", {"digits": "1", "duration_millis": 250}),
    ("transfer", "transfer", {"to": "+13122123456"}),
    ("transfer", "transfer", {"to": "sip:a@example.com", **TRANSFER}),
    (
        "gather_using_speak",
        "gather_using_speak",
        SPOKEN
        | {
            "minimum_digits": 1,
            "maximum_digits": 4,
            "maximum_tries": 3,
            "timeout_millis": 60000,
            "inter_digit_timeout_millis": 5000,
            "terminating_digit": "#",
            "valid_digits": "123",
            "invalid_payload": "Again",
        },
    ),
    ("start_noise_suppression", "suppression_start", {}),
    (
        "start_noise_suppression",
        "suppression_start",
        {
            "direction": "both",
            "noise_suppression_engine": "Denoiser",
            "noise_suppression_engine_config": {"attenuation_limit": 80},
        },
    ),
    ("stop_noise_suppression", "suppression_stop", {}),
]


@pytest.mark.parametrize(("method", "action", "body"), SAME)
def test_an_action_sends_what_it_is_given(method: str, action: str, body: dict[str, Any]) -> None:
    """Every field of the commands beside streaming goes out by its own name."""
    path, got = sent(method, CALL, **COMMON, **body)
    assert path == f"/v2/calls/v3%3Aabc%2Fdef/actions/{action}"
    assert got == body | COMMON_SENT


def test_a_transfer_s_own_names_are_translated() -> None:
    """``from_`` is ``from``, headers may be a dict, and the new leg's state is encoded too."""
    _, got = sent(
        *("transfer", "v3:a"),
        to="+2",
        from_="+1",
        custom_headers={"X-Order": "17"},
        target_leg_client_state="hi",
        **COMMON,
    )
    assert got == COMMON_SENT | {
        "to": "+2",
        "from": "+1",
        "custom_headers": [{"name": "X-Order", "value": "17"}],
        "target_leg_client_state": "aGk=",
    }


def test_a_bridge_names_both_calls() -> None:
    """The other call goes into the body, by Telnyx's name."""
    path, got = sent("bridge", "v3:a", "v3:b", play_ringtone=True, **RECORD, **COMMON)
    assert path == "/v2/calls/v3%3Aa/actions/bridge"
    assert got == COMMON_SENT | {"call_control_id": "v3:b", "play_ringtone": True} | RECORD


def test_any_other_action_is_sent_by_its_name() -> None:
    """The generic command sends every field as it is, and encodes only the state."""
    path, got = sent("command", "v3:a", "siprec_start", connector_name="x", n=[1, None], **COMMON)
    assert path == "/v2/calls/v3%3Aa/actions/siprec_start"
    assert got == COMMON_SENT | {"connector_name": "x", "n": [1, None]}


def test_fields_without_a_name_go_by_extra() -> None:
    """What Telnyx added later can be sent, but not past the rule of a field that is known."""
    _, got = sent("speak", "v3:a", payload="a", voice="b", extra={"pitch": 2}, command_id="c")
    assert got == {"payload": "a", "voice": "b", "pitch": 2, "command_id": "c"}


UUID_LIKE = {"payload": "a", "voice": "b"}
REFUSED: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("speak", (), {"payload": None, "voice": "female"}, "payload"),
    ("speak", (), {"payload": "Hello"}, "voice"),
    ("speak", (), {"payload": None, "voice": "a"}, "payload"),
    ("speak", (), UUID_LIKE | {"payload_type": "html"}, "payload_type"),
    ("speak", (), UUID_LIKE | {"service_level": "best"}, "service_level"),
    ("speak", (), UUID_LIKE | {"loop": 0}, "loop"),
    ("speak", (), UUID_LIKE | {"loop": "forever"}, "loop"),
    ("speak", (), UUID_LIKE | {"target_legs": "all"}, "target_legs"),
    ("speak", (), UUID_LIKE | {"pitch": 2}, "pitch"),
    ("speak", (), UUID_LIKE | {"extra": {"loop": 0}}, "extra.loop"),
    ("speak", (), UUID_LIKE | {"extra": {"pitch": {1}}}, "extra.pitch"),
    ("speak", (), UUID_LIKE | {"extra": {"pitch": float("nan")}}, "extra.pitch"),
    ("speak", (), UUID_LIKE | {"extra": [1]}, "extra"),
    ("start_playback", (), {}, "audio_url"),
    ("start_playback", (), {"audio_url": "https://a/b", "media_name": "c"}, "audio_url"),
    ("start_playback", (), {"media_name": "c", "audio_type": "ogg"}, "audio_type"),
    ("start_recording", (), {"channels": "single"}, "format"),
    ("start_recording", (), {"format": "wav"}, "channels"),
    ("start_recording", (), {"channels": "two", "format": "wav"}, "channels"),
    ("start_recording", (), {"channels": "dual", "format": "flac"}, "format"),
    ("start_recording", (), {"channels": "dual", "format": "wav", "max_length": -1}, "max_length"),
    ("send_dtmf", (), {"digits": None}, "digits"),
    ("send_dtmf", (), {"digits": "1x"}, "digits"),
    ("send_dtmf", (), {"digits": ""}, "digits"),
    ("transfer", (), {"to": None}, "to"),
    ("transfer", (), {"to": "+2", "timeout_secs": 4}, "timeout_secs"),
    ("transfer", (), {"to": "+2", "timeout_secs": 601}, "timeout_secs"),
    ("transfer", (), {"to": "+2", "custom_headers": [{"name": "a"}]}, "custom_headers"),
    ("transfer", (), {"to": "+2", "target_leg_client_state": 7}, "target_leg_client_state"),
    ("transfer", (), {"to": "+2", "answering_machine_detection": "on"}, "answering_machine"),
    ("bridge", ("..",), {}, "call_control_id"),
    ("gather_using_speak", (), {"payload": "a"}, "voice"),
    ("start_noise_suppression", (), {"direction": "self"}, "direction"),
    ("command", ("../x",), {}, "action"),
    ("command", ("refer",), {"a": {1}}, "a"),
    ("command", ("refer",), {"command_id": "a b"}, "command_id"),
    ("hangup", (), {"custom_headers": {"X-A": 7}}, "custom_headers"),
]


@pytest.mark.parametrize(("method", "args", "options", "field"), REFUSED)
def test_a_wrong_value_is_refused_by_name(
    method: str, args: tuple[Any, ...], options: dict[str, Any], field: str
) -> None:
    """Nothing is sent that Telnyx would not take, or that lacks what it requires."""
    with pytest.raises(InvalidFieldError) as caught:
        sent(method, "v3:a", *args, **options)
    assert caught.value.field.startswith(field)


def test_bound_actions_have_every_method() -> None:
    """Whatever can be done to a call can be done to a bound one."""

    def public(of: type) -> set[str]:
        return {name for name, _ in inspect.getmembers(of, callable) if not name.startswith("_")}

    bound = {name for name in vars(BoundActions) if not name.startswith("_")}
    assert bound == public(Actions)


BOUND: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("speak", (), {"payload": "Hello", "voice": "female"}, "speak"),
    ("transfer", (), {"to": "+2"}, "transfer"),
    ("transfer", ("+2",), {}, "transfer"),
    ("bridge", ("v3:b",), {}, "bridge"),
    ("hangup", (), {}, "hangup"),
    ("command", ("refer",), {"sip_address": "sip:a@b"}, "refer"),
    ("stop_streaming", (), {}, "streaming_stop"),
]


@pytest.mark.parametrize(("method", "args", "options", "action"), BOUND)
def test_a_bound_action_is_the_action_of_its_call(
    method: str, args: tuple[Any, ...], options: dict[str, Any], action: str
) -> None:
    """Bound to a call, a method sends what the same method sends for the call's id."""
    requests: list[tuple[str, Any]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append((request.url.raw_path.decode(), json.loads(request.content)))
        return httpx.Response(200, json={"data": {"result": "ok"}})

    async def run() -> None:
        async with TelnyxClient("KEY", transport=httpx.MockTransport(answer)) as client:
            bound = BoundActions(client.calls.actions, CALL)
            result = await getattr(bound, method)(*args, command_id="c", **options)
            assert result.result == "ok"

    asyncio.run(run())
    assert requests == [sent(method, CALL, *args, command_id="c", **options)]
    assert requests[0][0].endswith(f"/v3%3Aabc%2Fdef/actions/{action}")
