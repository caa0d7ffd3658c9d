"""Types of the keyword arguments of the commands other than streaming.

Required fields are marked; all others may be left out or None. A field that is not named here can
be given in ``extra``.

Source: protocol.md 3, the table by the official SDK's methods.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Required, TypedDict

from mediaserver.control.rest.actions.rules import (
    AudioType,
    Channels,
    Direction,
    Legs,
    MachineDetection,
    PayloadType,
    RecordingFormat,
    RecordingTrack,
    ServiceLevel,
    Trim,
)

Headers = Mapping[str, str] | Sequence[Mapping[str, str]]
"""SIP headers: names and values, or Telnyx's own list of ``{"name": …, "value": …}``."""


class CommonOptions(TypedDict, total=False):
    """What every command takes.

    ``client_state`` is text or octets that come back with every webhook of the call; it is
    encoded here. ``command_id`` is made up if it is not given. ``extra`` holds fields of
    Telnyx's that this client has no name for; they are sent as they are.
    """

    client_state: str | bytes | None
    command_id: str | None
    extra: Mapping[str, Any] | None


class HangupOptions(CommonOptions, total=False):
    """What ``hangup`` takes."""

    custom_headers: Headers | None


class RecordOptions(CommonOptions, total=False):
    """``record*``: recording from the answer on. Lengths and time-outs in seconds."""

    record: str | None
    record_channels: Channels | None
    record_format: RecordingFormat | None
    record_max_length: int | None
    record_timeout_secs: int | None
    record_track: RecordingTrack | None
    record_trim: Trim | None
    record_custom_file_name: str | None


class _SpokenOptions(CommonOptions, total=False):
    voice: Required[str]
    language: str | None
    payload_type: PayloadType | None
    service_level: ServiceLevel | None
    voice_settings: Mapping[str, Any] | None


class SpeakOptions(_SpokenOptions, total=False):
    """What ``speak`` takes beside its text."""

    loop: int | Literal["infinity"] | None
    stop: str | None
    target_legs: Legs | None


class PlaybackOptions(CommonOptions, total=False):
    """What ``start_playback`` takes: one of the first three fields, and how to play it."""

    audio_url: str | None
    media_name: str | None
    playback_content: str | None
    audio_type: AudioType | None
    loop: int | Literal["infinity"] | None
    overlay: bool | None
    stop: str | None
    target_legs: Legs | None
    cache_audio: bool | None


class StopPlaybackOptions(CommonOptions, total=False):
    """What ``stop_playback`` takes."""

    overlay: bool | None
    stop: str | None


class StartRecordingOptions(CommonOptions, total=False):
    """What ``start_recording`` takes. Lengths and time-outs in seconds."""

    channels: Required[Channels]
    format: Required[RecordingFormat]
    play_beep: bool | None
    max_length: int | None
    timeout_secs: int | None
    recording_track: RecordingTrack | None
    trim: Trim | None
    custom_file_name: str | None
    transcription: bool | None


class RecordingOptions(CommonOptions, total=False):
    """What stopping, pausing and resuming a recording take."""

    recording_id: str | None


class DtmfOptions(CommonOptions, total=False):
    """What ``send_dtmf`` takes beside the digits; the duration is of each, in milliseconds."""

    duration_millis: int | None


class TransferOptions(RecordOptions, total=False):
    """What ``transfer`` takes beside ``to``; ``from_`` is Telnyx's ``from``."""

    from_: str | None
    from_display_name: str | None
    audio_url: str | None
    early_media: bool | None
    timeout_secs: int | None
    time_limit_secs: int | None
    custom_headers: Headers | None
    sip_headers: Headers | None
    answering_machine_detection: MachineDetection | None
    mute_dtmf: str | None
    park_after_unbridge: str | None
    target_leg_client_state: str | bytes | None
    webhook_url: str | None


class BridgeOptions(RecordOptions, total=False):
    """What ``bridge`` takes."""

    hold_after_unbridge: bool | None
    park_after_unbridge: str | None
    play_ringtone: bool | None
    mute_dtmf: str | None
    queue: str | None


class GatherOptions(_SpokenOptions, total=False):
    """What ``gather_using_speak`` takes beside its text; time-outs in milliseconds."""

    minimum_digits: int | None
    maximum_digits: int | None
    maximum_tries: int | None
    timeout_millis: int | None
    inter_digit_timeout_millis: int | None
    terminating_digit: str | None
    valid_digits: str | None
    invalid_payload: str | None


class SuppressionOptions(CommonOptions, total=False):
    """What ``start_noise_suppression`` takes."""

    direction: Direction | None
    noise_suppression_engine: str | None
    noise_suppression_engine_config: Mapping[str, Any] | None
