"""Which codecs there are, and what importing the library costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import telephony_codecs
from telephony_codecs import (
    Codec,
    CodecUnavailableError,
    UnknownCodecError,
    codec,
    names,
    status,
)
from telephony_codecs.registry import Registry

HEAVY = ("av", "soxr", "lameenc", "G722", "asyncio", "socket")


def test_every_codec_that_telnyx_names_is_there() -> None:
    """The list of protocol.md 2, and MP3 for mp3 mode."""
    assert set(names()) == {"PCMU", "PCMA", "G722", "OPUS", "AMR-WB", "L16", "MP3"}
    assert all(codec(name).name == name for name in names())


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    """It is a KeyError too, and reads as one line."""
    with pytest.raises(UnknownCodecError, match="unknown codec 'GSM'; known: PCMU, PCMA") as caught:
        codec("GSM")
    assert isinstance(caught.value, KeyError)
    assert caught.value.name == "GSM"


def test_a_name_is_given_once() -> None:
    """Registering a second codec of a name is refused."""
    registry = Registry(codec("PCMU"))
    with pytest.raises(ValueError, match="PCMU is registered already"):
        registry.register(codec("PCMU"))
    assert registry.names() == ("PCMU",)


def test_a_codec_of_ones_own_can_be_added() -> None:
    """It is found by its name; what it cannot do is said, not crashed upon."""
    registry = Registry()
    registry.register(Codec("NOTHING", (8000,), 8000, None, None))
    with pytest.raises(CodecUnavailableError, match="NOTHING: cannot encode here"):
        registry.codec("NOTHING").encoder()
    assert [each.available for each in status(registry)] == [False, False]


def test_importing_the_library_imports_nothing_heavy() -> None:
    """PyAV, soxr, lameenc, and G722 wait until they are needed."""
    code = f"""
import sys, numpy
before = set(sys.modules)
import telephony_codecs
new = set(sys.modules) - before
assert not new & set({HEAVY!r}), new & set({HEAVY!r})
assert not any(name.startswith("mediaserver") for name in new)
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)


def test_everything_public_is_listed_and_there() -> None:
    """``__all__`` is sorted, complete and true."""
    for name in telephony_codecs.__all__:
        assert getattr(telephony_codecs, name) is not None
