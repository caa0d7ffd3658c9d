"""From names in the settings to processors, and their parameters."""

from __future__ import annotations

from pathlib import Path

import pytest

from mediaserver.errors import ConfigurationError
from mediaserver.processors.api import Call, Filter, processor
from mediaserver.processors.discovery import find, names
from mediaserver.processors.parameters import bind, from_call
from mediaserver.processors.spec import spec_of

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


def test_parameters_are_converted(bot: Path) -> None:
    """Text from flags becomes the declared types."""
    talk = find(f"{bot}:talk")
    given = {"times": "3", "words": ["a"], "where": "x/y"}
    assert bind(talk, given) == {"times": 3, "words": ["a"], "where": Path("x/y")}
    assert bind(find(f"{bot}:Louder"), {"db": "-2.5"}) == {"db": -2.5}


@pytest.mark.parametrize(
    ("attribute", "given", "said"),
    [
        ("talk", {"loud": 1}, "unknown parameter 'loud' (it has: times, words, where)"),
        ("talk", {"times": "many"}, "parameter 'times'"),
        ("plain", {}, "parameter 'needed' is missing"),
    ],
)
def test_wrong_parameters(bot: Path, attribute: str, given: dict[str, object], said: str) -> None:
    """A wrong parameter names processor, parameter and what there is."""
    with pytest.raises(ConfigurationError) as caught:
        bind(find(f"{bot}:{attribute}"), given)
    assert said in str(caught.value)


def test_a_call_sets_only_what_is_allowed(bot: Path) -> None:
    """Custom parameters reach a processor only where they are allow-listed."""
    talk = find(f"{bot}:talk")
    custom = {"param_times": "9", "param_where": "/etc", "times": "8"}
    assert from_call(talk, {"times": 1}, custom, ("times",)) == {"times": 9}
    assert from_call(talk, {"times": 1}, custom, ()) == {"times": 1}


def test_processor_wants_an_async_function() -> None:
    """The decorator refuses what could never be awaited."""
    with pytest.raises(TypeError, match="async"):
        processor(lambda _: None)  # type: ignore[type-var]  # the fault under test


def test_a_bare_filter_is_none(bot: Path) -> None:
    """The base class itself does nothing and is no processor."""
    assert spec_of("x", Filter) is None

    class Hints(Filter):
        def __init__(self, call: Call, other: Missing = None) -> None:  # type: ignore[name-defined]  # noqa: F821 (a name only known elsewhere)
            super().__init__(call)

        def process(self, frame):  # type: ignore[no-untyped-def]  # users write untyped code
            return frame

    spec = spec_of("hints", Hints)
    assert spec is not None
    assert bind(spec, {"other": "as it is"}) == {"other": "as it is"}
