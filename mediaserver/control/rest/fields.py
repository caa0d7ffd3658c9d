"""The fields of every command, as data: their names, what they may hold, their types.

Source: protocol.md 3, which gives Telnyx's OpenAPI text.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, TypedDict, get_args

from mediaserver.control.checks import (
    COMMAND_ID,
    COUNT,
    FLAG,
    OBJECT,
    UDP,
    UUID,
    Check,
    Rules,
    list_of,
    one_of,
    table,
    text,
)
from mediaserver.control.errors import InvalidFieldError

StreamTrack = Literal["inbound_track", "outbound_track", "both_tracks"]
StreamCodec = Literal["PCMU", "PCMA", "G722", "OPUS", "AMR-WB", "L16", "default"]
BidirectionalMode = Literal["mp3", "rtp"]
BidirectionalCodec = Literal["PCMU", "PCMA", "G722", "OPUS", "AMR-WB", "L16"]
BidirectionalRate = Literal[8000, 16000, 22050, 24000, 48000]
TargetLegs = Literal["both", "self", "opposite"]
ForkStreamType = Literal["raw", "decrypted"]
TranscriptionTracks = Literal["inbound", "outbound", "both"]
TranscriptionEngine = Literal[
    "Google",
    "Telnyx",
    "Deepgram",
    "Azure",
    "A",
    "B",
    "xAI",
    "AssemblyAI",
    "Speechmatics",
    "Soniox",
    "Parakeet",
    "Humain",
    "Reson8",
]


class DialogflowConfig(TypedDict, total=False):
    """What Dialogflow is to do with a stream."""

    analyze_sentiment: bool
    partial_automated_agent_reply: bool


URL_CHARS = 2000
"""The longest stream_url Telnyx takes."""

_GOOGLE = table(
    {
        "language": text(),
        "interim_results": FLAG,
        "hints": list_of(text()),
        "speech_context": list_of(OBJECT),
        "model": text(),
        "enable_speaker_diarization": FLAG,
        "min_speaker_count": COUNT,
        "max_speaker_count": COUNT,
        "profanity_filter": FLAG,
        "use_enhanced": FLAG,
    }
)
_TELNYX = table({"language": text(), "transcription_model": text()})
_DEEPGRAM = table(
    {
        "transcription_model": one_of("nova-2", "nova-3"),
        "language": text(),
        "interim_results": FLAG,
        "keyterms": list_of(text()),
    },
    is_open=True,
)
_AZURE = table({"region": text(), "language": text()}, required=("region",))

ENGINE_CONFIGS: Mapping[str, Check] = MappingProxyType(
    {
        "Google": _GOOGLE,
        "A": _GOOGLE,
        "Telnyx": _TELNYX,
        "B": _TELNYX,
        "Deepgram": _DEEPGRAM,
        "Azure": _AZURE,
    }
)
"""By engine; an engine that is not here takes any object."""

_COMMON: dict[str, Check] = {"client_state": text(), "command_id": COMMAND_ID}
_STREAM: dict[str, Check] = {
    "stream_url": text(URL_CHARS),  # its scheme and host: see target.py
    "stream_track": one_of(*get_args(StreamTrack)),
    "stream_codec": one_of(*get_args(StreamCodec)),
    "stream_bidirectional_mode": one_of(*get_args(BidirectionalMode)),
    "stream_bidirectional_codec": one_of(*get_args(BidirectionalCodec)),
    "stream_bidirectional_target_legs": one_of(*get_args(TargetLegs)),
}
_RATE: dict[str, Check] = {
    "stream_bidirectional_sampling_rate": one_of(*get_args(BidirectionalRate))
}
_TOKEN: dict[str, Check] = {"stream_auth_token": text(4000)}
_DIALOGFLOW: dict[str, Check] = {
    "enable_dialogflow": FLAG,
    "dialogflow_config": table({"analyze_sentiment": FLAG, "partial_automated_agent_reply": FLAG}),
}
_PARAMETER = table({"name": text(), "value": Check("text", lambda v: isinstance(v, str))})

COMMANDS: Mapping[str, Rules] = MappingProxyType(
    {
        "streaming_start": _STREAM
        | _RATE
        | _TOKEN
        | _DIALOGFLOW
        | _COMMON
        | {"custom_parameters": list_of(_PARAMETER)},
        "streaming_stop": {"stream_id": UUID} | _COMMON,
        "fork_start": {"rx": UDP, "tx": UDP, "target": UDP, "stream_type": one_of("decrypted")}
        | _COMMON,
        "fork_stop": {"stream_type": one_of(*get_args(ForkStreamType))} | _COMMON,
        "transcription_start": {
            "transcription_engine": one_of(*get_args(TranscriptionEngine)),
            "transcription_tracks": one_of(*get_args(TranscriptionTracks)),
            "transcription_engine_config": OBJECT,
        }
        | _COMMON,
        "transcription_stop": dict(_COMMON),
        "dial": {
            "connection_id": text(),
            "from": text(),
            "to": text(),
            "webhook_url": text(URL_CHARS),
        }
        | _STREAM
        | _RATE
        | _TOKEN
        | _COMMON
        | {"stream_establish_before_call_originate": FLAG, "send_silence_when_idle": FLAG},
        "answer": _STREAM | _COMMON,
        "hangup": dict(_COMMON),
    }
)
"""Field rules by command; ``dial`` and the names of the actions."""


def body(command: str, fields: Mapping[str, object]) -> dict[str, object]:
    """The request body of a command: every field that is not None, each checked.

    Raises:
        InvalidFieldError: a value Telnyx does not take, or a field the command has not.
    """
    rules = COMMANDS[command]
    given = {name: value for name, value in fields.items() if value is not None}
    for name, value in given.items():
        if name not in rules:
            raise InvalidFieldError(name, f"left out: {command} does not take it")
        rules[name].require(name, value)
    engine_config = given.get("transcription_engine_config")
    if engine_config is not None:
        _check_engine_config(given.get("transcription_engine"), engine_config)
    return given


def _check_engine_config(engine: object, config: object) -> None:
    rule = ENGINE_CONFIGS.get(str(engine))
    if rule is not None:
        rule.require("transcription_engine_config", config)
