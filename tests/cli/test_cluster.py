"""`mediaserver cluster` without Ray, and what it says."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

from mediaserver.cli import main

without_ray = pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed")


@without_ray
@pytest.mark.parametrize(
    "words",
    [
        ["status"],
        ["drain", "a"],
        ["roll"],
        ["place"],
        ["demo"],
        ["agent", "--name", "a"],
        ["serve", "--name", "a"],
        [],
    ],
    ids=lambda words: "".join(words[:1]),
)
def test_without_ray_it_says_in_one_line_what_to_install(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is asked of a cluster."""
    with pytest.raises(SystemExit) as ended:
        main(["cluster", *words])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "pip install 'mediaserver[cluster]'" in line


def test_nothing_else_loads_the_cluster() -> None:
    """Neither the server nor the other commands pay for it."""
    code = (
        "import importlib, sys, mediaserver.app.server, mediaserver.cli;"
        "importlib.import_module('mediaserver.cli.commands.serve');"
        "print([n for n in sys.modules if n.startswith(('ray', 'mediaserver.cluster'))])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
