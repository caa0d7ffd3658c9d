"""`make test` in several processes: tests of one group are in one of them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

TESTS = """
import pytest

@pytest.mark.xdist_group("one")
@pytest.mark.parametrize("n", range(8))
def test_in_a_group(n):
    pass
"""


def test_a_group_stays_in_one_process(tmp_path: Path) -> None:
    """Of two processes one gets them all: else costly fixtures are made twice, unnoticed."""
    (tmp_path / "test_groups.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    flags = ["-v", "-p", "no:cacheprovider", "-n", "2", "--dist", "loadgroup"]
    command = [sys.executable, "-m", "pytest", *flags, "."]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
    processes = re.findall(r"^\[(gw\d+)\].*PASSED", ran.stdout, re.MULTILINE)
    assert len(processes) == 8
    assert len(set(processes)) == 1
