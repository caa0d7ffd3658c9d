"""The fields of every command, as data: their names, what they may hold, their types.

Source: protocol.md 3, which gives Telnyx's OpenAPI text.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, TypedDict, get_args

from mediaserver.control.checks import (
    FLAG,
    HEADERS,
    JSON,
    OBJECT,
    UDP,
    UUID,
    Check,
    Rules,
    either,
    list_of,
    one_of,
    table,
    text,
    whole,
)
from mediaserver.control.errors import InvalidFieldError
from mediaserver.control.rest import engines
from mediaserver.control.rest.actions import rules as actions

StreamTrack = Literal["inbound_track", "outbound_track", "both_tracks"]
StreamCodec = Literal["PCMU", "PCMA", "G722", "OPUS", "AMR-WB", "L16", "default"]
BidirectionalMode = Literal["mp3", "rtp"]
BidirectionalCodec = Literal["PCMU", "PCMA", "G722", "OPUS", "AMR-WB", "L16"]
BidirectionalRate = Literal[8000, 16000, 22050, 24000, 48000]
TargetLegs = Literal["both", "self", "opposite"]
ForkStreamType = Literal["raw", "decrypted"]
TranscriptionTracks = Literal["inbound", "outbound", "both"]
WebhookMethod = Literal["POST", "GET"]


class DialogflowConfig(TypedDict, total=False):
    """What Dialogflow is to do with a stream."""

    analyze_sentiment: bool
    partial_automated_agent_reply: bool


URL_CHARS = 2000
"""The longest stream_url Telnyx takes."""

_STREAM: Rules = {
    "stream_url": text(URL_CHARS),  # its scheme and host: see own_server.py
    "stream_track": one_of(*get_args(StreamTrack)),
    "stream_codec": one_of(*get_args(StreamCodec)),
    "stream_bidirectional_mode": one_of(*get_args(BidirectionalMode)),
    "stream_bidirectional_codec": one_of(*get_args(BidirectionalCodec)),
    "stream_bidirectional_target_legs": one_of(*get_args(TargetLegs)),
}
_RATED: Rules = {
    **_STREAM,
    "stream_bidirectional_sampling_rate": one_of(*get_args(BidirectionalRate)),
    "stream_auth_token": text(4000),
}
_DIALOGFLOW: Rules = {
    "enable_dialogflow": FLAG,
    "dialogflow_config": table({"analyze_sentiment": FLAG, "partial_automated_agent_reply": FLAG}),
}
_PARAMETER = table({"name": text(), "value": Check("text", lambda v: isinstance(v, str))})
_TRANSCRIPTION: Rules = {
    # Not one of a list: Telnyx adds engines every few months.
    "transcription_engine": text(),
    "transcription_tracks": one_of(*get_args(TranscriptionTracks)),
    engines.FIELD: OBJECT,
}
_SET_UP: Rules = {
    **_STREAM,
    **actions.COMMON,
    **actions.RECORD,
    "send_silence_when_idle": FLAG,
    "webhook_url": text(URL_CHARS),
    "webhook_url_method": one_of(*get_args(WebhookMethod)),
    "preferred_codecs": text(),
    "transcription": FLAG,
    "transcription_config": table(_TRANSCRIPTION),
    "custom_headers": HEADERS,
}

COMMANDS: Mapping[str, Rules] = MappingProxyType(
    {
        "streaming_start": {
            **_RATED,
            **_DIALOGFLOW,
            **actions.COMMON,
            "custom_parameters": list_of(_PARAMETER),
        },
        "streaming_stop": {"stream_id": UUID, **actions.COMMON},
        "fork_start": {
            "rx": UDP,
            "tx": UDP,
            "target": UDP,
            "stream_type": one_of("decrypted"),
            **actions.COMMON,
        },
        "fork_stop": {"stream_type": one_of(*get_args(ForkStreamType)), **actions.COMMON},
        "transcription_start": {**_TRANSCRIPTION, **actions.COMMON},
        "transcription_stop": dict(actions.COMMON),
        "dial": {
            "connection_id": text(),
            "from": text(),
            "to": either(text(), list_of(text(), min_items=1)),
            **_SET_UP,
            **_RATED,
            **_DIALOGFLOW,
            **actions.MACHINES,
            "stream_establish_before_call_originate": FLAG,
            "timeout_secs": whole(5, 600),
            "time_limit_secs": whole(1),
            "sip_headers": HEADERS,
            "link_to": text(),
            "bridge_intent": FLAG,
            "from_display_name": text(),
            "media_encryption": text(),
        },
        "answer": _SET_UP,
        "hangup": {"custom_headers": HEADERS, **actions.COMMON},
        **actions.COMMANDS,
    }
)
"""Field rules by command; ``dial`` and the names of the actions."""


def required_of(command: str) -> tuple[str, ...]:
    """The fields that a command cannot do without."""
    return actions.REQUIRED.get(command, ())


def encoded_client_state(state: object, name: str = "client_state") -> str | None:
    """The user's state as Telnyx wants it: base64.

    Raises:
        InvalidFieldError: neither text nor octets, or empty.
    """
    if state is None:
        return None
    octets = state.encode() if isinstance(state, str) else state
    if not isinstance(octets, bytes) or not octets:
        raise InvalidFieldError(name, "text or octets, not empty")
    return base64.b64encode(octets).decode("ascii")


def body(command: str, fields: Mapping[str, object]) -> dict[str, object]:
    """The request body of a command: every field that is not None, each checked.

    Args:
        command: ``dial``, or the name of an action.
        fields: by Telnyx's names (``from_`` for ``from``); those under ``extra`` are passed on.

    Raises:
        InvalidFieldError: a value Telnyx does not take, a field the command has not, or a
            required one that is missing.
    """
    rules = COMMANDS[command]
    extra = _checked_extra(rules, fields.get("extra"))
    given = {
        name.removesuffix("_"): value
        for name, value in fields.items()
        if value is not None and name != "extra"
    }
    for name in given:
        if name not in rules:
            raise InvalidFieldError(name, f"left out: {command} does not take it")
        given[name] = _as_sent(name, rules[name], given[name])
        rules[name].require(name, given[name])
    for name in required_of(command):
        if name not in given:
            raise InvalidFieldError(name, "given")
    if command == "transcription_start":
        given |= _with_engine(given)
    elif isinstance(config := given.get("transcription_config"), Mapping):
        given["transcription_config"] = _with_engine(config)
    return given | extra


def _as_sent(name: str, rule: Check, value: object) -> object:
    """The value in the form that goes out: state encoded, headers as a list."""
    if name == "target_leg_client_state":
        return encoded_client_state(value, name)
    if rule is HEADERS and isinstance(value, Mapping):
        return [{"name": header, "value": text} for header, text in value.items()]
    return value


def _checked_extra(rules: Rules, extra: object) -> dict[str, Any]:
    """Fields that this client has no name for, if they can be sent."""
    if extra is None:
        return {}
    if not isinstance(extra, Mapping):
        raise InvalidFieldError("extra", "a dict of names and values")
    for name, value in extra.items():
        if not isinstance(name, str) or name in rules:
            raise InvalidFieldError(f"extra.{name}", "left out, or given by its own name")
        JSON.require(f"extra.{name}", value)
    return dict(extra)


def _with_engine(fields: Mapping[str, object]) -> dict[str, object]:
    """The fields of a transcription, its engine named inside the configuration too."""
    engine = fields.get("transcription_engine")
    config = engines.filled_in(
        engine if isinstance(engine, str) else None, fields.get(engines.FIELD)
    )
    return {**fields, **({} if config is None else {engines.FIELD: config})}
