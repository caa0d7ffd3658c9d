"""The pages that lead a newcomer through the house lead somewhere."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache

import pytest

from mediaserver.counters import COUNTERS, VALUES
from tests.docs.pages import REPOSITORY

SIGNS = ("CONTRIBUTING.md", "SECURITY.md", "docs/architecture.md", "docs/glossary.md")
# Where a path on a page may begin.
ROOTS = ("", "mediaserver", "codecs")
PATH = re.compile(r"[\w.-]*[\w-]/[\w./-]*|[\w-]+\.(?:py|md|toml|txt)|\.ci/run")
# A name of the code: of a class, a constant, or with a dot or an underscore in it.
NAME = re.compile(r"_?[A-Z]\w+(?:\.\w+)*|_[a-z_]\w*|[a-z]+(?:_[a-z_]\w*)+")
# What is named and is not ours.
OTHERS = {
    "H11Protocol", "ServerProtocol", "SO_REUSEPORT", "call_control_id", "command_id", "stream_id",
    "data_received", "faketime",
}  # fmt: skip
MARKER = "# hot path: bound once, see docs/architecture.md"


def codes(page: str) -> list[str]:
    """What stands between backticks on a page, outside of blocks."""
    text = re.sub(r"^```.*?^```$", "", (REPOSITORY / page).read_text(), flags=re.M | re.S)
    return re.findall(r"`([^`\n]+)`", text)


def is_there(path: str) -> bool:
    """Whether a file or folder of this name is there."""
    return any((REPOSITORY / root / path).exists() for root in ROOTS)


@cache
def names_of(path: str) -> frozenset[str]:
    """What a module defines: names, ``Class.method``, attributes, and a struct's fields."""
    found: set[str] = set()
    for root in ROOTS:
        if (file := REPOSITORY / root / path).is_file():
            for node in ast.walk(ast.parse(file.read_text())):
                match node:
                    case ast.ClassDef(name=name, body=body):
                        found.add(name)
                        found |= {f"{name}.{each}" for part in body for each in defined(part)}
                        found |= {each for part in body for each in defined(part)}
                    case ast.Attribute(attr=attribute, ctx=ast.Store()):
                        found.add(attribute)
                    case ast.stmt():
                        found |= set(defined(node))
    return frozenset(found)


def defined(node: ast.AST) -> Iterator[str]:
    """The names that one statement defines."""
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.AnnAssign(target=ast.Name(id=name)):
            yield name
        case ast.Assign(targets=targets):
            for target in targets:
                yield from (n.id for n in ast.walk(target) if isinstance(n, ast.Name))


