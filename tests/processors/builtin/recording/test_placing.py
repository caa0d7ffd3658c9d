"""Pieces at the rate of their file."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mediaserver.media.frames import Int16Array
from mediaserver.processors.builtin.recording.pieces import Piece, Placing


def laid_out(pieces: list[Piece], rate_hz: int) -> Int16Array:
    """What a file would hold."""
    placing = Placing(rate_hz)
    placed = [each for piece in pieces for each in placing.place(piece)] + placing.flush()
    out = np.zeros(max((at + len(samples) for at, samples in placed), default=0), np.int16)
    for at, samples in placed:
        assert at >= 0
        out[at : at + len(samples)] += samples
    return out


def sound(seconds: float, rate_hz: int) -> Int16Array:
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    return np.asarray(8000 * np.sin(2 * np.pi * 300 * t), np.int16)


def test_the_same_rate_is_copied() -> None:
    """To the sample, from the first one on, and behind a gap."""
    samples = sound(0.5, 8000)
    found = laid_out([Piece(0.0, samples, 8000), Piece(1.0, samples, 8000)], 8000)
    assert len(found) == 12000
    assert (found[:4000] == samples).all()
    assert not found[4000:8000].any()
    assert (found[8000:] == samples).all()


@pytest.mark.parametrize(("from_hz", "to_hz"), [(8000, 16000), (16000, 48000), (48000, 24000)])
@given(cuts=st.lists(st.integers(1, 300), max_size=20))
@settings(max_examples=20, deadline=None)
def test_another_rate_is_in_its_place(from_hz: int, to_hz: int, cuts: list[int]) -> None:
    """However it is cut: as long as it was, no later by a sample, no seam."""
    whole = sound(0.25, from_hz)
    edges = [0, *sorted({min(sum(cuts[:n]), len(whole)) for n in range(1, len(cuts) + 1)})]
    ends = [*edges[1:], len(whole)]
    pieces = [
        Piece(1.0 + a / from_hz, whole[a:b], from_hz)
        for a, b in zip(edges, ends, strict=True)
        if b > a
    ]
    found = laid_out(pieces, to_hz)
    assert abs(len(found) - round(1.25 * to_hz)) <= 2
    assert not found[:to_hz].any()
    inner = slice(round(1.02 * to_hz), round(1.23 * to_hz))
    expected = np.concatenate([np.zeros(to_hz, np.int16), sound(0.25, to_hz)])
    assert np.abs(found[inner].astype(int) - expected[inner]).max() < 100


def test_a_change_of_the_rate_goes_on() -> None:
    """A socket that takes over brings another rate: both halves are in their places."""
    found = laid_out(
        [Piece(0.0, sound(0.5, 8000), 8000), Piece(0.5, sound(0.5, 16000), 16000)], 16000
    )
    assert abs(len(found) - 16000) <= 2
    for first, last in ((0.02, 0.48), (0.52, 0.98)):
        part = slice(round(first * 16000), round(last * 16000))
        assert np.abs(found[part].astype(int) - sound(1.0, 16000)[part]).max() < 100
