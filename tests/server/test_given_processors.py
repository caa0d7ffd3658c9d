"""Programs may give a processor itself instead of its name."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from mediaserver import Call, ConfigurationError, Filter, Frame, ProcessorSetting, processor
from mediaserver.carrier import CallPlan, place_call
from mediaserver.processors.builtin.echo import Echo
from tests.server.conftest import Serving


@processor
async def bot(call: Call, loud: bool = False) -> None:
    """Echo at the top level of this module."""
    async for frame in call.frames():
        await call.play(frame.samples, frame.rate, live=True)


class Silent(Filter):
    """Let nothing through."""

    def process(self, frame: Frame) -> Frame | None:
        return None


def bot_of(heard: list[str], name: str) -> Callable[[Call], Coroutine[Any, Any, None]]:
    """Handlers that only their surroundings tell apart."""

    async def local(call: Call) -> None:
        heard.append(name)

    return local


async def test_a_handler_may_be_given_itself(serving: Serving) -> None:
    """Its parameters are bound as ever."""
    async with serving(ProcessorSetting(bot, {"loud": "yes"})) as server:
        report = await place_call(server.url, CallPlan(seconds=0.2))
    assert (report.error, report.returned, report.lost) == (None, 10, 0)


async def test_a_partial_is_known_by_its_function(serving: Serving) -> None:
    """A call selects it by that name; what was filled in holds."""
    heard: list[str] = []

    async def named(call: Call, what: str) -> None:
        heard.append(what)

    given = functools.partial(functools.partial(named), what="filled in")
    async with serving("echo", offer=(ProcessorSetting(given),)) as server:
        await place_call(
            server.url, CallPlan(seconds=0.1, custom_parameters={"processor": "named"})
        )
    assert heard == ["filled in"]


async def test_a_filter_class_may_be_given_itself(serving: Serving) -> None:
    """In a chain with a name."""
    async with serving(ProcessorSetting(Silent), "echo") as server:
        report = await place_call(server.url, CallPlan(seconds=0.2))
    assert (report.error, report.returned) == (None, 0)


async def test_handlers_of_one_name_are_not_mixed_up(serving: Serving) -> None:
    """Functions made in a function are each themselves; a call selects them by alias."""
    heard: list[str] = []
    given = [ProcessorSetting(bot_of(heard, n), alias=n) for n in ("one", "two")]
    async with serving(*given) as server:
        await place_call(server.url, CallPlan(seconds=0.1))
        assert sorted(heard) == ["one", "two"]
        await place_call(server.url, CallPlan(seconds=0.1, custom_parameters={"processor": "two"}))
    assert sorted(heard) == ["one", "two", "two"]


async def test_a_call_selects_a_function_by_its_name(serving: Serving) -> None:
    """Without an alias it is the function's own."""
    async with serving(offer=(ProcessorSetting(bot),)) as server:
        plan = CallPlan(seconds=0.2, custom_parameters={"processor": "bot"})
        report = await place_call(server.url, plan)
    assert (report.error, report.returned) == (None, 10)


def plain(call: Call) -> None:
    """No coroutine."""


@pytest.mark.parametrize(
    ("given", "name"),
    [(plain, "plain"), (Filter, "Filter"), (print, "print"), (5, "int"), (None, "NoneType")],
)
async def test_what_is_no_processor_is_refused(serving: Serving, given: Any, name: str) -> None:
    """By its name, with what it should be."""
    with pytest.raises(ConfigurationError) as caught:
        async with serving(ProcessorSetting(given)):
            raise AssertionError("it started")
    assert str(caught.value) == (
        f"wrong setting processors[0]: processor {name}: neither an async function nor a Filter"
        " or BatchProcessor with process()"
    )


async def test_an_error_names_the_function(serving: Serving) -> None:
    """As it would name a processor by name."""
    with pytest.raises(ConfigurationError) as caught:
        async with serving(ProcessorSetting(bot, {"loud": "maybe"})):
            raise AssertionError("it started")
    line = (
        "wrong setting processors[0].parameters.loud: processor bot: parameter 'loud':"
        " expected yes or no, not 'maybe'"
    )
    assert str(caught.value) == line


@pytest.mark.parametrize("elsewhere", [{"workers": 2}, {"isolate": True}])
async def test_another_process_imports_what_can_be_imported(
    serving: Serving, elsewhere: dict[str, Any]
) -> None:
    """A class of a module works in workers and processor hosts as it does here."""
    async with serving(ProcessorSetting(Echo), **elsewhere) as server:
        report = await place_call(server.url, CallPlan(seconds=0.2))
    assert (report.error, report.returned) == (None, 10)


REMEDY = (
    "another process cannot import it; define it at the top level of a module other than the"
    " program itself, or use neither workers nor isolation"
)


@pytest.mark.parametrize("elsewhere", [{"workers": 2}, {"isolate": True}])
@pytest.mark.parametrize(
    ("given", "name"),
    [(bot_of([], "x"), "local"), (functools.partial(bot_of([], "x"), loud=True), "local")],
)
async def test_another_process_cannot_be_given_a_local_function(
    serving: Serving, given: Any, name: str, elsewhere: dict[str, Any]
) -> None:
    """One clear line with the remedy, and nothing starts."""
    with pytest.raises(ConfigurationError) as caught:
        async with serving("echo", offer=(ProcessorSetting(given),), **elsewhere):
            raise AssertionError("it started")
    assert str(caught.value) == f"processor {name}: {REMEDY}"


PROGRAM = """
import asyncio
from mediaserver import Call, ConfigurationError, MediaServer, ProcessorSetting, Settings
{define}

async def main():
    settings = Settings(port=0, workers=2, processors=(ProcessorSetting(bot),))
    try:
        async with MediaServer(settings):
            print("started")
    except ConfigurationError as exc:
        print(exc)


if __name__ == "__main__":
    asyncio.run(main())
"""
HERE = "async def bot(call: Call): pass"


@pytest.mark.parametrize(
    ("module", "define", "line"),
    [
        ("", HERE, f"processor bot: {REMEDY}"),
        (
            "",
            f"import functools\n{HERE}\ngiven = bot\nbot = functools.partial(given)",
            f"processor bot: {REMEDY}",
        ),
        (
            f"from mediaserver import Call\n{HERE}",
            "import functools, bots\nbot = functools.partial(bots.bot)",
            "started",
        ),
        (f"from mediaserver import Call\n{HERE}", "from bots import bot", "started"),
        (
            f"import sys\nif 'mediaserver.app.worker_main' in sys.modules: raise OSError('no')\n"
            f"from mediaserver import Call\n{HERE}",
            "from bots import bot",
            "a processor or its parameters cannot be loaded: no",
        ),
    ],
    ids=[
        "of the program itself",
        "partly of the program itself",
        "a partial of a module beside it",
        "of a module beside it",
        "of a module that fails in workers",
    ],
)
def test_a_program_with_workers(module: str, define: str, line: str, tmp_path: Path) -> None:
    """What is beside the program is found by the workers; its own functions are not."""
    (tmp_path / "bots.py").write_text(module)
    (tmp_path / "program.py").write_text(PROGRAM.format(define=define))
    ran = subprocess.run(
        [sys.executable, str(tmp_path / "program.py")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path.parent,
        env=dict(os.environ),
    )
    assert ran.returncode == 0, ran.stderr
    # It may be either worker that says so.
    assert ran.stdout.splitlines()[-1].removeprefix("worker 0: ").removeprefix("worker 1: ") == line
    assert "Traceback" not in ran.stderr
