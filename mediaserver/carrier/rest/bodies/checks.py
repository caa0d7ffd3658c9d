"""What the fake Telnyx takes in a command's body, written from protocol.md 3 alone.

Deliberately apart from the client's own tables: a mistake made in both would go unseen.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from mediaserver.carrier.rest.errors import (
    MALFORMED,
    NOT_E164,
    NOT_IN_ENUM,
    OUT_OF_RANGE,
    invalid,
    invalid_client_state,
    missing,
)

Body = dict[str, Any]


class Rule(NamedTuple):
    """One field: what is allowed, in words; the test; the code of the refusal."""

    allowed: str
    accepts: Callable[[Any], bool]
    code: str = MALFORMED


def choice(*values: object) -> Rule:
    """Exactly one of these."""
    allowed = f"one of {', '.join(map(str, values))}"
    return Rule(allowed, lambda value: not isinstance(value, bool) and value in values, NOT_IN_ENUM)


def limits(least: float, most: float = float("inf")) -> Rule:
    """A number from ``least`` to ``most``."""
    return Rule(
        f"a number from {least:g} to {most:g}",
        lambda value: type(value) in (int, float) and least <= value <= most,
        OUT_OF_RANGE,
    )


def _parameters(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(entry, dict)
        and set(entry) == {"name", "value"}
        and all(isinstance(part, str) for part in entry.values())
        for entry in value
    )


TEXT = Rule("text", lambda value: isinstance(value, str) and value != "")
FLAG = Rule("true or false", lambda value: isinstance(value, bool))
OBJECT = Rule("an object", lambda value: isinstance(value, dict))
TEXTS = Rule(
    "a list of texts",
    lambda value: isinstance(value, list) and all(isinstance(each, str) for each in value),
)
_TO = Rule(
    "text, or a list of texts",
    lambda value: bool(value) and (TEXT.accepts(value) or TEXTS.accepts(value)),
)
_NUMBER = Rule(
    "a number in +E.164 format, as +13122123456, or a SIP URI",
    lambda value: bool(re.fullmatch(r"\+[1-9][0-9]{0,14}|sips?:[^\s@]+@[^\s@]+", value)),
    NOT_E164,
)
_LOOP = Rule("a number from 1, or infinity", lambda v: v == "infinity" or limits(1).accepts(v))
_DIGITS = Rule(
    "DTMF digits", lambda v: isinstance(v, str) and bool(re.fullmatch("[0-9A-D*#wW]+", v))
)
_HEADERS = Rule("a list of names and values", _parameters)
_UDP = Rule(
    "udp:ip:port",
    lambda value: isinstance(value, str) and bool(re.fullmatch(r"udp:[^ ]+:[0-9]{1,5}", value)),
)
_STREAM_URL = Rule(
    "a wss URL of at most 2000 characters",
    # ws as well: the fake's own machine has no certificate.
    lambda value: isinstance(value, str) and bool(re.fullmatch(r"wss?://[!-~]{1,1994}", value)),
)
_CODECS = ("PCMU", "PCMA", "G722", "OPUS", "AMR-WB", "L16")
ENGINES = (
    *("Google", "Telnyx", "Deepgram", "Azure", "A", "B", "xAI", "AssemblyAI"),
    *("Speechmatics", "Soniox", "Parakeet", "Humain", "Reson8", "Cohere"),
)

_COMMON: dict[str, Rule] = {"client_state": TEXT, "command_id": TEXT}
_STREAM: dict[str, Rule] = {
    **_COMMON,
    "stream_url": _STREAM_URL,
    "stream_track": choice("inbound_track", "outbound_track", "both_tracks"),
    "stream_codec": choice(*_CODECS, "default"),
    "stream_bidirectional_mode": choice("mp3", "rtp"),
    "stream_bidirectional_codec": choice(*_CODECS),
    "stream_bidirectional_target_legs": choice("both", "self", "opposite"),
}
_RATED: dict[str, Rule] = {
    **_STREAM,
    "stream_bidirectional_sampling_rate": choice(8000, 16000, 22050, 24000, 48000),
    "stream_auth_token": Rule(
        "text of at most 4000 characters",
        lambda value: isinstance(value, str) and 1 <= len(value) <= 4000,
    ),
    "enable_dialogflow": FLAG,
    "dialogflow_config": OBJECT,
}
_RECORDED: dict[str, Rule] = {
    "record_channels": choice("single", "dual"),
    "record_format": choice("wav", "mp3"),
    "record_track": choice("both", "inbound", "outbound"),
    "record": TEXT,
    "record_max_length": limits(0),
    "record_timeout_secs": limits(0),
    "record_trim": choice("trim-silence"),
    "record_custom_file_name": TEXT,
}
_ANSWER: dict[str, Rule] = {
    **_STREAM,
    **_RECORDED,
    "send_silence_when_idle": FLAG,
    "webhook_url": TEXT,
    "webhook_url_method": choice("POST", "GET"),
    "preferred_codecs": TEXT,
    "transcription": FLAG,
    "transcription_config": OBJECT,
    "custom_headers": _HEADERS,
}
_MACHINES = choice("premium", "detect", "detect_beep", "detect_words", "greeting_end", "disabled")
_SPOKEN: dict[str, Rule] = {
    **_COMMON,
    "payload": TEXT,
    "voice": TEXT,
    "language": TEXT,
    "payload_type": choice("text", "ssml"),
    "service_level": choice("basic", "premium"),
    "voice_settings": OBJECT,
}
_LEGS = choice("self", "opposite", "both")
_RECORDING = {**_COMMON, "recording_id": TEXT}

RULES: dict[str, dict[str, Rule]] = {
    "dial": {
        **_ANSWER,
        **_RATED,
        "connection_id": TEXT,
        "from": TEXT,
        "to": _TO,
        "stream_establish_before_call_originate": FLAG,
        "timeout_secs": limits(5, 600),
        "time_limit_secs": limits(1),
        "answering_machine_detection": _MACHINES,
        "sip_headers": _HEADERS,
        "bridge_intent": FLAG,
    },
    "answer": _ANSWER,
    "hangup": {**_COMMON, "custom_headers": _HEADERS},
    "streaming_start": {
        **_RATED,
        "custom_parameters": Rule("a list of names and values", _parameters),
    },
    "streaming_stop": {**_COMMON, "stream_id": TEXT},
    "fork_start": {
        **_COMMON,
        "rx": _UDP,
        "tx": _UDP,
        "target": _UDP,
        "stream_type": choice("decrypted"),
    },
    "fork_stop": {**_COMMON, "stream_type": choice("raw", "decrypted")},
    "transcription_start": {
        **_COMMON,
        "transcription_engine": choice(*ENGINES),
        "transcription_tracks": choice("inbound", "outbound", "both"),
        "transcription_engine_config": OBJECT,
    },
    "transcription_stop": _COMMON,
    "speak": {**_SPOKEN, "loop": _LOOP, "stop": TEXT, "target_legs": _LEGS},
    "playback_start": {
        **_COMMON,
        **dict.fromkeys(("audio_url", "media_name", "playback_content", "stop"), TEXT),
        "audio_type": choice("mp3", "wav"),
        "loop": _LOOP,
        "overlay": FLAG,
        "target_legs": _LEGS,
        "cache_audio": FLAG,
    },
    "playback_stop": {**_COMMON, "overlay": FLAG, "stop": TEXT},
    "record_start": {
        **_COMMON,
        "channels": choice("single", "dual"),
        "format": choice("wav", "mp3"),
        "play_beep": FLAG,
        "max_length": limits(0),
        "timeout_secs": limits(0),
        "recording_track": choice("both", "inbound", "outbound"),
        "trim": choice("trim-silence"),
    },
    "record_stop": _RECORDING,
    "record_pause": _RECORDING,
    "record_resume": _RECORDING,
    "send_dtmf": {**_COMMON, "digits": _DIGITS, "duration_millis": limits(1)},
    "transfer": {
        **_COMMON,
        **_RECORDED,
        "to": TEXT,
        "from": TEXT,
        "audio_url": TEXT,
        "early_media": FLAG,
        "timeout_secs": limits(5, 600),
        "time_limit_secs": limits(1),
        "custom_headers": _HEADERS,
        "sip_headers": _HEADERS,
        "answering_machine_detection": _MACHINES,
        "target_leg_client_state": TEXT,
        "webhook_url": TEXT,
    },
    "bridge": {**_COMMON, **_RECORDED, "call_control_id": TEXT},
    "gather_using_speak": {
        **_SPOKEN,
        "minimum_digits": limits(0),
        "maximum_digits": limits(1),
        "maximum_tries": limits(1),
        "timeout_millis": limits(1),
        "inter_digit_timeout_millis": limits(1),
        "terminating_digit": TEXT,
        "valid_digits": TEXT,
        "invalid_payload": TEXT,
    },
    "suppression_start": {
        **_COMMON,
        "direction": choice("inbound", "outbound", "both"),
        "noise_suppression_engine": TEXT,
        "noise_suppression_engine_config": OBJECT,
    },
    "suppression_stop": _COMMON,
}
_OTHERS = (
    *("reject", "refer", "enqueue", "leave_queue", "client_state_update", "gather"),
    *("gather_stop", "gather_using_audio", "send_sip_info", "siprec_start", "siprec_stop"),
    *("switch_supervisor_role", "conversation_relay_start", "conversation_relay_stop"),
    *("ai_assistant_start", "ai_assistant_stop"),
)
RULES |= dict.fromkeys(_OTHERS, _COMMON)
_OPEN = {"dial", "transfer", "bridge", "record_start", *_OTHERS}
"""Commands of whose fields protocol.md names only some."""
_REQUIRED = {
    "dial": ("connection_id", "from", "to"),
    "streaming_start": ("stream_url",),
    "speak": ("payload", "voice"),
    "record_start": ("channels", "format"),
    "send_dtmf": ("digits",),
    "transfer": ("to",),
    "bridge": ("call_control_id",),
    "gather_using_speak": ("payload", "voice"),
}


def check(command: str, body: Any) -> Body:
    """The body, if Telnyx would take it; ``engines.check`` looks at what is inside.

    Raises:
        RefusalError: 422, naming the field.
    """
    if not isinstance(body, dict):
        raise invalid("body", "an object")
    rules = RULES[command]
    for name in _REQUIRED.get(command, ()):
        if name not in body:
            raise missing(name)
    for name, value in body.items():
        if name in rules:
            require(name, rules[name], value)
        elif command not in _OPEN:
            raise invalid(name, f"left out of {command}")
    if command in ("dial", "transfer"):
        _check_numbers(body)
    if command == "fork_start":
        _check_fork(body)
    _check_client_state(body.get("client_state"))
    return body


def require(pointer: str, rule: Rule, value: object) -> None:
    """Raise a refusal that names the field, unless the value keeps its rule."""
    if not rule.accepts(value):
        raise invalid(pointer, rule.allowed, rule.code)


def _check_numbers(body: Body) -> None:
    """Who calls and who is called; several may be called at once."""
    for name in ("to", "from"):
        value = body.get(name, [])
        for number in [value] if isinstance(value, str) else value:
            require(name, _NUMBER, number)


def _check_fork(body: Body) -> None:
    """Both addresses with ``decrypted``; or the old ``target``, without a type."""
    if "target" in body:
        for name in ("rx", "tx", "stream_type"):
            if name in body:
                raise invalid(name, "left out with target")
        return
    for name in ("rx", "tx"):
        if name not in body:
            raise missing(name)


def _check_client_state(state: str | None) -> None:
    try:
        base64.b64decode(state or "", validate=True)
    except (binascii.Error, ValueError):
        raise invalid_client_state() from None
