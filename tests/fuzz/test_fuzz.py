"""Each target for a moment; ``make fuzz`` gives each ten minutes.

FUZZ_SECONDS in the environment is the time of each, FUZZ_SEED the seed (0: another each time),
FUZZ_KEEP a folder in which what was found is kept for the next run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.targets import MODULES

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
SECONDS = float(os.environ.get("FUZZ_SECONDS", "2"))
# The same inputs each time, as far as time allows: what others change is not theirs to find.
SEED = os.environ.get("FUZZ_SEED", "1")


@pytest.mark.timeout(2 * SECONDS + 100)
@pytest.mark.parametrize("name", MODULES)
def test_a_target_keeps_its_promises(name: str, tmp_path: Path) -> None:
    """No input is found that breaks one, in a process of its own, so that a crash is one."""
    keep = os.environ.get("FUZZ_KEEP", str(tmp_path))
    command = [sys.executable, "-m", "tests.fuzz.run", name, "--seed", SEED, "--keep", keep]
    ran = subprocess.run(
        [*command, "--seconds", str(SECONDS)], cwd=ROOT, capture_output=True, check=False
    )
    said = (ran.stdout + ran.stderr).decode(errors="replace")
    print(said[-600:])
    assert ran.returncode == 0, said[-4000:]
