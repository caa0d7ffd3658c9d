"""No room writes another room's attributes: an object is changed by the folder of its class.

Whose an attribute is, is told by the annotation of the parameter that is written to, where it
names a class of ours, else by who defines an attribute of that name: a class of the same folder
makes it this folder's own. So a write to another room passes unseen where both have a class
with an attribute of that name, and no annotation tells them apart.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "mediaserver"
FILES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}

FRAMES = "server/sockets/frames"
# What may stay, and why.
MAY_STAY = {
    ("app/log_setup.py", "multiprocessing.current_process().name"): "Python's way to name one",
    ("media/align.py", "self._silence.flags.writeable"): "numpy's own way to protect an array",
    ("media/playout/catchup.py", "mixed.flags.writeable"): "as before",
    ("media/playout/catchup.py", "out.flags.writeable"): "as before",
    ("logs/limits.py", "record.msg"): "a logging filter changes the record it is given",
    ("logs/formats.py", "told.msg"): "a copy of the record that it was given",
    ("logs/formats.py", "told.args"): "as before",
    ("processors/api.py", "marked.mediaserver_rate"): "the mark of @processor on a user's function",
    ("processors/api.py", "marked.mediaserver_tap"): "the mark of @processor on a user's function",
    ("processors/api.py", "marked.mediaserver_requires"): "as before",
    ("processors/api.py", "marked.mediaserver_history_s"): "as before",
    **{
        (f"processors/builtin/hearing/{name}.py", f"{of}.own"): "BatchCall says: for the processor"
        for name, of in (
            ("vad", "member"),
            ("barge_in", "member"),
            ("beep", "member"),
            ("beep", "call"),
        )
    },
    ("processors/builtin/hearing/engines.py", "options.intra_op_num_threads"): "onnxruntime's way",
    ("processors/builtin/hearing/engines.py", "options.inter_op_num_threads"): "as before",
    ("processors/builtin/recording/formats.py", "stream.bit_rate"): "PyAV's way",
    ("processors/builtin/recording/formats.py", "frame.sample_rate"): "as before",
    ("processors/builtin/recording/formats.py", "frame.pts"): "as before",
    ("server/batching.py", "member.at"): "BatchCall says: of the window that it is given",
    ("server/calls/audio/outbound.py", "self.playout.blocked"): "Playout says: set by the owner",
    ("server/calls/audio/outbound.py", "playout.blocked"): "as before, of a new one",
    ("bench/load/generator.py", "trust.check_hostname"): "OpenSSL's own way to set a context up",
    ("bench/load/generator.py", "trust.verify_mode"): "as before",
    ("server/sockets/tls.py", "context.minimum_version"): "OpenSSL's own way to set a context up",
    ("server/sockets/tls.py", "context.num_tickets"): "as before",
    ("server/sockets/tls.py", "context.options"): "as before",
    (f"{FRAMES}/websocket.py", "self._protocol.max_message_size"): "the library has no call for it",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def room(name: str) -> str:
    """The folder of a module's file."""
    return name.rpartition("/")[0]


def defined(tree: ast.AST) -> Iterator[str]:
    """Attributes that the classes of a module define."""
    for cls in ast.walk(tree):
        if not isinstance(cls, ast.ClassDef):
            continue
        for statement in cls.body:
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                yield statement.target.id
            elif isinstance(statement, ast.Assign):
                yield from (t.id for t in statement.targets if isinstance(t, ast.Name))
        for node in ast.walk(cls):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.ctx, ast.Store)
                and ast.unparse(node.value) in ("self", "cls")
            ):
                yield node.attr


TREES = {name: ast.parse(path.read_text()) for name, path in FILES.items()}
DEFINED: dict[str, set[str]] = defaultdict(set)
for _name, _tree in TREES.items():
    DEFINED[room(_name)] |= set(defined(_tree))


