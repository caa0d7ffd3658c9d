"""The wheel is built with the compiled step where there is a compiler, and without it elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from telephony_codecs import g711

ROOT = Path(__file__).resolve().parents[2]
BUILT = "telephony_codecs/_compand.abi3.so"
FILES = ("pyproject.toml", "hatch_build.py", "constraints.txt", "README.md", "LICENSE")

pytestmark = pytest.mark.long


def wheel(folder: Path, environment: dict[str, str]) -> zipfile.ZipFile:
    """Build one from a copy: a build without a compiler removes what was compiled before."""
    source = folder / "source"
    left_out = shutil.ignore_patterns("__pycache__")
    for name in ("mediaserver", "codecs"):
        shutil.copytree(ROOT / name, source / name, ignore=left_out)
    for name in FILES:
        shutil.copy(ROOT / name, source / name)
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, "."],
        cwd=source,
        env={**os.environ, "PIP_BUILD_CONSTRAINT": "constraints.txt", **environment},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    (made,) = folder.glob("*.whl")
    return zipfile.ZipFile(made)


@pytest.mark.parametrize("environment", [{"MEDIASERVER_COMPILE": "0"}, {"CC": "no-such-compiler"}])
def test_without_a_compiler_it_is_for_every_machine(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """What an earlier build has left in the folder is not in it either."""
    made = wheel(tmp_path, environment)
    assert str(made.filename).endswith("-py3-none-any.whl")
    assert not [name for name in made.namelist() if name.endswith(".so")]


@pytest.mark.skipif(g711.load_compiled() is None, reason="there is no C compiler")
def test_with_one_it_serves_every_python_from_3_11_on(tmp_path: Path) -> None:
    """It has one compiled file, which this Python loads."""
    made = wheel(tmp_path, {})
    assert "-cp311-abi3-linux_" in str(made.filename)
    assert [name for name in made.namelist() if name.endswith(".so")] == [BUILT]
    made.extract(BUILT, tmp_path / "there")
    code = "import array, _compand as c; print(c.compander(bytes(65536))(array.array('h', [1, 2])))"
    loaded = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "there/telephony_codecs",
        capture_output=True,
        text=True,
    )
    assert loaded.stdout == f"{bytes(2)!r}\n", loaded.stderr
