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


def test_what_processes_of_a_command_write_is_not_on_its_stdout() -> None:
    """Ray's inherit it. The command's own lines are there, at once, and so is what follows."""
    code = (
        "import os, subprocess, time\n"
        "from mediaserver.cli.commands.cluster.command import own_stdout\n"
        "print('before')\n"
        "with own_stdout() as tell:\n"
        "    tell('own')\n"
        "    print('of Ray')\n"
        "    subprocess.run(['echo', 'of a process'], check=True)\n"
        "    os.write(1, b'of a library\\n')\n"
        "os.write(1, b'behind\\n')\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == ["before", "own", "behind"]
    assert sorted(ran.stderr.splitlines()) == ["of Ray", "of a library", "of a process"]
