"""What we offer is typed: a user's type checker need not guess. ``make typed`` runs this file.

pyright counts every name of a module without an underscore, and every attribute of a class, as
offered. What is left open on purpose is loggers, and the methods of ``BoundActions``.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import REPOSITORY

LEAST = 0.98


def missing() -> str | None:
    """What pyright lacks here."""
    if importlib.util.find_spec("pyright") is None:
        return "pyright is not installed"
    # Without a node of the machine it would fetch one.
    return None if shutil.which("node") else "node is not installed"


def report() -> dict[str, Any]:
    """What pyright finds."""
    # With this option pyright takes the first python of the path.
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    command = ("--verifytypes", "mediaserver", "--ignoreexternal", "--outputjson")
    # It looks for packages where the first Python of PATH has its own.
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    ran = subprocess.run(
        [sys.executable, "-m", "pyright", *command],
        cwd=REPOSITORY,
        env=os.environ | {"PATH": path, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
        capture_output=True,
        text=True,
        check=False,  # 1 where anything at all is guessed
    )
    assert ran.stdout.startswith("{"), ran.stdout + ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)["typeCompleteness"]
    return found


@pytest.mark.timeout(400)  # fifteen seconds where nothing else runs
@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_what_we_offer_is_typed() -> None:
    """At least 98 % of the names have a type that no checker has to guess."""
    assert report()["completenessScore"] >= LEAST


def main() -> int:
    """Print what is guessed, and the score; 1 if that is too low."""
    if (why := missing()) is not None:
        print(f"not looked at: {why}")
        return 1
    found = report()
    for symbol in found["symbols"]:
        for diagnostic in symbol["diagnostics"]:
            print(f"{symbol['name']}: {diagnostic['message'].splitlines()[0]}")
    score: float = found["completenessScore"]
    print(f"{score:.1%} of what we offer is typed; at least {LEAST:.0%} must be")
    return 0 if score >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main())
