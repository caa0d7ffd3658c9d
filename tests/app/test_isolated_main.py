"""The log of processor hosts is bounded, and the process that forks them fails in words."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mediaserver.app import isolated_main
from mediaserver.logs import LinesASecond
from mediaserver.processes.channel import receive_blocking, send_blocking
from mediaserver.server.isolation import messages
from mediaserver.server.isolation.setup import (
    NO_SECRETS,
    SECRET_PARTS,
    SECRET_WORDS,
    HostSetup,
    secret_names,
)
from mediaserver.settings import ProcessorSetting, Settings


def record(second: float, text: str = "a line of %d", *args: Any) -> logging.LogRecord:
    """A line of the log, at a time."""
    made = logging.LogRecord("bot", logging.INFO, "bot.py", 1, text, args or (5,), None)
    made.created = second
    return made


def test_so_many_lines_a_second_are_let_through() -> None:
    """The first ones; the next second has its own."""
    limit = LinesASecond(3)
    assert [limit.filter(record(7.0 + n / 10)) for n in range(5)] == [True] * 3 + [False] * 2
    assert [limit.filter(record(8.0 + n / 10)) for n in range(4)] == [True] * 3 + [False]


def test_what_was_left_out_is_said_once() -> None:
    """By the next line that comes through, whose arguments stay."""
    limit = LinesASecond(3)
    for _ in range(10):
        limit.filter(record(7.5))
    late, later = record(9.0), record(9.5)
    assert limit.filter(late)
    assert limit.filter(later)
    assert late.getMessage() == "a line of 5 (and 7 lines before it)"
    assert later.getMessage() == "a line of 5"


def test_a_quiet_log_says_nothing_more() -> None:
    """Exactly as many as may be: none was left out."""
    limit = LinesASecond(3)
    lines = [record(second) for second in (7.0, 7.1, 7.2, 8.0, 30.0)]
    assert all(limit.filter(line) for line in lines)
    assert {line.getMessage() for line in lines} == {"a line of 5"}


def test_a_line_counts_once_for_all_handlers() -> None:
    """Two handlers with one filter show the same lines."""
    limit = LinesASecond(2)
    lines = [record(7.0) for _ in range(3)] + [record(8.0)]
    shown = [[limit.filter(line) for _ in range(2)] for line in lines]
    assert shown == [[True, True], [True, True], [False, False], [True, True]]
    assert lines[-1].getMessage() == "a line of 5 (and 1 lines before it)"


def test_the_servers_own_lines_have_their_own_limits() -> None:
    """What says why a plugin failed comes through its flood; what it logs of a call does not."""
    limit = LinesASecond(2)
    lines = [record(7.0) for _ in range(9)]
    for line, name in zip(lines[2:4], ("mediaserver.call", "mediaserver.server.x"), strict=True):
        line.name = name
    shown = [n for n, line in enumerate(lines) if limit.filter(line)]
    assert shown == [0, 1, 3]


def test_each_handler_has_one_limit() -> None:
    """Those of the root and of any other logger."""
    handlers = logging.NullHandler(), logging.NullHandler()
    loggers = logging.getLogger(), logging.getLogger("tests.some.bot")
    for logger, handler in zip(loggers, handlers, strict=True):
        logger.addHandler(handler)
    others = [h for h in loggers[0].handlers if h not in handlers]
    try:
        isolated_main.limit_lines()
        found = [[f for f in h.filters if isinstance(f, LinesASecond)] for h in handlers]
        assert found[0] == found[1]
        assert len(found[0]) == 1
    finally:
        for logger, handler in zip(loggers, handlers, strict=True):
            logger.removeHandler(handler)
        for other in others:
            other.filters = [f for f in other.filters if not isinstance(f, LinesASecond)]


def spawner_says(settings: Settings) -> tuple[list[Any], int]:
    """What the process says to its end, and how it ends; its other side leaves when it is ready."""
    ours, theirs = socket.socketpair()
    code = f"from mediaserver.app.isolated_main import main; main({theirs.fileno()})"
    process = subprocess.Popen([sys.executable, "-c", code], pass_fds=[theirs.fileno()])
    theirs.close()
    said: list[Any] = []
    types = messages.Hello | messages.Ready | messages.Failed | messages.Heartbeat
    try:
        ours.settimeout(60)
        said.append(receive_blocking(ours, types))
        send_blocking(ours, HostSetup.of(settings, 0.5))
        said.append(receive_blocking(ours, types))
    finally:
        ours.close()
    return said, process.wait(60)


def test_a_spawner_is_ready_and_ends_with_its_server() -> None:
    """Its first word is its version."""
    said, code = spawner_says(Settings(processors=(ProcessorSetting("echo"),)))
    assert said == [messages.Hello(messages.VERSION), messages.Ready()]
    assert code == 0


def test_a_spawner_that_cannot_load_a_processor_says_why() -> None:
    """And ends; the server says it in its turn."""
    said, _ = spawner_says(Settings(processors=(ProcessorSetting("no_such_module:thing"),)))
    assert isinstance(said[1], messages.Failed)
    assert "no_such_module" in said[1].reason


def test_a_spawner_without_a_server_ends() -> None:
    """Before it was told anything."""
    ours, theirs = socket.socketpair()
    code = f"from mediaserver.app.isolated_main import main; main({theirs.fileno()})"
    process = subprocess.Popen([sys.executable, "-c", code], pass_fds=[theirs.fileno()])
    theirs.close()
    ours.close()
    assert process.wait(60) == 0


def test_what_looks_like_a_secret_is_withheld() -> None:
    """By a part of its name, in any case, unless it is allowed by its name."""
    environment = {
        "HOME": "",
        "OPENAI_API_KEY": "",
        "db_password": "",
        "AUTHOR": "",
        "MY_TOKEN": "",
    }
    found = secret_names(environment, ["MY_TOKEN"])
    assert {"OPENAI_API_KEY", "db_password", "AUTHOR"} <= found
    assert "TELNYX_API_KEY" in found, "also where it is set later"
    assert not {"HOME", "MY_TOKEN"} & found


@pytest.mark.parametrize(
    "name",
    [
        *("SSH_PASSPHRASE", "GITHUB_PAT", "SENTRY_DSN", "DSN", "PGPASS", "MY_PWD", "DB_PASS"),
        *("SESSION_COOKIE", "PRIVATE_PEM", "github_pat_2", "APP_CREDS", "JWT"),
    ],
)
def test_a_name_of_a_secret(name: str) -> None:
    """By a part, or by a whole word."""
    assert name in secret_names({name: "x"}, [])
    assert name not in secret_names({name: "x"}, [name])


@pytest.mark.parametrize(
    "name",
    [
        *("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "PWD", "OLDPWD", "COMPASS", "PATTERN"),
        *("XDG_SESSION_ID", "LANG", "DATABASE_URL"),
    ],
)
def test_a_name_of_no_secret(name: str) -> None:
    """Short words count only as a whole."""
    assert name not in secret_names({name: "https://example.com:80/a@b"}, [])


@pytest.mark.parametrize(
    ("value", "is_secret"),
    [
        ("postgres://u:pw@h", True),
        ("redis://:pw@h:6379/0", True),
        ("first http://h, then https://u:p@ss@h/path", True),
        ("https://u@h/", False),
        ("https://h:80/a@b", False),
        ("http://[::1]:80/?a=b@c", False),
        ("a:b@c", False),
    ],
)
def test_a_url_with_a_password_is_withheld(value: str, is_secret: bool) -> None:
    """Whatever the variable is called, unless it is allowed by its name."""
    assert ("DATABASE_URL" in secret_names({"DATABASE_URL": value}, [])) == is_secret
    assert "DATABASE_URL" not in secret_names({"DATABASE_URL": value}, ["DATABASE_URL"])


def test_the_docs_list_what_names_a_secret() -> None:
    """Each part and each word."""
    page = Path("docs/processors.md").read_text()
    for text in (*SECRET_PARTS, *SECRET_WORDS, *NO_SECRETS):
        assert f"`{text}`" in page