def classes(name: str, tree: ast.AST) -> dict[str, str]:
    """Names of classes of ours that a module may use, with their rooms."""
    found = {n.name: room(name) for n in ast.walk(tree) if isinstance(n, ast.ClassDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mediaserver"):
            path = (node.module or "").replace(".", "/").removeprefix("mediaserver").strip("/")
            of = room(f"{path}.py") if f"{path}.py" in FILES else path
            found |= {alias.asname or alias.name: of for alias in node.names}
    return found


def made_here(function: ast.AST) -> set[str]:
    """Locals that were constructed in the function."""
    return {
        target.id
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
        for target in node.targets
        if isinstance(target, ast.Name)
        and isinstance(node.value.func, ast.Name)
        and (node.value.func.id == "cls" or node.value.func.id.lstrip("_")[:1].isupper())
    }


def annotated(function: Function) -> dict[str, str]:
    """Parameters with the names of their classes."""
    arguments = (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
    return {a.arg: ast.unparse(a.annotation) for a in arguments if a.annotation is not None}


def written(function: ast.AST) -> Iterator[tuple[ast.expr, str, str]]:
    """Object, attribute and text of each write to an attribute; of ``setattr`` as well."""
    for node in ast.walk(function):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
            yield node.value, node.attr, ast.unparse(node)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in (
            "setattr",
            "delattr",
            "__setattr__",
        ):
            yield node.args[0], "", ast.unparse(node)


def foreign_writes(name: str, tree: ast.AST) -> set[tuple[str, str]]:
    """Writes of a module to what is another room's, as far as can be told."""
    known, own = classes(name, tree), DEFINED[room(name)]
    found = set()
    functions: list[ast.AST] = [n for n in ast.walk(tree) if isinstance(n, Function)]
    outside = [n for n in ast.iter_child_nodes(tree) if not isinstance(n, Function | ast.ClassDef)]
    for function in (*functions, *outside):
        passed = annotated(function) if isinstance(function, Function) else {}
        made = made_here(function)
        for of, attribute, text in written(function):
            if isinstance(of, ast.Name) and of.id in {"self", "cls", *made}:
                continue
            kind = known.get(passed.get(of.id, "")) if isinstance(of, ast.Name) else None
            if (attribute not in own) if kind is None else (kind != room(name)):
                found.add((name, text))
    return found


def test_no_room_writes_another_rooms_attributes() -> None:
    """Every write across rooms is in the table, and the table names no other."""
    found = set().union(*(foreign_writes(name, tree) for name, tree in TREES.items()))
    assert found == set(MAY_STAY)


@pytest.mark.parametrize(
    "line",
    [
        "session.end_reason = 'x'",
        "session.facts.takeovers += 1",
        "del session.line",
        "setattr(session, 'line', None)",
        "object.__setattr__(session.facts, 'takeovers', 1)",
        "session.line, other = None, 1",
        "session.outbound.playout.blocked = True",
    ],
)
def test_an_added_write_is_found(line: str) -> None:
    """Of each kind, in a room that has no such attribute of its own; inside a function or not."""
    assert foreign_writes("wire/new.py", ast.parse(f"def f(session):\n    {line}\n"))
    assert foreign_writes("wire/new.py", ast.parse(f"{line}\n"))


def test_an_annotation_tells_whose_it_is() -> None:
    """An attribute of the same name in the own room does not hide a write to another's."""
    source = (
        "from mediaserver.server.calls.session import Session\n"
        "class Own:\n    line = None\n"
        "def f(session: Session, own: Own):\n    session.line = own.line = None\n"
    )
    DEFINED["wire"].add("line")
    try:
        found = foreign_writes("wire/new.py", ast.parse(source))
    finally:
        DEFINED["wire"].discard("line")
    assert found == {("wire/new.py", "session.line")}


def test_what_was_made_here_may_be_written() -> None:
    """An object is filled by whoever has just constructed it, in its own function alone."""
    source = "def f():\n    it = Session()\n    it.nonsense = 1\ndef g(it):\n    it.nonsense = 1\n"
    assert foreign_writes("wire/new.py", ast.parse(source)) == {("wire/new.py", "it.nonsense")}
    assert not foreign_writes("wire/new.py", ast.parse(source.partition("def g")[0]))
