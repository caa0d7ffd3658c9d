"""The two AMR-WB decoders of PyAV: which is taken, and that FFmpeg's own sounds as the other."""

from __future__ import annotations

import sys
from collections import deque

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony_codecs import CodecUnavailableError, Int16Array, PayloadError, amrwb_cores
from telephony_codecs.amrwb_cores import (
    ComfortNoise,
    Core,
    NativeCore,
    OpencoreCore,
    find_core,
    noise_level,
    rms,
)
from telephony_codecs.amrwb_framing import FRAME_BITS, frame_octets, frame_type, read_storage
from tests.telephony_codecs.audio import VECTORS, likeness, snr_db

LOST, NO_DATA, SID_FIRST = b"\x74", b"\x7c", b"\x4c\0\0\0\0\x02"


def has(core: type[Core]) -> pytest.MarkDecorator:
    """Skip where this PyAV has not the decoder."""
    missing = core.name not in av.codecs_available
    return pytest.mark.skipif(missing, reason=f"PyAV {av.__version__} has no {core.name}")


needs_native, needs_opencore = has(NativeCore), has(OpencoreCore)
BOTH = [
    pytest.param(NativeCore, marks=needs_native),
    pytest.param(OpencoreCore, marks=needs_opencore),
]


def stored(name: str) -> list[bytes]:
    """Return the frames of a vector."""
    return read_storage((VECTORS / name).read_bytes())


def heard(core: Core, frames: list[bytes]) -> Int16Array:
    """Return the audio of frames of which none is lost."""
    parts = [core.decode(frame) for frame in frames]
    assert all(part is not None for part in parts)
    return np.concatenate([part for part in parts if part is not None])


def sid(energy: int) -> bytes:
    """Return a frame of comfort noise at one of the 64 levels, its spectrum all zeros."""
    return b"\x4c" + (energy << 6 | 0x12).to_bytes(5, "big")


@needs_native
@needs_opencore
def test_both_decode_speech_alike() -> None:
    """They differ by a filter of the standard's that FFmpeg leaves out, and by rounding."""
    frames = stored("speech_12650.awb")
    one, other = heard(OpencoreCore(av), frames), heard(NativeCore(av), frames)
    assert snr_db(one, other) > 20
    assert likeness(one, other, 0) > 0.99


@needs_native
@needs_opencore
def test_both_play_noise_as_loud() -> None:
    """In a stored pause FFmpeg's decoder is within 6 dB of the other one, frame by frame."""
    one, other = OpencoreCore(av), NativeCore(av)
    n_noise = 0
    for frame in stored("dtx_12650.awb"):
        pair = one.decode(frame), other.decode(frame)
        assert pair[1] is not None
        if frame_type(frame) > 8:
            n_noise += 1
            assert 0.5 < rms(pair[1]) / rms(pair[0]) < 2
    assert n_noise > 50


@pytest.mark.parametrize("core", BOTH)
@given(kind=st.integers(0, 8), data=st.data())
def test_any_bits_are_a_frame(
    core: type[NativeCore | OpencoreCore], kind: int, data: st.DataObject
) -> None:
    """320 samples of int16, however loud: no error, no number that is none."""
    body = data.draw(st.binary(min_size=frame_octets(kind), max_size=frame_octets(kind)))
    padding = -FRAME_BITS[kind] % 8
    body = (int.from_bytes(body, "big") >> padding << padding).to_bytes(len(body), "big")
    samples = heard(core(av), [bytes([kind << 3 | 4]) + body] * 3)
    assert (samples.dtype, samples.shape) == (np.int16, (960,))


@pytest.mark.parametrize("core", BOTH)
@pytest.mark.parametrize("bad", [b"\x54", b"\x14\0"])
def test_a_frame_that_is_refused_harms_no_other(
    core: type[NativeCore | OpencoreCore], bad: bytes
) -> None:
    """One of no legal type, one cut short: PayloadError, and the next is as it would have been."""
    frames = stored("speech_12650.awb")[:20]
    one, other = core(av), core(av)
    heard(one, frames[:10])
    heard(other, frames[:10])
    with pytest.raises(PayloadError, match="refuses"):
        one.decode(bad)
    assert np.array_equal(heard(one, frames[10:]), heard(other, frames[10:]))


@needs_native
def test_ffmpegs_own_leaves_lost_frames_to_conceal() -> None:
    """Lost, damaged, or without data though no pause was told; in a pause, noise goes on."""
    frames = stored("speech_12650.awb")[:20]
    damaged, damaged_noise = bytes([frames[0][0] & ~4]) + frames[0][1:], b"\x48" + sid(40)[1:]
    core = NativeCore(av)
    heard(core, frames)
    assert [core.decode(each) for each in (LOST, NO_DATA, damaged)] == [None] * 3
    noise = heard(core, [sid(40), NO_DATA, LOST, damaged, damaged_noise])
    assert min(rms(noise[at : at + 320]) for at in range(0, 1600, 320)) > 100
    heard(core, frames)
    assert core.decode(NO_DATA) is None


@needs_native
def test_a_pause_begins_as_loud_as_what_was_heard_last() -> None:
    """The first frame of comfort noise tells no level; nothing heard yet, it is silent."""
    core = NativeCore(av)
    before = heard(core, stored("dtx_12650.awb")[:37])
    noise = heard(core, [SID_FIRST, NO_DATA])
    assert 0.5 < rms(noise) / rms(before[-4 * 320 :]) < 1.5
    assert not heard(NativeCore(av), [SID_FIRST, NO_DATA]).any()


def test_the_level_glides() -> None:
    """**Call begin for each frame of type 9, end for each of speech; then next_frame.**"""
    noise = ComfortNoise()
    assert noise.next_frame() is None
    noise.begin(100.0, deque())
    noise.next_frame()
    noise.begin(1000.0, deque())
    levels = [rms(frame) for frame in (noise.next_frame(), noise.next_frame()) if frame is not None]
    assert 300 < levels[0] < 800 < levels[1]
    noise.begin(None, deque([np.ones(320, np.int16)]))
    assert (frame := noise.next_frame()) is not None
    assert rms(frame) > 800
    noise.end()
    assert noise.next_frame() is None


def test_the_level_is_read_from_the_frame() -> None:
    """63 levels of 1.15 dB; none in the first frame of a pause; the loudest fits int16."""
    assert noise_level(SID_FIRST) is None
    levels = [noise_level(sid(energy)) or 0 for energy in range(64)]
    ratios = np.divide(levels[1:], levels[:-1])
    assert np.allclose(20 * np.log10(ratios), 1.147, atol=0.01)
    assert levels[0] == pytest.approx(0.75)
    noise = ComfortNoise()
    noise.begin(levels[63], deque())
    loudest = noise.next_frame()
    assert loudest is not None
    assert rms(loudest) > 1000


def test_the_better_decoder_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """libopencore where PyAV has it, FFmpeg's own where not."""
    names = [core.name for core in amrwb_cores.CORES]
    assert names == ["libopencore_amrwb", "amrwb"]
    here = [name for name in names if name in av.codecs_available]
    assert find_core()().name == here[0]
    monkeypatch.setattr(av, "codecs_available", here[-1:])
    assert find_core()().name == here[-1]


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A PyAV without any AMR-WB decoder is told apart from none at all."""
    monkeypatch.setattr(av, "codecs_available", {"pcm_mulaw"})
    with pytest.raises(CodecUnavailableError, match=r"no AMR-WB decoder; .*--only-binary av av"):
        find_core()
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(CodecUnavailableError, match=r"does not import \(.*\); pip install av"):
        find_core()
