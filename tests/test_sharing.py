"""The share of each test process, when one of them ends in the middle."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHARED = """
from tests.sharing import Sharing

def pytest_xdist_make_scheduler(config, log):
    return Sharing(config, log)
"""
ONE_OF_THREE = """
import os
import pytest

@pytest.mark.parametrize("n", range(3))
def test_one(n):
    if n == {ends_at}:
        os._exit(1)
"""


def outcome(directory: Path, ends_at: int) -> str:
    """The last line of a run in two processes, one of which ends in one test of three."""
    (directory / "conftest.py").write_text(SHARED)
    (directory / "test_ends.py").write_text(ONE_OF_THREE.format(ends_at=ends_at))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2"]
    done = subprocess.run(
        [*command, "--dist", "loadgroup", "--rootdir", str(directory), str(directory)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout.splitlines()[-1]


def test_all_others_run_and_the_run_ends(tmp_path: Path) -> None:
    """In which test a process ends makes no difference."""
    for ends_at in range(3):
        assert outcome(tmp_path, ends_at).startswith("1 failed, 2 passed in ")
