from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.attacks.soak import Soak
from tests.attacks.soakcalls import KINDS


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_a_short_soak_leaves_nothing_behind(tmp_path: Path) -> None:
    """Descriptors, threads, tasks and the objects of calls are behind it what they were before.

    ``make soak`` is the long one, which judges memory too.
    """
    soak = Soak(tmp_path, minutes=0.2, calls=14, workers=2, every_s=6.0, pace=0.25)
    report = await soak.run()
    print(json.dumps(report["calls"]))
    assert report["failures"] == []
    assert set(report["calls"]) >= set(KINDS)
