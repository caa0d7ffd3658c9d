"""The watch over planted secrets sees leaks; shown in runs of their own that leak on purpose."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"
LOG = "import logging\nlog = logging.getLogger('mediaserver.some.module')\n"

LEAKS = {
    "message": LOG + "def test_it():\n    log.warning('key %s', 'KEY-canary-1')\n",
    "traceback": LOG
    + "def test_it():\n"
    + "    try:\n        raise ValueError('s3cret')\n"
    + "    except ValueError:\n        log.exception('failed')\n",
    "planted": LOG
    + "def test_it(plant_canary):\n    log.error('%s', plant_canary('known to one test'))\n",
    "token": LOG
    + "from mediaserver.tokens import issue\n"
    + "def test_it():\n    log.error('url /media/%s', issue('x', 1.0))\n",
    "error": "from mediaserver.errors import ConfigurationError\n"
    + "def test_it():\n    ConfigurationError('no good: canary')\n",
    "control error": "from mediaserver.control.errors import NetworkError\n"
    + "def test_it():\n    NetworkError('no route to canary', sent=False)\n",
    "fixture": LOG
    + "import pytest\n@pytest.fixture\ndef late():\n    yield\n    log.error('canary')\n"
    + "def test_it(late):\n    pass\n",
}
HARMLESS = LOG + (
    "def test_it():\n    log.warning('nothing')\n"
    "    logging.getLogger('mediaservers').warning('canary')\n"
    "    assert logging.getLogger().level == logging.WARNING\n"
    "    log.info('canary, but nobody would see it')\n"
)


def run_tests(folder: Path, source: str, *flags: str) -> tuple[int, str]:
    """Run one test module under the watch, in a process of its own."""
    shutil.copy(CONFTEST, folder)
    (folder / "test_leak.py").write_text(source)
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *flags, "."]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return ran.returncode, ran.stdout


def test_each_leaking_test_fails(tmp_path: Path) -> None:
    """A secret in a message, a traceback, an error, at a fixture's end: each test fails for it."""
    source = "".join(
        text.replace("test_it", f"test_{name.replace(' ', '_')}") for name, text in LEAKS.items()
    )
    code, told = run_tests(tmp_path, source)
    assert code == pytest.ExitCode.TESTS_FAILED
    assert told.count("a planted secret leaked") >= len(LEAKS)
    for name in LEAKS:
        assert f"ERROR test_leak.py::test_{name.replace(' ', '_')} - " in told


@pytest.mark.parametrize("flags", [(), ("-n", "1")], ids=["alone", "in another process"])
def test_a_leak_outside_any_test_fails_the_session(tmp_path: Path, flags: tuple[str, ...]) -> None:
    """A record made while the module is imported has no test to blame; the session fails."""
    source = LOG + "log.error('canary')\ndef test_it():\n    pass\n"
    code, told = run_tests(tmp_path, source, *flags)
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "leaked outside the tests" in told
    assert "1 passed" in told


def test_harmless_records_pass(tmp_path: Path) -> None:
    """Other loggers, and what no level lets through, are no leaks; no level is changed."""
    code, told = run_tests(tmp_path, HARMLESS)
    assert (code, "1 passed" in told) == (0, True), told
