"""From names in the settings to processors."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import entry_points
from multiprocessing import get_context
from pathlib import Path

import pytest

from mediaserver.errors import ConfigurationError
from mediaserver.processors import discovery
from mediaserver.processors.discovery import GROUP, find, is_isolated, names
from mediaserver.settings import ProcessorSetting, Settings

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

@processor(rate=11025)
async def odd_rate(call): ...

@processor(rate=0)
async def no_rate(call): ...

@processor(rate="x")
async def text_rate(call): ...

@processor(rate=16000.0)
async def float_rate(call): ...

class OddRate(Filter):
    rate = 11025
    def process(self, frame):
        return frame

async def without_call(): ...

async def call_by_name(*, call): ...

async def without_name(call, value, /): ...

class WithoutCall(Filter):
    def __init__(self): ...
    def process(self, frame):
        return frame

async def any_arguments(*args, **kwargs): ...

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
    assert find(f"{bot}:any_arguments").kind == "handler"
    assert find(f"{bot}:talk").target is talk.target, "one file is loaded once"


def test_module_and_attribute() -> None:
    """A module's attribute is found."""
    assert find("mediaserver.processors.builtin.echo:Echo").target is find("echo").target


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "bogus",
            "unknown processor 'bogus' (there are: barge_in, beep_detect, echo, player, record",
        ),
        (":x", "unknown processor"),
        ("no.such.module:x", "ModuleNotFoundError"),
        ("no_such_file.py:x", "no file no_such_file.py"),
        ("{bot}:missing", "has no 'missing'"),
        ("{bot}:number", "neither an async function nor a Filter"),
        ("{bot}:Unfinished", "neither an async function nor a Filter"),
        ("{bot}:greedy", "needs the package 'no_such_package_at_all'"),
        ("{bot}:odd_rate", "rate is one of 8000, 16000, 22050, 24000, 44100, 48000, not 11025"),
        ("{bot}:no_rate", "48000, not 0"),
        ("{bot}:text_rate", "48000, not 'x'"),
        ("{bot}:float_rate", "48000, not 16000.0"),
        ("{bot}:OddRate", "48000, not 11025"),
        ("{bot}:without_call", "its first argument must be the call, not ()"),
        ("{bot}:call_by_name", "its first argument must be the call, not (*, call)"),
        ("{bot}:WithoutCall", "its first argument must be the call, not ()"),
        ("{bot}:without_name", "cannot be called: missing a required argument: 'value'"),
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


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("raise GeneratorExit", "GeneratorExit"),
    ],
)
def test_a_file_that_wants_to_exit_ends_nothing(tmp_path: Path, code: str, said: str) -> None:
    """It cannot be used, as one that raises anything else."""
    path = tmp_path / "leaving.py"
    path.write_text(code)
    with pytest.raises(ConfigurationError) as caught:
        find(f"{path}:x")
    assert str(caught.value) == f"processor {path}:x: {said}"


def test_the_operators_interrupt_at_an_import_ends_it(tmp_path: Path) -> None:
    """What a signal's handler raises is not the file's."""
    path = tmp_path / "interrupted.py"
    path.write_text("import signal; signal.raise_signal(signal.SIGINT)")
    code = (  # in a process of its own: this one's main thread may be busy elsewhere
        "import signal, sys\n"
        "from mediaserver.processors.discovery import find\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "try:\n"
        "    find(sys.argv[1])\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted')\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, f"{path}:x"], capture_output=True, text=True, check=True
    )
    assert ran.stdout == "interrupted\n"


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


def test_built_ins_are_entry_points() -> None:
    """What comes with the package is registered in its metadata, as anybody's plugin is."""
    points = [p for p in entry_points(group=GROUP) if p.dist and p.dist.name == "mediaserver"]
    ours = {point.name: point.value for point in points}
    assert set(ours) >= {"echo", "record"}
    for name, value in ours.items():
        assert find(name).target is find(value).target


PLUGIN = "async def greet(call): ...\nasync def echo(call): ..."
POINTS = f"""[{GROUP}]
greeter = plugin_of_a_test:greet
echo = plugin_of_a_test:echo
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed package that brings two processors, one by the name of a built-in."""
    metadata = tmp_path / "plugin_of_a_test-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin-of-a-test\n")
    (metadata / "entry_points.txt").write_text(POINTS)
    (tmp_path / "plugin_of_a_test.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    discovery._installed.cache_clear()
    yield
    discovery._installed.cache_clear()
    sys.modules.pop("plugin_of_a_test", None)


@pytest.mark.usefixtures("plugin")
def test_an_installed_plugin_is_found_by_its_name() -> None:
    """By the name of its entry point; it is isolated where all are, unlike a built-in."""
    assert "greeter" in names()
    assert find("greeter").target.__module__ == "plugin_of_a_test"
    isolating = Settings(isolate=True)
    assert is_isolated(ProcessorSetting("greeter"), isolating)
    assert not is_isolated(ProcessorSetting("record"), isolating)


@pytest.mark.usefixtures("plugin")
def test_a_name_that_two_packages_use_is_refused() -> None:
    """No plugin takes a built-in's place unseen; both can still be named in full."""
    with pytest.raises(ConfigurationError, match="several packages bring it") as caught:
        find("echo")
    for place in ("mediaserver.processors.builtin.echo:Echo", "plugin_of_a_test:echo"):
        assert place in str(caught.value)
        assert find(place)
    assert is_isolated(ProcessorSetting("echo"), Settings(isolate=True))
