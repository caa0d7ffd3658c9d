"""From names in the settings to processors."""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from mediaserver.errors import ConfigurationError
from mediaserver.processors.discovery import find, names

BOT = '''
from pathlib import Path
from mediaserver.processors.api import Filter, processor

@processor(rate=16000)
async def talk(call, times: int = 1, *, words: list[str] = [], where: Path = Path(".")):
    """A handler."""

async def plain(call, needed: float):
    """A handler without the decorator."""

class Louder(Filter):
    rate = 8000
    def __init__(self, call, db: float = 6.0):
        super().__init__(call)
        self.db = db
    def process(self, frame):
        return frame

class Unfinished(Filter):
    pass

@processor(requires=("no_such_package_at_all",))
async def greedy(call):
    """Needs what is not there."""

number = 7
'''


@pytest.fixture
def bot(tmp_path: Path) -> Path:
    path = tmp_path / "bot.py"
    path.write_text(BOT)
    return path


def test_built_ins_are_found() -> None:
    """``echo`` and ``record`` are there by name."""
    assert {"echo", "record"} <= set(names())
    assert not find("record").is_filter
    assert find("record").name == "record"


def test_file_and_attribute(bot: Path) -> None:
    """A file's handlers and filters are found, with what they declare."""
    talk = find(f"{bot}:talk")
    assert (talk.rate, talk.is_filter) == (16000, False)
    louder = find(f"{bot}:Louder")
    assert (louder.rate, louder.is_filter) == (8000, True)
    assert find(f"{bot}:plain").rate is None
    assert find(f"{bot}:talk").target is talk.target, "one file is loaded once"


def test_module_and_attribute() -> None:
    """A module's attribute is found."""
    assert find("mediaserver.processors.builtin.echo:Echo").target is find("echo").target


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("bogus", "unknown processor 'bogus' (there are: barge_in, beep_detect, echo, record, vad"),
        (":x", "unknown processor"),
        ("no.such.module:x", "ModuleNotFoundError"),
        ("no_such_file.py:x", "no file no_such_file.py"),
        ("{bot}:missing", "has no 'missing'"),
        ("{bot}:number", "neither an async function nor a Filter"),
        ("{bot}:Unfinished", "neither an async function nor a Filter"),
        ("{bot}:greedy", "needs the package 'no_such_package_at_all'"),
    ],
)
def test_what_cannot_be_used_is_one_clear_line(name: str, said: str, bot: Path) -> None:
    """Each way to be wrong names the processor and the reason."""
    with pytest.raises(ConfigurationError) as caught:
        find(name.format(bot=bot))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_raises_is_its_own_fault(tmp_path: Path) -> None:
    """Whatever a file raises at import comes as one clear error, each time."""
    path = tmp_path / "broken.py"
    path.write_text("1 / 0")
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="ZeroDivisionError"):
            find(f"{path}:x")


def test_a_files_module_has_its_name(tmp_path: Path) -> None:
    """So its logger has too; a process of its own can import it, and it what lies beside it."""
    (tmp_path / "beside_it.py").write_text("NUMBER = 7")
    path = tmp_path / "named_bot.py"
    path.write_text(
        "import beside_it\nasync def talk(call): ...\ndef work(): return beside_it.NUMBER"
    )
    target = find(f"{path}:talk").target
    assert target.__module__ == "named_bot"
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        assert pool.submit(sys.modules["named_bot"].work).result(60) == 7


@pytest.mark.parametrize("name", ["queue.py", "numpy.py", "a.b.py", "1bot.py"])
def test_a_file_named_like_another_module(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is loaded all the same, the other module stays what it is, and a line says so."""
    path = tmp_path / name
    path.write_text("async def talk(call): ...")
    module = find(f"{path}:talk").target.__module__
    assert module.startswith(f"{path.stem}_")
    assert find(f"{path}:talk").target.__module__ == module
    assert len(caplog.records) == 1
    import queue

    assert not hasattr(queue, "talk")


def test_two_files_of_one_name(tmp_path: Path) -> None:
    """Each bot is its own, also where the folders alone tell them apart."""
    names = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "same_name.py"
        path.write_text(f"async def {folder}(call): ...")
        names.append(find(f"{path}:{folder}").target.__module__)
    assert names[0] == "same_name"
    assert names[1].startswith("same_name_")
