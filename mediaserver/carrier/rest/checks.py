"""What the fake Telnyx takes in a command's body, written from protocol.md 3 alone.

Deliberately apart from the client's own tables: a mistake made in both would go unseen.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any

from mediaserver.carrier.rest.errors import invalid, invalid_client_state

Body = dict[str, Any]
_Rule = tuple[str, Callable[[Any], bool]]


def _choice(*values: object) -> _Rule:
    allowed = f"one of {', '.join(map(str, values))}"
    return allowed, lambda value: not isinstance(value, bool) and value in values


def _parameters(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(entry, dict)
        and set(entry) == {"name", "value"}
        and all(isinstance(part, str) for part in entry.values())
        for entry in value
    )


_TEXT: _Rule = ("text", lambda value: isinstance(value, str) and value != "")
_FLAG: _Rule = ("true or false", lambda value: isinstance(value, bool))
_OBJECT: _Rule = ("an object", lambda value: isinstance(value, dict))
_UDP: _Rule = (
    "udp:ip:port",
    lambda value: isinstance(value, str) and bool(re.fullmatch(r"udp:[^ ]+:[0-9]{1,5}", value)),
)
_STREAM_URL: _Rule = (
    "a wss URL of at most 2000 characters",
    # ws as well: the fake's own machine has no certificate.
    lambda value: isinstance(value, str) and bool(re.fullmatch(r"wss?://[!-~]{1,1994}", value)),
)
_CODECS = ("PCMU", "PCMA", "G722", "OPUS", "AMR-WB", "L16")

_COMMON: dict[str, _Rule] = {"client_state": _TEXT, "command_id": _TEXT}
_ANSWER: dict[str, _Rule] = {
    **_COMMON,
    "stream_url": _STREAM_URL,
    "stream_track": _choice("inbound_track", "outbound_track", "both_tracks"),
    "stream_codec": _choice(*_CODECS, "default"),
    "stream_bidirectional_mode": _choice("mp3", "rtp"),
    "stream_bidirectional_codec": _choice(*_CODECS),
    "stream_bidirectional_target_legs": _choice("both", "self", "opposite"),
}
_RATED: dict[str, _Rule] = {
    **_ANSWER,
    "stream_bidirectional_sampling_rate": _choice(8000, 16000, 22050, 24000, 48000),
    "stream_auth_token": (
        "text of at most 4000 characters",
        lambda value: isinstance(value, str) and 1 <= len(value) <= 4000,
    ),
}
_ENGINES = (
    *("Google", "Telnyx", "Deepgram", "Azure", "A", "B", "xAI", "AssemblyAI"),
    *("Speechmatics", "Soniox", "Parakeet", "Humain", "Reson8"),
)

RULES: dict[str, dict[str, _Rule]] = {
    "dial": {
        **_RATED,
        "connection_id": _TEXT,
        "from": _TEXT,
        "to": _TEXT,
        "webhook_url": _TEXT,
        "stream_establish_before_call_originate": _FLAG,
        "send_silence_when_idle": _FLAG,
    },
    "answer": _ANSWER,
    "hangup": _COMMON,
    "streaming_start": {
        **_RATED,
        "custom_parameters": ("a list of names and values", _parameters),
        "enable_dialogflow": _FLAG,
        "dialogflow_config": _OBJECT,
    },
    "streaming_stop": {**_COMMON, "stream_id": _TEXT},
    "fork_start": {
        **_COMMON,
        "rx": _UDP,
        "tx": _UDP,
        "target": _UDP,
        "stream_type": _choice("decrypted"),
    },
    "fork_stop": {**_COMMON, "stream_type": _choice("raw", "decrypted")},
    "transcription_start": {
        **_COMMON,
        "transcription_engine": _choice(*_ENGINES),
        "transcription_tracks": _choice("inbound", "outbound", "both"),
        "transcription_engine_config": _OBJECT,
    },
    "transcription_stop": _COMMON,
}
_REQUIRED = {"dial": ("connection_id", "from", "to"), "streaming_start": ("stream_url",)}


def check(command: str, body: Any) -> Body:
    """The body, if Telnyx would take it.

    Raises:
        RefusalError: 422, naming the field.
    """
    if not isinstance(body, dict):
        raise invalid("body", "an object")
    rules = RULES[command]
    for name in _REQUIRED.get(command, ()):
        if name not in body:
            raise invalid(name, "given")
    for name, value in body.items():
        if name not in rules:
            raise invalid(name, f"left out of {command}")
        allowed, accepts = rules[name]
        if not accepts(value):
            raise invalid(name, allowed)
    _check_client_state(body.get("client_state"))
    return body


def _check_client_state(state: str | None) -> None:
    try:
        base64.b64decode(state or "", validate=True)
    except (binascii.Error, ValueError):
        raise invalid_client_state() from None
