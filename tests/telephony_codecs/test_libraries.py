"""Where shared libraries are looked for, in which order, and what is said if there are none."""

from __future__ import annotations

import ctypes.util
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from telephony_codecs import CodecUnavailableError, libraries
from telephony_codecs.libopus import libopus
from telephony_codecs.opus import OpusDecoder, OpusEncoder


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    """Ask the system anew in each test, and after the last."""
    libraries.system_library.cache_clear()
    yield
    libraries.system_library.cache_clear()


@pytest.fixture
def _no_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away PyAV's folder and the system's linker."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(ctypes.util, "find_library", lambda _: None)


def test_pyavs_own_libopus_is_found() -> None:
    """The wheel carries one, and it loads without any system library."""
    paths = list(libraries.bundled_opus())
    assert len(paths) == 1
    assert "opus" in libopus(paths[0]).version
    assert OpusDecoder(16000).library_version == libopus(paths[0]).version


def test_a_path_overrides(tmp_path: Path) -> None:
    """The option ``library`` wins, for decoder and encoder; a wrong one is refused by name."""
    path = next(libraries.bundled_opus())
    assert OpusDecoder(16000, library=path).library_version == libopus(path).version
    assert OpusEncoder(16000, library=path).unit_samples == 320
    wrong = tmp_path / "libnothing.so"
    with pytest.raises(CodecUnavailableError, match=r"libnothing\.so does not load"):
        OpusDecoder(16000, library=str(wrong))
    wrong.write_bytes(b"not a library")
    with pytest.raises(CodecUnavailableError, match=r"libnothing\.so does not load"):
        OpusEncoder(16000, library=str(wrong))


@pytest.mark.usefixtures("_no_libraries")
def test_without_any_libopus_the_error_names_three_ways() -> None:
    """PyAV's wheel, the system's package, the option."""
    with pytest.raises(CodecUnavailableError) as caught:
        libraries.load_opus()
    for way in ("av wheel", "libopus0", "'library'"):
        assert way in str(caught.value)


@pytest.mark.usefixtures("_no_libraries")
def test_without_the_amrwb_encoder_the_error_names_what_to_use() -> None:
    """G722, L16 and OPUS need nothing from the system."""
    with pytest.raises(CodecUnavailableError, match="use G722, L16 or OPUS") as caught:
        libraries.load_amrwb_encoder()
    assert (caught.value.codec, caught.value.direction) == ("AMR-WB", "encode")


def test_the_system_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A codec that is missing costs a search at the first call only."""
    asked: list[str] = []
    monkeypatch.setattr(ctypes.util, "find_library", asked.append)
    for _ in range(3):
        with pytest.raises(CodecUnavailableError):
            libraries.load_amrwb_encoder()
    assert asked == ["vo-amrwbenc"]


def test_the_systems_library_is_the_last_resort(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PyAV carries none, the linker is asked."""
    bundled = next(libraries.bundled_opus())
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: bundled if name == "opus" else "")
    assert libraries.load_opus()._name == bundled