@cache
def all_names() -> frozenset[str]:
    """What any module of ours defines, and the counters."""
    globs = ("mediaserver/**/*.py", "codecs/**/*.py", "tests/*.py")
    files = [file for each in globs for file in REPOSITORY.glob(each)]
    counters = {*COUNTERS, *(value for values in VALUES.values() for value in values)}
    found = (names_of(str(file.relative_to(REPOSITORY))) for file in files)
    return frozenset(counters).union(*found)


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading of the architecture page, without its head."""
    text = (REPOSITORY / "docs/architecture.md").read_text()
    section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = re.findall(r"^\|(.*)\|$", section, re.MULTILINE)
    return [[cell.strip() for cell in line.split("|")] for line in lines[2:]]


@pytest.mark.parametrize("page", SIGNS)
def test_paths_are_there(page: str) -> None:
    """Every file and folder that a page names exists."""
    paths = [code for code in codes(page) if PATH.fullmatch(code)]
    assert not [path for path in paths if not is_there(path)]


@pytest.mark.parametrize("page", SIGNS)
def test_names_are_there(page: str) -> None:
    """Every class, function, attribute, constant and setting that a page names exists."""
    named = {code for code in codes(page) if NAME.fullmatch(code)} - OTHERS
    assert not named - all_names()


@pytest.mark.parametrize("page", SIGNS)
def test_words_of_make_are_there(page: str) -> None:
    """Every word of make that a page names can be given to it."""
    text = (REPOSITORY / page).read_text()
    words = set(re.findall(r"`make ([a-z-]+)", text))
    assert words <= set(helped())


def test_where_does_x_go() -> None:
    """Each row leads to files that are there, and to names that stand in one of them."""
    found = rows("Where does X go?")
    assert len(found) >= 30
    for what, files, names in found:
        paths = re.findall(r"`([^`]+)`", files)
        there = frozenset().union(*map(names_of, paths))
        for name in re.findall(r"`([^`]+)`", names):
            assert name in there, f"{what}: {name} is in none of {paths}"


# What a newcomer asks first → file and name, as the table must give them.
QUESTIONS = {
    "reconnect grace": ("settings/server.py", "reconnect_grace_s"),
    "size of a WebSocket message": ("server/sockets/frames/websocket.py", "MAX_MESSAGE_BYTES"),
    "late chunk": ("media/reorder.py", "Reorder._drop"),
    "retry of a command (408, 409, 429": ("control/rest/retry.py", "RetryPolicy.wait_s"),
    "which worker gets a new call": ("server/workers/process.py", "WorkerSupervisor.least_loaded"),
    "JSON that we send": ("wire/messages.py", "CLEAR"),
    "a new counter": ("counters.py", "COUNTERS"),
    "a new codec": ("codecs/telephony_codecs/registry.py", "CODECS"),
}


@pytest.mark.parametrize("words", QUESTIONS)
def test_what_a_newcomer_asks_is_answered(words: str) -> None:
    """One row has these words, and leads to the place; the README leads to the table."""
    ((_, files, names),) = [row for row in rows("Where does X go?") if words in row[0]]
    path, name = QUESTIONS[words]
    assert f"`{path}`" in files
    assert f"`{name}`" in names
    readme = (REPOSITORY / "README.md").read_text()
    assert "docs/architecture.md" in readme
    assert "CONTRIBUTING.md" in readme


def test_the_path_of_a_frame() -> None:
    """Each step is a function of a file that stands beside it."""
    found = rows("The path of a frame")
    assert [row[0] for row in found] == [str(n) for n in range(1, len(found) + 1)]
    for number, functions, files, _ in found:
        there = frozenset().union(*map(names_of, re.findall(r"`([^`]+\.py)`", files)))
        for name in re.findall(r"`(\w+\.\w+)`", functions):
            assert name in there, f"step {number}: {name}"


def test_every_room_has_a_row() -> None:
    """A folder of the server that has modules stands in the table of rooms, or its parent does."""
    named = {
        name.rstrip("/") for row in rows("The rooms") for name in re.findall(r"`(.*?)`", row[0])
    }
    package = REPOSITORY / "mediaserver"
    folders = {path.parent.relative_to(package) for path in package.rglob("*.py")}
    tops = {folder.parts[0] for folder in folders if folder.parts}
    assert not {top for top in tops if not any(n.split("/")[0] == top for n in named)}


def test_the_marker_of_the_hot_path_is_always_the_same() -> None:
    """A line on the path of a frame that looks odd says why in the same words everywhere.

    And the file it stands in is in the table of the frame's path.
    """
    table = " ".join(" ".join(row) for row in rows("The path of a frame"))
    found = 0
    for root in ("mediaserver", "codecs"):
        for file in sorted((REPOSITORY / root).rglob("*.py")):
            for line in file.read_text().splitlines():
                if "hot path:" in line:
                    is_bound = "bound" in line.lower()
                    assert not is_bound or MARKER in line, f"{file.name}: {line}"
                    name = str(file.relative_to(REPOSITORY)).removeprefix("mediaserver/")
                    assert f"`{name}`" in table, name
                    found += is_bound
    assert found >= 10


def helped() -> dict[str, str]:
    """What `make help` prints: word and line."""
    command = ["make", "--silent", "--no-print-directory", "help"]
    ran = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return dict(line.split(maxsplit=1) for line in ran.stdout.splitlines())


def test_make_help_tells_every_word() -> None:
    """Each word of the Makefile has one line, which fits a terminal of 120 columns."""
    text = (REPOSITORY / "Makefile").read_text().replace("\\\n", " ")
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert sorted(helped()) == sorted(phony.split())
    assert all(len(line) <= 105 for line in helped().values())
