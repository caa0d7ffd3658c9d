"""``log_config``: where the log of the server and of its workers goes."""

from __future__ import annotations

import json
import logging
import textwrap
from pathlib import Path
from typing import Any

import pytest

from mediaserver.app import MediaServer
from mediaserver.carrier import CallPlan, place_call
from mediaserver.errors import ConfigurationError
from mediaserver.settings import ProcessorSetting, Settings, load
from tests.cli.test_process import run, serve
from tests.server.watching import soon

SPEAKS = """
import logging
from mediaserver import Call, processor

logging.getLogger("mine").info("loaded")

@processor
async def speaks(call: Call) -> None:
    logging.getLogger("mine").info("a bot's line")
    logging.getLogger("mine").debug("a bot's whisper")
"""


TELLS = """
import logging
from mediaserver import Call, processor

@processor
async def tells(call: Call) -> None:
    logging.getLogger("mine").info("from %s", call.caller)
    print("printed")
"""


class Shouting(logging.Formatter):
    """A formatter that only a program can give: by its class."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{record.processName}!{record.name}!{record.getMessage().upper()}"


def to_file(path: Path, **formatter: Any) -> dict[str, Any]:
    """A configuration as the documentation of Python has it, without what can be left out."""
    handler = {"class": "logging.FileHandler", "filename": str(path), "formatter": "own"}
    return {
        "formatters": {"own": formatter},
        "handlers": {"file": handler},
        "root": {"level": "INFO", "handlers": ["file"]},
    }


def as_toml(path: Path) -> str:
    return textwrap.dedent(f"""\
        version = 1
        formatters.own.format = "%(processName)s|%(name)s|%(message)s"
        root = {{ level = "INFO", handlers = ["file"] }}
        [handlers.file]
        class = "logging.FileHandler"
        filename = "{path}"
        formatter = "own"
        """)


def bot(folder: Path) -> str:
    (folder / "bot.py").write_text(SPEAKS)
    return f"{folder / 'bot.py'}:speaks"


async def logged(log: Path, *lines: str) -> None:
    """Wait until these are in the log, each from its beginning."""

    def are_there() -> bool:
        written = log.read_text().splitlines() if log.exists() else []
        return all(any(each.startswith(line) for each in written) for line in lines)

    await soon(are_there, 30)


@pytest.mark.parametrize("form", ["toml", "json"])
@pytest.mark.parametrize("workers", [1, 2])
async def test_the_server_and_its_workers_log_there(
    tmp_path: Path, form: str, workers: int
) -> None:
    """By a file of either form; each line says which process it is of."""
    log, file = tmp_path / "log", tmp_path / f"logging.{form}"
    config = to_file(log, format="%(processName)s|%(name)s|%(message)s")
    file.write_text(as_toml(log) if form == "toml" else json.dumps(config))
    arguments = ("--log-config", str(file), "--workers", str(workers), "--processor", bot(tmp_path))
    with serve(*arguments) as (_, url):
        await place_call(url, CallPlan(seconds=0.2))
        here = "MainProcess" if workers == 1 else "worker 0"
        await logged(log, f"{here}|mine|loaded", f"{here}|mine|a bot's line")
        await logged(log, f"{here}|mediaserver.server.calls.watching.lines|call ")
    assert "whisper" not in log.read_text()


async def test_levels_alone_leave_the_log_where_it_is(tmp_path: Path) -> None:
    """A table in the settings' own file: it goes to stderr in the usual form."""
    settings = tmp_path / "settings.toml"
    settings.write_text('[log_config.loggers.mine]\nlevel = "DEBUG"\n')
    arguments = ("--config", str(settings), "--workers", "2", "--processor", bot(tmp_path))
    with serve(*arguments) as (process, url):
        await place_call(url, CallPlan(seconds=0.2))
        assert process.stderr is not None
        line = next(line for line in process.stderr if "whisper" in line)
    assert " DEBUG worker 0 mine: a bot's whisper" in line


