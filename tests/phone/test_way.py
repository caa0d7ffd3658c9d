"""Loss and jitter of the caller's way to the server."""

from __future__ import annotations

from random import Random

import pytest

from mediaserver.phone.way import Way


def test_call_due_for_every_chunk_in_its_order() -> None:
    """Without loss and jitter each is sent at once; with jitter late, and in order."""
    way = Way(Random(1))
    assert [way.due(at / 50) for at in range(3)] == [0.0, 0.02, 0.04]
    way.change(None, 0.1)
    times = [(at / 50, way.due(at / 50)) for at in range(3, 500)]
    dues = [due for _, due in times if due is not None]
    assert dues == sorted(dues)
    lates = [due - now for now, due in times if due is not None]
    assert len(lates) == len(times)
    assert min(lates) >= 0
    assert 0.08 < max(lates) <= 0.1


@pytest.mark.parametrize("loss", [0.0, 0.2, 1.0])
def test_a_share_of_the_chunks_is_lost(loss: float) -> None:
    """As many as was asked for; and what is not named stays as it was."""
    way = Way(Random(2))
    way.change(loss, None)
    way.change(None, None)
    lost = sum(way.due(at / 50) is None for at in range(2000))
    assert abs(lost / 2000 - loss) <= (0.03 if 0 < loss < 1 else 0)
