"""From names in the settings to processors."""

from __future__ import annotations

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
        ("bogus", "unknown processor 'bogus' (there are: echo, record"),
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
