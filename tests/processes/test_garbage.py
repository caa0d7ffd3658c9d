"""What is loaded is not looked at again."""

from __future__ import annotations

import subprocess
import sys

TOLD = """
import gc
from mediaserver.processes.garbage import YOUNG, freeze_loaded

before = len(gc.get_objects())
freeze_loaded()
print(gc.get_freeze_count() >= 0.9 * before, len(gc.get_objects()) < 0.1 * before)
print(gc.get_threshold()[0] == YOUNG)

class Node:
    def __del__(self):
        print("gone")

node = Node()
node.self = node
del node
gc.collect()
"""


def test_what_is_loaded_is_not_looked_at_again_and_cycles_are_still_freed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TOLD], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout.splitlines() == ["True True", "True", "gone"], done.stderr
