"""Canaries: no secret that a test plants may turn up in a log record or an error of ours.

Whatever holds one of ``MARKS``, looks like a per-call token, or was given to the fixture
``plant_canary`` is a secret. A session-wide handler reads every record of the loggers under
``mediaserver``, tracebacks included, and every error made is read where it is made. The
test that leaked fails, and so does the session. With several test processes each watches
itself, and tells the first one what leaked outside its tests. What processes write that a test
starts is looked into by the fixture ``look_for_canaries``.

And a watchdog: a test process that hangs for good prints where, and ends. pytest-timeout raises an
error in the test, which our own guards around users' code can take for a user's; and behind a
failure, while fixtures are torn down, it does not watch at all.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mediaserver import logs
from mediaserver.errors import MediaServerError
from mediaserver.logs.formats import JsonFormatter
from tests.asgi.applicable import SERVED_BY, why_not

# Parts of the keys and tokens that tests use; a test with another one plants it.
MARKS = ("canary", "s3cret")
PER_CALL_TOKEN = re.compile(r"\bt1\.[\w-]{32}\.[\w-]{43}")

# With what a line of text leaves out: fields, ids.
AS_JSON = JsonFormatter()


class CanaryWatch(logging.Handler):
    """Reads records without changing any level.

    Attributes:
        planted: texts that must not turn up.
        leaks: where one did, without the secret itself, since the last look.
        outside: the same, outside any test.
    """

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.planted = set(MARKS)
        self.leaks: list[str] = []
        self.outside: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Look into a record of ours as it would be written."""
        if record.name.partition(".")[0] == "mediaserver":
            text = f"{self.format(record)}\n{AS_JSON.format(record)}"
            self.look(f"log record of {record.name}, line {record.lineno}", text)

    def look(self, where: str, text: str) -> None:
        """Remember ``where``, if the text holds a secret."""
        if any(secret in text for secret in self.planted) or PER_CALL_TOKEN.search(text):
            self.leaks.append(where)

    def take(self) -> list[str]:
        """Return the leaks since the last look."""
        leaks, self.leaks = self.leaks, []
        return leaks


WATCH = pytest.StashKey[CanaryWatch]()
STDERR = pytest.StashKey[int]()

# Seconds after which nobody waits any longer: for a test and its tear-down, for what is left
# behind a failure, for a process that has nothing more to do.
HANGS_AFTER_S = 240
TEAR_DOWN_S = 90
LAST_S = 120


def _end_after(seconds: float, config: pytest.Config) -> None:
    # By a thread in C: it also ends a process whose interpreter lock is held.
    faulthandler.dump_traceback_later(seconds, exit=True, file=config.stash[STDERR])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[Any]:
    """Give the test its time; pytest-xdist counts it as failed if its process ends."""
    marker = item.get_closest_marker("timeout")
    own = float(marker.args[0]) if marker is not None and marker.args else 0.0
    _end_after(HANGS_AFTER_S + own, item.config)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Share the tests our way, if groups are to stay together."""
    from tests.sharing import Sharing  # pytest-xdist is not there for `tools/try_wheel.py`

    return Sharing(config, log) if config.getvalue("dist") == "loadgroup" else None


@pytest.hookimpl(trylast=True)
def pytest_exception_interact(node: pytest.Item | pytest.Collector) -> None:
    """Watch the tear-down behind a failure too: pytest has just ended every timer."""
    _end_after(TEAR_DOWN_S, node.config)


def pytest_configure(config: pytest.Config) -> None:
    """Begin to watch."""
    watch = config.stash[WATCH] = CanaryWatch()
    config.stash[STDERR] = os.dup(2)  # a test's own is kept from sight
    logging.getLogger().addHandler(watch)
    made = MediaServerError.__init__

    def look_and_make(self: MediaServerError, *args: object) -> None:
        made(self, *args)
        watch.look(f"{type(self).__name__} raised", f"{args} {Exception.__str__(self)}")

    # Replaced for this run alone; no class of ours makes an error without it.
    MediaServerError.__init__ = look_and_make  # type: ignore[method-assign, assignment]  # as said


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what cannot be asked of an ASGI mount, where every server is one."""
    for item in items if SERVED_BY else ():
        reason = why_not(item.nodeid)
        if reason is not None:
            item.add_marker(pytest.mark.skip(reason=f"not asked of an ASGI mount: {reason}"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Keep what leaked since the last test from being laid to this one."""
    watch = item.config.stash[WATCH]
    watch.outside += watch.take()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Fail the test that leaked; what its fixtures logged at their end counts too."""
    yield
    if leaks := item.config.stash[WATCH].take():
        pytest.fail(f"a planted secret leaked: {'; '.join(leaks)}", pytrace=False)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the session for what leaked outside any test."""
    watch = session.config.stash[WATCH]
    leaks = watch.outside + watch.take()
    # Only in a process of pytest-xdist: what it tells the first one at its end.
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["leaks"] = leaks
        _end_after(LAST_S, session.config)
    elif leaks:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        print(f"\na planted secret leaked outside the tests: {'; '.join(leaks)}")


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what leaked in another test process, which has ended."""
    leaks = getattr(node, "workeroutput", {}).get("leaks", [])  # none of one that crashed
    node.config.stash[WATCH].outside += leaks


@pytest.fixture(autouse=True)
def _no_lines_yet() -> None:
    """Log lines of a kind are few in a time: what other tests logged does not count."""
    logs.forget_all()


@pytest.fixture
def plant_canary(pytestconfig: pytest.Config) -> Callable[[str], str]:
    """Return a function that makes a text a secret for the rest of the run, and gives it back."""
    watch = pytestconfig.stash[WATCH]

    def plant(secret: str) -> str:
        watch.planted.add(secret)
        return secret

    return plant


@pytest.fixture
def look_for_canaries(pytestconfig: pytest.Config) -> Callable[[str, str], None]:
    """Return a function that is given where a text comes from, and the text."""
    return pytestconfig.stash[WATCH].look
