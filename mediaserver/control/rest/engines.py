"""The configuration of a transcription, which depends on its engine.

The configuration must repeat the engine's name; if that is left out, it is filled in. An engine
that is not in the table is sent as it is, with a warning, and so is an unknown key of an engine
that may have further ones: Telnyx adds engines faster than this table can grow.

Source: protocol.md 3, transcription_start.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal, TypedDict

from mediaserver.control.checks import (
    COUNT,
    FLAG,
    JSON,
    OBJECT,
    Check,
    Rules,
    is_number,
    list_of,
    number,
    one_of,
    table,
    text,
    whole,
)
from mediaserver.control.errors import InvalidFieldError
from mediaserver.logs import LimitedLog, shown

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

FIELD = "transcription_engine_config"
INNER = "transcription_engine"
DEFAULT_ENGINE = "Google"

DeepgramModel = Literal["deepgram/nova-2", "deepgram/nova-3"]
AzureRegion = Literal[
    "australiaeast", "centralindia", "eastus", "northcentralus", "westeurope", "westus2"
]


class SpeechContext(TypedDict, total=False):
    """Phrases that Google is to expect; ``boost`` from 0 to 20."""

    phrases: list[str]
    boost: float


class GoogleConfig(TypedDict, total=False):
    """Configuration of the engines ``Google`` and ``A``."""

    transcription_engine: Literal["Google", "A"]
    language: str
    interim_results: bool
    enable_speaker_diarization: bool
    min_speaker_count: int
    max_speaker_count: int
    profanity_filter: bool
    use_enhanced: bool
    model: str
    hints: list[str]
    speech_context: list[SpeechContext]


class TelnyxConfig(TypedDict, total=False):
    """Configuration of the engines ``Telnyx`` and ``B``."""

    transcription_engine: Literal["Telnyx", "B"]
    language: str
    transcription_model: Literal["openai/whisper-tiny", "openai/whisper-large-v3-turbo"]


class DeepgramConfig(TypedDict, total=False):
    """Of Deepgram; ``transcription_model`` is required.

    ``hints`` are for model nova-2 only, ``keyterms`` for nova-3 only.
    """

    transcription_engine: Literal["Deepgram", "deepgram/nova-2", "deepgram/nova-3"]
    transcription_model: DeepgramModel
    language: str
    interim_results: bool
    utterance_end_ms: int
    smart_format: bool
    keywords_boosting: dict[str, float]
    hints: list[str]
    keyterms: list[str]


class AzureConfig(TypedDict, total=False):
    """Of Azure; ``region`` is required."""

    transcription_engine: Literal["Azure"]
    region: AzureRegion
    language: str
    api_key_ref: str


TranscriptionConfig = (
    GoogleConfig | TelnyxConfig | DeepgramConfig | AzureConfig | Mapping[str, object]
)
"""A union by engine; a plain mapping for all other engines."""


@dataclass(frozen=True)
class _Config:
    """What one engine takes.

    Attributes:
        rules: the rule of each key.
        required: keys that must be there.
        is_open: unknown keys are allowed, with a warning.
        inner: other names that the configuration itself may have for the engine.
    """

    rules: Rules
    required: tuple[str, ...] = ()
    is_open: bool = False
    inner: tuple[str, ...] = ()


_GOOGLE_MODELS = (
    *("latest_long", "latest_short", "command_and_search", "phone_call", "video", "default"),
    *("medical_conversation", "medical_dictation"),
)
_GOOGLE = _Config(
    {
        "language": text(),
        "interim_results": FLAG,
        "enable_speaker_diarization": FLAG,
        "min_speaker_count": COUNT,
        "max_speaker_count": COUNT,
        "profanity_filter": FLAG,
        "use_enhanced": FLAG,
        "model": one_of(*_GOOGLE_MODELS),
        "hints": list_of(text()),
        "speech_context": list_of(table({"phrases": list_of(text()), "boost": number(0, 20)})),
    }
)
_TELNYX = _Config(
    {
        "language": text(),
        "transcription_model": one_of("openai/whisper-tiny", "openai/whisper-large-v3-turbo"),
    }
)
_BOOSTS = Check(
    "an object of words and numbers",
    lambda value: (
        isinstance(value, Mapping)
        and all(isinstance(word, str) and is_number(boost) for word, boost in value.items())
    ),
)
_DEEPGRAM = _Config(
    {
        "transcription_model": one_of("deepgram/nova-2", "deepgram/nova-3"),
        "language": text(),
        "interim_results": FLAG,
        "utterance_end_ms": whole(0, 5000),
        "smart_format": FLAG,
        "keywords_boosting": _BOOSTS,
    },
    required=("transcription_model",),
    # The official SDKs' types have the model's name in the engine's place.
    inner=("deepgram/nova-2", "deepgram/nova-3"),
)
_OWN_KEYS_OF_MODEL: Mapping[object, Rules] = MappingProxyType(
    {
        "deepgram/nova-2": {"hints": list_of(text(), 100)},
        "deepgram/nova-3": {"keyterms": list_of(text(), 100)},
    }
)
_AZURE = _Config(
    {
        "region": one_of(
            *("australiaeast", "centralindia", "eastus"),
            *("northcentralus", "westeurope", "westus2"),
        ),
        "language": text(),
        "api_key_ref": text(),
    },
    required=("region",),
)
_OTHER = _Config(
    {"language": text(), "transcription_model": text(), "interim_results": FLAG}, is_open=True
)
_SONIOX = replace(
    _OTHER,
    rules={
        **_OTHER.rules,
        "enable_endpoint_detection": FLAG,
        "max_endpoint_delay_ms": whole(500, 3000),
    },
)
_UNKNOWN = _Config({}, is_open=True)

ENGINES: Mapping[str, _Config] = MappingProxyType(
    {
        "Google": _GOOGLE,
        "A": _GOOGLE,
        "Telnyx": _TELNYX,
        "B": _TELNYX,
        "Deepgram": _DEEPGRAM,
        "Azure": _AZURE,
        "xAI": _OTHER,
        "AssemblyAI": _OTHER,
        "Speechmatics": _OTHER,
        "Soniox": _SONIOX,
        "Parakeet": _OTHER,
        "Humain": _OTHER,
        "Reson8": _OTHER,
        "Cohere": _OTHER,
    }
)
"""What each known engine takes; one that is not here takes any object."""


def filled_in(engine: str | None, config: object) -> dict[str, Any] | None:
    """The configuration as it is sent: checked, with its engine inside.

    Args:
        engine: the command's own ``transcription_engine``; None is Telnyx's default, Google.
        config: of the user, or None.

    Raises:
        InvalidFieldError: naming the key and its rule.
    """
    name = engine or DEFAULT_ENGINE
    takes = ENGINES.get(name, _UNKNOWN)
    strange = [] if name in ENGINES else [f"the engine {name}"]
    given: dict[Any, Any] = {}
    if config is not None:
        OBJECT.require(FIELD, config)
        given = dict(config)  # type: ignore[call-overload]  # it is a mapping, as was checked
        _require(name, INNER, one_of(name, *takes.inner), given.setdefault(INNER, name))
        strange += _checked_keys(name, takes, given)
    for key in takes.required:
        if key not in given:
            raise _unfit(name, f"{key} required")
    if strange:
        text = "transcription: unknown here, but sent as it is: %s"
        limited.warning("unknown options", text, shown(", ".join(strange), 300))
    return given or None


def _checked_keys(name: str, takes: _Config, given: Mapping[Any, object]) -> list[str]:
    """Check every key; gives those that are unknown and pass."""
    rules = dict(takes.rules)
    if takes is _DEEPGRAM:
        rules |= _OWN_KEYS_OF_MODEL.get(given.get("transcription_model"), {})
    strange = []
    for key, value in given.items():
        if key in rules:
            _require(name, str(key), rules[str(key)], value)
        elif not isinstance(key, str) or (key != INNER and not takes.is_open):
            raise _unfit(name, f"of these keys: {', '.join(rules)}")
        elif key != INNER:
            _require(name, key, JSON, value)
            strange.append(f"{name}'s {key}")
    return strange


def _require(name: str, key: str, rule: Check, value: object) -> None:
    if not rule.accepts(value):
        raise _unfit(name, f"{key}: {rule.allowed}")


def _unfit(name: str, why: str) -> InvalidFieldError:
    return InvalidFieldError(FIELD, f"an object for {name} ({why})")
