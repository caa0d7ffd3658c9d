"""A tape is filled by one thread and emptied by another."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mediaserver.processors.builtin.recording.pieces import Piece
from mediaserver.processors.builtin.recording.tape import PENDING_MOST_S, Tape

RATE_HZ = 8000
FRAME = np.ones(160, np.int16)


class Untold:
    """Hears of no failure."""

    def disk_failed(self, exc: OSError) -> None:
        raise exc

    def disk_works(self) -> None:
        pass


@pytest.fixture
def _often() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_often")
async def test_nothing_is_given_up_while_the_disk_keeps_up(tmp_path: Path) -> None:
    """However long the call: what waits is what was put, less what was taken."""
    tape = Tape(lambda: tmp_path / "call.wav", RATE_HZ, 1, Untold())
    seconds = 0.0
    for n in range(1, 30_001):
        tape.put(0, Piece(seconds, FRAME, RATE_HZ))
        seconds = n * 0.02
        while seconds - tape.seconds > PENDING_MOST_S / 2:  # noqa: ASYNC110 (it has no event for it)
            await asyncio.sleep(0.001)
    await asyncio.wait_for(tape.finish(asyncio.get_running_loop()), 30)
    assert tape.lost_s == 0.0
    assert tape._waiting_s == pytest.approx(0.0, abs=1e-6)
    assert tape.seconds == pytest.approx(600.0, abs=0.1)
