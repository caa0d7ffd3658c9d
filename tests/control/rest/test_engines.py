"""Transcription: the configuration by engine goes out as protocol.md has it."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.control.rest.sending import sent

GOOGLE = {
    "language": "en",
    "interim_results": True,
    "enable_speaker_diarization": True,
    "min_speaker_count": 2,
    "max_speaker_count": 6,
    "profanity_filter": False,
    "use_enhanced": True,
    "model": "latest_long",
    "hints": ["a", "b"],
    "speech_context": [{"phrases": ["x"], "boost": 20}],
}
DEEPGRAM = {
    "transcription_model": "deepgram/nova-3",
    "language": "en",
    "interim_results": True,
    "utterance_end_ms": 1000,
    "smart_format": True,
    "keywords_boosting": {"Telnyx": 2.5},
    "keyterms": ["word"] * 100,
}
OTHER = {"language": "en", "transcription_model": "m", "interim_results": False}

KNOWN: list[tuple[str, dict[str, Any]]] = [
    ("Google", GOOGLE),
    ("Google", {"model": "medical_dictation"}),
    ("A", GOOGLE),
    ("Telnyx", {"language": "en", "transcription_model": "openai/whisper-large-v3-turbo"}),
    ("B", {"transcription_model": "openai/whisper-tiny"}),
    ("Deepgram", DEEPGRAM),
    ("Deepgram", {"transcription_model": "deepgram/nova-2", "hints": ["word"]}),
    *[
        ("Azure", {"region": region, "language": "en", "api_key_ref": "my-key"})
        for region in (
            *("australiaeast", "centralindia", "eastus"),
            *("northcentralus", "westeurope", "westus2"),
        )
    ],
    *[
        (engine, OTHER)
        for engine in (
            *("xAI", "AssemblyAI", "Speechmatics", "Soniox"),
            *("Parakeet", "Humain", "Reson8", "Cohere"),
        )
    ],
    ("Soniox", OTHER | {"enable_endpoint_detection": True, "max_endpoint_delay_ms": 500}),
]


def sent_config(engine: str | None, config: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"transcription_engine_config": config}
    if engine is not None:
        given["transcription_engine"] = engine
    _, got = sent("start_transcription", "v3:a", command_id="c", **given)
    return got


@pytest.mark.parametrize("names_it", [False, True])
@pytest.mark.parametrize(("engine", "config"), KNOWN)
def test_each_engine_s_configuration_goes_out_with_its_engine_inside(
    engine: str, config: dict[str, Any], names_it: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Unchanged but for the inner engine, which may also be given; and without a warning."""
    whole = config | {"transcription_engine": engine}
    assert sent_config(engine, whole if names_it else config) == {
        "command_id": "c",
        "transcription_engine": engine,
        "transcription_engine_config": whole,
    }
    assert not caplog.records


def test_without_an_engine_the_configuration_is_google_s() -> None:
    """Telnyx's default engine is the one filled in; nothing is said of it outside."""
    assert sent_config(None, {"language": "en"}) == {
        "command_id": "c",
        "transcription_engine_config": {"language": "en", "transcription_engine": "Google"},
    }


@pytest.mark.parametrize("inner", ["deepgram/nova-2", "deepgram/nova-3"])
def test_deepgram_s_engine_may_be_spelt_as_in_the_sdk(inner: str) -> None:
    """The SDK's types have the model's name inside; who gives it, sends it."""
    config = {"transcription_model": "deepgram/nova-3", "transcription_engine": inner}
    assert sent_config("Deepgram", config)["transcription_engine_config"] == config


@pytest.mark.parametrize("engine", ["Google", "Telnyx", "A", "B", "Soniox", "Cohere"])
def test_an_engine_without_required_fields_needs_no_configuration(engine: str) -> None:
    """The engine alone is a command."""
    assert sent_config(engine, None) == {"command_id": "c", "transcription_engine": engine}


@pytest.mark.parametrize(
    ("engine", "config", "said"),
    [
        ("Tomorrow", None, "the engine Tomorrow"),
        ("Tomorrow", {"a": 1, "b": [2]}, "the engine Tomorrow, Tomorrow's a, Tomorrow's b"),
        ("Soniox", OTHER | {"new_key": {"at": "all"}}, "Soniox's new_key"),
        ("xAI", {"enable_endpoint_detection": True}, "xAI's enable_endpoint_detection"),
    ],
)
def test_what_is_not_known_passes_with_one_warning(
    engine: str, config: Any, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Engines that came later, and keys of engines without a closed list, are not refused."""
    with caplog.at_level(logging.WARNING):
        got = sent_config(engine, config)
    if config is not None:
        whole = config | {"transcription_engine": engine}
        assert got["transcription_engine_config"] == whole
    assert got["transcription_engine"] == engine
    assert [r.message for r in caplog.records] == [
        f"transcription: unknown here, but sent as it is: {said}"
    ]
