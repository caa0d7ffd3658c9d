"""The configuration of a transcription as the fake Telnyx takes it: a union by engine.

Written from protocol.md 3 alone, apart from the client's table of the same.
"""

from __future__ import annotations

from typing import Any

from mediaserver.carrier.rest.bodies.checks import (
    ENGINES,
    FLAG,
    OBJECT,
    TEXT,
    TEXTS,
    Body,
    Rule,
    choice,
    limits,
    require,
)
from mediaserver.carrier.rest.errors import invalid, missing

_CONFIG = "transcription_engine_config"

_SPEECH_CONTEXT = Rule(
    "a list of phrases with a boost from 0 to 20",
    lambda value: (
        isinstance(value, list)
        and all(
            isinstance(entry, dict)
            and TEXTS.accepts(entry.get("phrases", []))
            and limits(0, 20).accepts(entry.get("boost", 0))
            for entry in value
        )
    ),
)
_UP_TO_100 = Rule("at most 100 texts", lambda value: TEXTS.accepts(value) and len(value) <= 100)
_BOOSTS = Rule(
    "words with numbers",
    lambda value: isinstance(value, dict) and all(map(limits(-1e9).accepts, value.values())),
)
_GOOGLE = {
    "language": TEXT,
    "interim_results": FLAG,
    "enable_speaker_diarization": FLAG,
    "min_speaker_count": limits(1),
    "max_speaker_count": limits(1),
    "profanity_filter": FLAG,
    "use_enhanced": FLAG,
    "model": choice(
        *("latest_long", "latest_short", "command_and_search", "phone_call", "video"),
        *("default", "medical_conversation", "medical_dictation"),
    ),
    "hints": TEXTS,
    "speech_context": _SPEECH_CONTEXT,
}
_TELNYX = {
    "language": TEXT,
    "transcription_model": choice("openai/whisper-tiny", "openai/whisper-large-v3-turbo"),
}
_NOVA = {
    "transcription_model": choice("deepgram/nova-2", "deepgram/nova-3"),
    "language": TEXT,
    "interim_results": FLAG,
    "utterance_end_ms": limits(0, 5000),
    "smart_format": FLAG,
    "keywords_boosting": _BOOSTS,
}
_AZURE = {
    "region": choice(
        "australiaeast", "centralindia", "eastus", "northcentralus", "westeurope", "westus2"
    ),
    "language": TEXT,
    "api_key_ref": TEXT,
}
_REST = {"language": TEXT, "transcription_model": TEXT, "interim_results": FLAG}
_SONIOX = _REST | {
    "enable_endpoint_detection": FLAG,
    "max_endpoint_delay_ms": limits(500, 3000),
}
_CLOSED = {"Google": _GOOGLE, "A": _GOOGLE, "Telnyx": _TELNYX, "B": _TELNYX, "Azure": _AZURE}
_REQUIRED = {"Deepgram": "transcription_model", "Azure": "region"}


def check(body: Body) -> None:
    """Do nothing if Telnyx would take the engine and its configuration.

    Args:
        body: of ``transcription_start``; or ``transcription_config`` of dial and answer.

    Raises:
        RefusalError: 422, naming the key.
    """
    engine = body.get("transcription_engine", "Google")
    require("transcription_engine", choice(*ENGINES), engine)
    config = body.get(_CONFIG)
    if config is not None:
        require(_CONFIG, OBJECT, config)
        _check_config(engine, config)
    needed = _REQUIRED.get(engine)
    if needed is not None and needed not in (config or {}):
        raise missing(f"{_CONFIG}/{needed}")


def _check_config(engine: str, config: Body) -> None:
    """The key inside tells the members of the union apart; without it there is none."""
    if "transcription_engine" not in config:
        raise missing(f"{_CONFIG}/transcription_engine")
    inner = [engine]
    if engine == "Deepgram":
        inner += ["deepgram/nova-2", "deepgram/nova-3"]
    require(f"{_CONFIG}/transcription_engine", choice(*inner), config["transcription_engine"])
    rules: dict[str, Any] = dict(_CLOSED.get(engine, _REST))
    if engine == "Deepgram":
        is_old = config.get("transcription_model") == "deepgram/nova-2"
        rules = {**_NOVA, "hints" if is_old else "keyterms": _UP_TO_100}
    if engine == "Soniox":
        rules = dict(_SONIOX)
    for key, value in config.items():
        if key in rules:
            require(f"{_CONFIG}/{key}", rules[key], value)
        elif key != "transcription_engine" and engine in (*_CLOSED, "Deepgram"):
            raise invalid(f"{_CONFIG}/{key}", f"left out with {engine}")
