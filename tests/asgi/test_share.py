"""Tests of sessions, plays, processors and webhooks, run against the ASGI mount.

Here a share of them; ``make asgi`` runs all, under both hosts.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.asgi.applicable import NOT_APPLICABLE

ROOT = Path(__file__).parents[2]
SHARE = {
    "uvicorn": "tests/server/calls/test_session.py",
    "hypercorn": "tests/control/test_phone_calls.py",
}


@pytest.mark.long
@pytest.mark.parametrize("host", SHARE)
def test_a_share_of_the_tests_passes_against_the_mount(host: str) -> None:
    """By the same fixtures, of which only the door is another one."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]
    ran = subprocess.run(
        [*command, SHARE[host]],
        cwd=ROOT,
        env={**os.environ, "SERVED_BY": host, "COVERAGE_PROCESS_START": ""},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-1000:]
    assert " passed" in ran.stdout


def test_what_is_left_out_is_there() -> None:
    """Each entry of the table names a test that there is."""
    for begin in NOT_APPLICABLE:
        file, _, name = begin.partition("::")
        assert f"def {name}" in (ROOT / file).read_text(), begin
