"""Every command shown on a page works, and prints what is shown."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, REPOSITORY, blocks
from tests.docs.shell import Reader, normal, steps

# One process for all: the demo is run once, and its calls share the machine with no page's but
# those that begin while it runs.
pytestmark = pytest.mark.xdist_group("pages")

SHELL = ("sh", "console")
# The README last: its calls should not have to share the machine with the demo's.
WITH_COMMANDS = [p for p in reversed(PAGES) if any(b.language in SHELL for b in blocks(p))]


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A word of the Makefile, in the environment that the tests run in, which it must not build."""
    makefile, stamp = f"--file={REPOSITORY}/Makefile", f"--old-file={sys.prefix}/.built"
    # Not what a make that runs these tests was told, such as COVER=0.
    own = {"MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "COVER", "N", "ARGS"}
    environment = {name: value for name, value in os.environ.items() if name not in own}
    return subprocess.run(
        ["make", makefile, f"VENV={sys.prefix}", stamp, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.fixture(scope="module")
def demo(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Future[subprocess.CompletedProcess[str]]]:
    """`make demo`, begun with the first test here, because it takes a quarter of a minute."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(make, tmp_path_factory.mktemp("demo"), "demo")


@pytest.mark.parametrize("page", WITH_COMMANDS)
def test_the_commands_of_a_page(
    page: str, tmp_path: Path, demo: Future[subprocess.CompletedProcess[str]]
) -> None:
    """Typed in from top to bottom, each ends with 0 and prints the lines shown."""
    reader = Reader(tmp_path)
    try:
        for block in blocks(page):
            for step in steps(block) if block.language in SHELL else ():
                if not step.command.startswith("make "):
                    reader.do(step)
            if block.language == "python" and "asyncio.run(" in block.text:
                assert reader.run_python(block.text).startswith("v3:")
    finally:
        reader.close()


def test_make_demo_prints_what_the_readme_shows(
    demo: Future[subprocess.CompletedProcess[str]],
) -> None:
    """The whole demo runs, and the shortened lines of the README are among its own, in order."""
    ran = demo.result()
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (step,) = (
        step
        for block in blocks("README.md")
        if block.language == "console"
        for step in steps(block)
        if step.command == "make demo"
    )
    came = iter([normal(line) for line in ran.stdout.splitlines()])
    for line in step.shown:
        if line.strip() not in ("", "…"):
            assert normal(line) in came, f"{line}\n{ran.stdout}"


def test_make_test_does_what_the_readme_says(tmp_path: Path) -> None:
    """Linter, type checker and all tests with coverage; not run here, as this is a part of it."""
    ran = make(tmp_path, "--dry-run", "test")
    assert ran.returncode == 0, ran.stderr
    for tool in ("ruff check", "mypy", r"pytest --cov"):
        assert re.search(tool, ran.stdout), ran.stdout
