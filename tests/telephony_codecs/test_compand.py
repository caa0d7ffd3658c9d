"""The compiled look-up of G.711's encoder gives what numpy's does, and refuses all else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mediaserver.media.frames import Int16Array
from telephony_codecs import g711

compiled = g711.load_compiled()
pytestmark = pytest.mark.skipif(compiled is None, reason="no C compiler was there to build it")

TABLES = {"PCMU": g711.linear_to_ulaw(), "PCMA": g711.linear_to_alaw()}
EVERY_SAMPLE = np.arange(-32768, 32768).astype(np.int16)


@pytest.mark.parametrize("name", TABLES)
def test_every_sample_has_the_code_of_the_table(name: str) -> None:
    """All 65,536; and none for none."""
    ours, numpys = g711.compander(TABLES[name], compiled), g711.compander(TABLES[name])
    assert ours(EVERY_SAMPLE) == numpys(EVERY_SAMPLE)
    assert ours(EVERY_SAMPLE[:0]) == b""


@given(
    arrays(np.int16, st.integers(0, 400)),
    st.integers(1, 5),
    st.booleans(),
)
def test_any_layout_gives_the_same(samples: Int16Array, step: int, backwards: bool) -> None:
    """One channel of several, an array read backwards, and one at an odd address."""
    ours, numpys = g711.compander(TABLES["PCMU"], compiled), g711.compander(TABLES["PCMU"])
    some = samples[:: -step if backwards else step]
    assert ours(some) == numpys(some)
    odd = np.frombuffer(b"\0" + samples.tobytes(), np.uint8)[1:].view(np.int16)
    assert ours(odd) == numpys(samples)


def test_the_table_may_go_out_of_sight() -> None:
    """The function keeps it."""
    table = bytes(range(256)) * 256
    ours = compiled.compander(table)
    del table
    assert ours(np.array([0, 1, 255, 256, -1], np.int16)) == bytes([0, 1, 255, 0, 255])


@pytest.mark.parametrize(
    "bad",
    [None, 7, "text", b"octets", [1, 2], np.zeros((2, 2), np.int16), np.zeros(4, np.int32),
     np.zeros(4, np.int8), np.int16(3), np.zeros((), np.int16)],
    ids=repr,
)  # fmt: skip
def test_what_are_no_samples_is_refused(bad: Any) -> None:
    """A TypeError, and nothing is read."""
    with pytest.raises(TypeError):
        g711.compander(TABLES["PCMU"], compiled)(bad)


@pytest.mark.parametrize("bad", [b"", bytes(65535), bytes(65537), bytearray(65536), None])
def test_what_is_no_table_is_refused(bad: Any) -> None:
    """Less than 65,536 octets would be read beyond their end."""
    with pytest.raises(TypeError):
        compiled.compander(bad)