async def test_a_programs_own_settings_hold_in_its_workers(tmp_path: Path) -> None:
    """Classes included; the program's own process is left alone."""
    before = list(logging.getLogger().handlers)
    log = tmp_path / "log"
    settings = Settings(
        port=0,
        workers=2,
        processors=(ProcessorSetting(bot(tmp_path)),),
        log_config=to_file(log, **{"()": Shouting}),
    )
    async with MediaServer(settings) as server:
        await place_call(server.url, CallPlan(seconds=0.2))
        await logged(log, "worker 0!mine!LOADED", "worker 1!mine!LOADED")
        await logged(log, "worker 0!mine!A BOT'S LINE")
    assert logging.getLogger().handlers == before


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_handler_without_a_formatter_has_the_form_of_the_setting(
    tmp_path: Path, workers: int
) -> None:
    """In all processes; numbers are the same hash in each, and masked where users' code runs."""
    log = tmp_path / "log"
    config = to_file(log, format="")
    del config["formatters"], config["handlers"]["file"]["formatter"]
    (tmp_path / "logging.json").write_text(json.dumps(config))
    (tmp_path / "bot.py").write_text(TELLS)
    arguments = ("--log-config", str(tmp_path / "logging.json"), "--log-format", "json")
    arguments += ("--log-numbers", "hash", "--workers", str(workers), "--isolate")
    with serve(*arguments, "--processor", f"{tmp_path / 'bot.py'}:tells") as (_, url):
        for _ in range(3):
            await place_call(url, CallPlan(seconds=0.2))

        def lines() -> list[dict[str, Any]]:
            return [json.loads(line) for line in log.read_text().splitlines()]

        await soon(lambda: sum(each["event"] == "call_ended" for each in lines()) == 3, 30)
        found = lines()
    hashes = {each["fields"]["caller"] for each in found if each["event"] == "call_ended"}
    (hashed,) = hashes
    assert hashed.startswith("#")
    assert {each["message"] for each in found if each["logger"] == "mine"} == {"from …94"}
    assert {each["event"] for each in found if each["process"] == "spawner"} == {"printed"}


WRONG = [
    ("toml", "level =", "line 1: this is not TOML"),
    ("json", '{"version": 1,\n}', ": this is not JSON"),
    ("json", "[]", "expected a table or null, not a list"),
    ("toml", "handlrs = {}", "unknown key 'handlrs'; did you mean 'handlers'?"),
    ("toml", "version = 2", "Unsupported version: 2"),
    (
        "toml",
        'handlers.f = { class = "logging.FileHandler", filename = "/nowhere/log" }',
        "Unable to configure handler 'f': [Errno 2] No such file or directory: '/nowhere/log'",
    ),
    ("toml", 'handlers.f.class = "nowhere.Handler"', "Unable to configure handler 'f'"),
    ("toml", 'root.handlers = ["f"]', "Unable to configure root logger"),
]


@pytest.mark.parametrize(("form", "text", "said"), WRONG)
def test_what_is_wrong_is_one_line(tmp_path: Path, form: str, text: str, said: str) -> None:
    """The setting is named, and what is wrong in its file."""
    file = tmp_path / f"logging.{form}"
    file.write_text(text)
    ran = run("serve", "--port", "0", "--log-config", str(file))
    assert ran.returncode == 2
    assert len(ran.stderr.splitlines()) == 1, ran.stderr
    assert ran.stderr.startswith("mediaserver: wrong setting log_config")
    assert said in ran.stderr


def test_a_file_that_is_not_there_is_named() -> None:
    """With the flag that names it."""
    ran = run("serve", "--log-config", "nowhere.json")
    assert ran.returncode == 2
    assert ran.stderr == (
        "mediaserver: wrong setting log_config (--log-config):"
        " cannot read nowhere.json: No such file or directory\n"
    )


async def test_a_program_is_told_by_the_worker(tmp_path: Path) -> None:
    """What can be wrong only there ends the start, with its reason."""
    from mediaserver import ConfigurationError

    config = to_file(tmp_path / "nowhere" / "log")
    with pytest.raises(ConfigurationError, match=r"wrong setting log_config: .*No such file"):
        async with MediaServer(Settings(port=0, workers=2, log_config=config)):
            pass
    wrong: Any = "logging.toml"
    with pytest.raises(ConfigurationError, match="cannot be given these settings"):
        MediaServer(Settings(port=0, workers=2, log_config=wrong))


def test_a_name_that_no_file_can_have_is_one_line() -> None:
    """A NUL in it; found by the fuzzer."""
    with pytest.raises(ConfigurationError, match="embedded null byte"):
        load({}, {"MEDIASERVER_LOG_CONFIG": "a\0b"}, None)
