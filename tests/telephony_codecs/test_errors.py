"""Errors say whose fault it is, hold what happened as fields, and read as one line."""

from __future__ import annotations

import pickle

import pytest

from telephony_codecs import (
    AudioFormatError,
    CodecError,
    CodecUnavailableError,
    PayloadError,
    UnknownCodecError,
)


@pytest.mark.parametrize(
    ("error", "line", "fields"),
    [
        (
            PayloadError("OPUS", "it is empty"),
            "malformed OPUS payload: it is empty",
            {"codec": "OPUS", "reason": "it is empty"},
        ),
        (AudioFormatError("no such rate"), "no such rate", {"reason": "no such rate"}),
        (
            UnknownCodecError("GSM", ("PCMU", "PCMA")),
            "unknown codec 'GSM'; known: PCMU, PCMA",
            {"name": "GSM", "known": ("PCMU", "PCMA")},
        ),
        (
            CodecUnavailableError("OPUS", "decode", "none found", "get one"),
            "OPUS: cannot decode here: none found; get one",
            {"codec": "OPUS", "direction": "decode", "reason": "none found", "remedy": "get one"},
        ),
    ],
)
def test_an_error_reads_as_one_line_and_holds_its_fields(
    error: CodecError, line: str, fields: dict[str, object]
) -> None:
    """The line is made of the fields, and of nothing else."""
    assert str(error) == line
    assert vars(error) == fields


def test_errors_are_what_python_calls_them_too() -> None:
    """Wrong values are ValueError, unknown names KeyError; a peer's fault is neither."""
    assert issubclass(AudioFormatError, ValueError)
    assert issubclass(UnknownCodecError, KeyError)
    assert not issubclass(PayloadError, ValueError)


@pytest.mark.parametrize(
    "error",
    [
        PayloadError("OPUS", "it is empty"),
        AudioFormatError("wrong"),
        UnknownCodecError("GSM", ("PCMU",)),
        CodecUnavailableError("OPUS", "use", "none found", "get one"),
    ],
)
def test_errors_have_one_root_and_survive_pickling(error: CodecError) -> None:
    """They cross process borders with their fields and their one line."""
    copy = pickle.loads(pickle.dumps(error))
    assert isinstance(copy, CodecError)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
    assert "\n" not in str(error)
