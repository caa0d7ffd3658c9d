"""The fields of the commands beside streaming, as data: names, what they may hold, types.

Source: protocol.md 3, the table by the official SDK's methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, get_args

from mediaserver.control.checks import (
    CALL_ID,
    COMMAND_ID,
    FLAG,
    HEADERS,
    OBJECT,
    Check,
    Rules,
    either,
    one_of,
    text,
    whole,
)

Legs = Literal["self", "opposite", "both"]
PayloadType = Literal["text", "ssml"]
ServiceLevel = Literal["basic", "premium"]
AudioType = Literal["mp3", "wav"]
Channels = Literal["single", "dual"]
RecordingFormat = Literal["wav", "mp3"]
RecordingTrack = Literal["both", "inbound", "outbound"]
Trim = Literal["trim-silence"]
Direction = Literal["inbound", "outbound", "both"]
MachineDetection = Literal[
    "premium", "detect", "detect_beep", "detect_words", "greeting_end", "disabled"
]

_LOOP = either(whole(1), one_of("infinity"))
_STOP = text()
_DIGITS = Check(
    "the digits 0 to 9, A to D, * and #, and w or W for pauses",
    lambda value: (
        isinstance(value, str) and value != "" and set(value) <= set("0123456789ABCD*#wW")
    ),
)
_URL = text(2000)

COMMON: Rules = MappingProxyType({"client_state": text(), "command_id": COMMAND_ID})
MACHINES: Rules = MappingProxyType(
    {"answering_machine_detection": one_of(*get_args(MachineDetection))}
)
RECORD: Rules = MappingProxyType(
    {
        "record": text(),
        "record_channels": one_of(*get_args(Channels)),
        "record_format": one_of(*get_args(RecordingFormat)),
        "record_max_length": whole(0),
        "record_timeout_secs": whole(0),
        "record_track": one_of(*get_args(RecordingTrack)),
        "record_trim": one_of(*get_args(Trim)),
        "record_custom_file_name": text(),
    }
)
"""``record*``: recording from the answer on, where a command sets up or joins calls."""

_SPOKEN: Rules = {
    "payload": text(),
    "voice": text(),
    "language": text(),
    "payload_type": one_of(*get_args(PayloadType)),
    "service_level": one_of(*get_args(ServiceLevel)),
    "voice_settings": OBJECT,
}
_RECORDING: Rules = {**COMMON, "recording_id": text()}

COMMANDS: Mapping[str, Rules] = MappingProxyType(
    {
        "speak": {
            **COMMON,
            **_SPOKEN,
            "loop": _LOOP,
            "stop": _STOP,
            "target_legs": one_of(*get_args(Legs)),
        },
        "playback_start": {
            **COMMON,
            "audio_url": _URL,
            "media_name": text(),
            "playback_content": text(),
            "audio_type": one_of(*get_args(AudioType)),
            "loop": _LOOP,
            "overlay": FLAG,
            "stop": _STOP,
            "target_legs": one_of(*get_args(Legs)),
            "cache_audio": FLAG,
        },
        "playback_stop": {**COMMON, "overlay": FLAG, "stop": _STOP},
        "record_start": {
            **COMMON,
            "channels": one_of(*get_args(Channels)),
            "format": one_of(*get_args(RecordingFormat)),
            "play_beep": FLAG,
            "max_length": whole(0),
            "timeout_secs": whole(0),
            "recording_track": one_of(*get_args(RecordingTrack)),
            "trim": one_of(*get_args(Trim)),
            "custom_file_name": text(),
            "transcription": FLAG,
        },
        "record_stop": _RECORDING,
        "record_pause": _RECORDING,
        "record_resume": _RECORDING,
        "send_dtmf": {**COMMON, "digits": _DIGITS, "duration_millis": whole(1)},
        "transfer": {
            **COMMON,
            **MACHINES,
            **RECORD,
            "to": text(),
            "from": text(),
            "from_display_name": text(),
            "audio_url": _URL,
            "early_media": FLAG,
            "timeout_secs": whole(5, 600),
            "time_limit_secs": whole(1),
            "custom_headers": HEADERS,
            "sip_headers": HEADERS,
            "mute_dtmf": text(),
            "park_after_unbridge": text(),
            "target_leg_client_state": text(),
            "webhook_url": _URL,
        },
        "bridge": {
            **COMMON,
            **RECORD,
            "call_control_id": CALL_ID,
            "hold_after_unbridge": FLAG,
            "park_after_unbridge": text(),
            "play_ringtone": FLAG,
            "mute_dtmf": text(),
            "queue": text(),
        },
        "gather_using_speak": {
            **COMMON,
            **_SPOKEN,
            "minimum_digits": whole(0),
            "maximum_digits": whole(1),
            "maximum_tries": whole(1),
            "timeout_millis": whole(1),
            "inter_digit_timeout_millis": whole(1),
            "terminating_digit": text(),
            "valid_digits": text(),
            "invalid_payload": text(),
        },
        "suppression_start": {
            **COMMON,
            "direction": one_of(*get_args(Direction)),
            "noise_suppression_engine": text(),
            "noise_suppression_engine_config": OBJECT,
        },
        "suppression_stop": dict(COMMON),
    }
)
"""Field rules by action."""

REQUIRED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "speak": ("payload", "voice"),
        "record_start": ("channels", "format"),
        "send_dtmf": ("digits",),
        "transfer": ("to",),
        "bridge": ("call_control_id",),
        "gather_using_speak": ("payload", "voice"),
    }
)
"""Fields that an action cannot do without."""
