"""A frame says how long it is, and stays as it was made."""

from __future__ import annotations

import numpy as np
import pytest

from mediaserver.media.frames import Frame


@pytest.mark.parametrize(
    ("n_samples", "rate_hz", "duration_s"),
    [(160, 8000, 0.02), (320, 16000, 0.02), (441, 22050, 0.02), (0, 8000, 0.0)],
)
def test_the_duration_is_that_of_its_samples(
    n_samples: int, rate_hz: int, duration_s: float
) -> None:
    """Samples by rate, in seconds."""
    frame = Frame(np.zeros(n_samples, np.int16), rate_hz, "inbound", 0, 1.5)
    assert frame.duration == pytest.approx(duration_s)


def test_a_frame_is_not_lost_unless_said_so_and_never_changes() -> None:
    """A filter makes a new frame; the one it got is shared by all that follow."""
    frame = Frame(np.zeros(160, np.int16), 8000, "outbound", 7, 0.14)
    assert (frame.lost, frame.index, frame.start) == (False, 7, 0.14)
    with pytest.raises(AttributeError):
        frame.index = 8  # type: ignore[misc]  # that is the test
