"""What is loaded is not looked at again, and the rest at good moments."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mediaserver.processes.garbage import GROWN_BYTES, IDLE_PART, ROUNDS, is_due

TOLD = """
import asyncio, gc
from mediaserver.processes import garbage

class Node:
    def __del__(self):
        print("gone")

def circle():
    node = Node()
    node.self = node

async def idle():
    gc.collect()
    before = len(gc.get_objects())
    garbage.LOOK_S = 0.1
    garbage.freeze_loaded()
    print(gc.get_freeze_count() >= 0.9 * before, len(gc.get_objects()) < 0.1 * before)
    print(gc.get_threshold()[:2] == (garbage.YOUNG, garbage.ROUNDS))
    circle()
    kept = [[] for _ in range(2 * garbage.YOUNG * garbage.ROUNDS * garbage.ROUNDS)]
    print("old now")
    for _ in range(40):
        await asyncio.sleep(0.1)

asyncio.run(idle())
print("over")
"""


def test_what_is_loaded_is_not_looked_at_again_and_circles_are_freed_when_idle() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TOLD], capture_output=True, text=True, check=False, timeout=60
    )
    lines = done.stdout.splitlines()
    assert lines[:2] == ["True True", "True"], done.stderr
    assert lines[-1] == "over", done.stderr
    assert "gone" in lines


@pytest.mark.parametrize(
    ("busy", "n_rounds", "grown", "was", "due"),
    [
        (0.0, ROUNDS, 0, 100, True),
        (0.0, ROUNDS - 1, 0, 100, False),
        (IDLE_PART, ROUNDS, 0, 100, False),
        (0.9, 1000, GROWN_BYTES, 100, False),
        (0.9, 0, GROWN_BYTES + 1, 100, True),
        (0.9, 1000, 2 * GROWN_BYTES, 10 * GROWN_BYTES, False),
        (0.9, 0, 3 * GROWN_BYTES, 10 * GROWN_BYTES, True),
    ],
)
def test_all_is_looked_at_when_idle_or_when_memory_has_grown(
    busy: float, n_rounds: int, grown: int, was: int, due: bool
) -> None:
    assert is_due(busy, n_rounds, grown, was) is due
