from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediaserver.bridges.pcm import BadAudioError, PcmReader, from_base64, to_base64, to_pcm


def test_samples_become_little_endian_octets() -> None:
    """1 and -2 are ``01 00 fe ff``, in base64 ``AQD+/w==``."""
    samples = np.array([1, -2], np.int16)
    assert to_pcm(samples) == b"\x01\x00\xfe\xff"
    assert to_base64(samples) == "AQD+/w=="
    assert from_base64("AQD+/w==") == b"\x01\x00\xfe\xff"


@pytest.mark.parametrize("text", ["AQD", "AQ D+", "ä", "AQD+/w==x"])
def test_what_is_no_base64_is_refused(text: str) -> None:
    """Strictly: no blanks, no missing end."""
    with pytest.raises(BadAudioError):
        from_base64(text)


@given(st.lists(st.binary(max_size=9)))
def test_read_each_piece_in_the_order_it_came_in(pieces: list[bytes]) -> None:
    """However it is cut, each whole sample is had once; half a one waits."""
    reader = PcmReader()
    read = np.concatenate([np.zeros(0, np.int16), *map(reader.read, pieces)])
    octets = b"".join(pieces)
    assert to_pcm(read) == octets[: len(octets) // 2 * 2]
