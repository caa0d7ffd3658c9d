"""The stream fields of a command: safe defaults for a bot, and the values for our server.

With Telnyx's own defaults nobody hears the bot. Mode ``mp3`` drops raw audio without an error, and
target legs ``opposite`` plays to a leg that does not exist. So mode ``rtp``, target legs ``self``
and an explicit rate are sent unless the user sets others.

Source: protocol.md 2, 3 and 6.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from mediaserver.control.errors import InvalidFieldError
from mediaserver.control.own_server import (
    PARAMETER_PREFIX,
    RESERVED_NAMES,
    OwnServer,
    Scalar,
    as_text,
    check_url,
    stream_parameters,
    with_query,
    with_token,
)
from mediaserver.control.rest.actions.options import CommonOptions, Headers, RecordOptions
from mediaserver.control.rest.actions.rules import MachineDetection
from mediaserver.control.rest.fields import (
    BidirectionalCodec,
    BidirectionalMode,
    BidirectionalRate,
    DialogflowConfig,
    StreamCodec,
    StreamTrack,
    TargetLegs,
    WebhookMethod,
    body,
    encoded_client_state,
)
from mediaserver.tokens import issue

RATES_HZ: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "PCMU": (8000,),
        "PCMA": (8000,),
        "G722": (16000, 8000),  # 8000 is its RTP clock, and is seen for it
        "AMR-WB": (16000,),
        "OPUS": (16000, 8000, 24000, 48000),
        "L16": (16000, 8000, 22050, 24000, 48000),
    }
)
"""Rates that can be asked for, by outbound codec; the first is our default."""

_ALWAYS_16_KHZ = ("G722", "AMR-WB")
_TELNYX_RATE_HZ = 8000
"""What Telnyx takes where a command has no field for the rate."""


class StreamOptions(CommonOptions, total=False):
    """What every command that opens a stream takes.

    The default of ``stream_url`` is our server's, made from ``public_url``. ``processor`` names a
    processor that the server knows, ``processor_parameters`` are its parameters. With
    ``stream_bidirectional_mode=None`` the stream only listens.
    """

    stream_url: str | None
    stream_track: StreamTrack | None
    stream_codec: StreamCodec | None
    stream_bidirectional_mode: BidirectionalMode | None
    stream_bidirectional_codec: BidirectionalCodec | None
    stream_bidirectional_target_legs: TargetLegs | None
    processor: str | None
    processor_parameters: Mapping[str, Scalar] | None


class _SetUpOptions(StreamOptions, RecordOptions, total=False):
    stream: bool
    send_silence_when_idle: bool | None
    webhook_url: str | None
    webhook_url_method: WebhookMethod | None
    preferred_codecs: str | None
    transcription: bool | None
    transcription_config: Mapping[str, object] | None
    custom_headers: Headers | None


class AnswerOptions(_SetUpOptions, total=False):
    """What ``answer`` takes; ``stream=True`` answers with a stream to our server.

    ``answer`` has no fields for the rate, a token and custom parameters: where they matter,
    answer first and then ``start_streaming``, as ``answer_incoming`` does.
    """


class RatedStreamOptions(StreamOptions, total=False):
    """What ``start_streaming`` and ``dial`` take beyond ``StreamOptions``."""

    stream_bidirectional_sampling_rate: BidirectionalRate | None
    stream_auth_token: str | None


class StartStreamingOptions(RatedStreamOptions, total=False):
    """What ``start_streaming`` takes; ``custom_parameters`` is a plain dict."""

    custom_parameters: Mapping[str, Scalar] | None
    enable_dialogflow: bool | None
    dialogflow_config: DialogflowConfig | None


class AnswerIncomingOptions(AnswerOptions, StartStreamingOptions, total=False):
    """What ``answer_incoming`` takes: the options of ``answer`` and of ``start_streaming``."""


class DialOptions(_SetUpOptions, RatedStreamOptions, total=False):
    """What ``dial`` takes; ``stream=True`` dials with a stream to our server. Times in seconds."""

    enable_dialogflow: bool | None
    dialogflow_config: DialogflowConfig | None
    stream_establish_before_call_originate: bool | None
    timeout_secs: int | None
    time_limit_secs: int | None
    answering_machine_detection: MachineDetection | None
    sip_headers: Headers | None
    link_to: str | None
    bridge_intent: bool | None
    from_display_name: str | None
    media_encryption: str | None


def stream_body(
    command: str, options: Mapping[str, Any], server: OwnServer, now: float
) -> dict[str, object]:
    """The request body of a command that may open a stream.

    Args:
        command: ``streaming_start``, ``dial`` or ``answer``.
        options: of the user, plus the command's own fields.
        server: ours.
        now: unix seconds, for the token.

    Raises:
        InvalidFieldError: naming field and rule.
    """
    fields = dict(options)
    fields["client_state"] = encoded_client_state(fields.get("client_state"))
    wanted = bool(fields.pop("stream", False)) or command == "streaming_start"
    if wanted or fields.get("stream_url") is not None:
        _fill_in_stream(command, fields, server, now)
    else:
        _refuse_stray_options(fields)
    return body(command, fields)


def _refuse_stray_options(fields: dict[str, Any]) -> None:
    for name, value in fields.items():
        if value is not None and name.startswith(("stream_", "processor")):
            raise InvalidFieldError(name, "left out, or come with stream_url or stream=True")
    for name in ("processor", "processor_parameters"):
        fields.pop(name, None)


def _fill_in_stream(command: str, fields: dict[str, Any], server: OwnServer, now: float) -> None:
    url = fields.get("stream_url") or server.media_url
    if url is None:
        raise InvalidFieldError("stream_url", "given, because the client has no public_url")
    check_url("stream_url", url, "wss", allow_insecure=server.allow_insecure)
    fields["stream_url"] = url
    told = _fill_in_return_path(command, fields)
    chosen = stream_parameters(
        processor=fields.pop("processor", None), parameters=fields.pop("processor_parameters", None)
    )
    is_ours = server.owns(url)
    if chosen and not is_ours:
        raise InvalidFieldError("processor", "left out: stream_url is not at public_url")
    _tell(command, fields, told | chosen if is_ours else {})
    if is_ours and server.auth_token is not None and fields.get("stream_auth_token") is None:
        _add_token(command, fields, issue(server.auth_token, now))


def _fill_in_return_path(command: str, fields: dict[str, Any]) -> dict[str, str]:
    """Settle how audio comes back into the call, and say what the server needs to know of it."""
    mode = fields.setdefault("stream_bidirectional_mode", "rtp")
    if mode is None:
        return {}
    fields["stream_bidirectional_target_legs"] = (
        fields.get("stream_bidirectional_target_legs") or "self"
    )
    if mode == "mp3":
        return stream_parameters("MP3")
    codec = fields.get("stream_bidirectional_codec") or "PCMU"
    fields["stream_bidirectional_codec"] = codec
    rate_hz = _TELNYX_RATE_HZ
    if command != "answer":
        rate_hz = _checked_rate(codec, fields.get("stream_bidirectional_sampling_rate"))
        fields["stream_bidirectional_sampling_rate"] = rate_hz
    return stream_parameters(codec, 16000 if codec in _ALWAYS_16_KHZ else rate_hz)


def _checked_rate(codec: str, rate_hz: int | None) -> int:
    rates_hz = RATES_HZ.get(codec)
    if rates_hz is None:  # no codec of Telnyx's: the field's own rule will say so
        return _TELNYX_RATE_HZ
    if rate_hz is None:
        return rates_hz[0]
    if rate_hz not in rates_hz:
        allowed = ", ".join(map(str, sorted(rates_hz)))
        raise InvalidFieldError(
            "stream_bidirectional_sampling_rate", f"one of {allowed} with {codec}"
        )
    return rate_hz


def _tell(command: str, fields: dict[str, Any], told: dict[str, str]) -> None:
    if command != "streaming_start":
        fields["stream_url"] = with_query(fields["stream_url"], told)
        return
    given = fields.pop("custom_parameters", None) or {}
    if not isinstance(given, Mapping):
        raise InvalidFieldError("custom_parameters", "a dict of names and values")
    for name in given:
        if told and (name in RESERVED_NAMES or str(name).startswith(PARAMETER_PREFIX)):
            raise InvalidFieldError(f"custom_parameters.{name}", "left to the client to set")
    values = {name: as_text(f"custom_parameters.{name}", v) for name, v in given.items()} | told
    if values:
        fields["custom_parameters"] = [{"name": n, "value": v} for n, v in values.items()]


def _add_token(command: str, fields: dict[str, Any], token: str) -> None:
    if command == "answer":  # takes no token: the path is the only place left
        fields["stream_url"] = with_token(fields["stream_url"], token)
    else:
        fields["stream_auth_token"] = token
