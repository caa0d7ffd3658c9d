"""What works on this machine is found by trying, and what does not comes with its remedy."""

from __future__ import annotations

import pytest

from telephony_codecs import CODECS, Availability, CodecUnavailableError, codec, names, status
from telephony_codecs.contract import Codec, Decoder
from telephony_codecs.registry import Registry


def test_a_registry_that_is_empty_has_no_status() -> None:
    """No codec, no entry."""
    assert status(Registry()) == []


def test_each_direction_is_tried_at_the_default_rate() -> None:
    """One that cannot be made says why and what to do; the other direction is not affected."""
    asked_hz: list[int] = []

    def missing(rate_hz: int) -> Decoder:
        asked_hz.append(rate_hz)
        raise CodecUnavailableError("HALF", "decode", "no library", "get one")

    half = Codec("HALF", (8000, 16000), 16000, missing, codec("L16").make_encoder)
    assert status(Registry(half)) == [
        Availability("HALF", "decode", False, "no library", "get one"),
        Availability("HALF", "encode", True, "", ""),
    ]
    assert asked_hz == [16000]


def test_a_codec_that_is_broken_is_not_one_that_is_missing() -> None:
    """Any other error is somebody's fault, and is not hidden."""

    def broken(rate_hz: int) -> Decoder:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        status(Registry(Codec("BROKEN", (8000,), 8000, broken, None)))


def test_status_speaks_of_each_direction_once() -> None:
    """Two entries a codec; what is missing comes with a reason and a remedy."""
    found = status()
    assert [(each.codec, each.direction) for each in found] == [
        (name, direction) for name in names() for direction in ("decode", "encode")
    ]
    assert all(bool(each.reason and each.remedy) != each.available for each in found)
    assert Availability("PCMU", "decode", True) in found
    assert not next(e for e in found if e[:2] == ("MP3", "decode")).available
    assert status(CODECS) == found
