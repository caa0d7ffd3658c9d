"""Each line of the server has an event that the page names, and its call where it names one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from mediaserver.logs import event_name

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "mediaserver"
PAGE = (ROOT / "docs/logging.md").read_text()
# Which argument of a method is the kind.
KIND_AT = {"info": 0, "warning": 0, "error": 0, "_log": 0, "log": 1, "each": 1}
# A Python logger: none has an event, a call, a limit.
PLAIN = {"debug", "info", "warning", "error", "exception", "critical", "log"}
# In a thread with a second left; and before there is any log.
MAY_BE_PLAIN = {"processes/inside.py", "sources.py", "logs/limits.py", "logs/calls.py"}


def calls() -> Iterator[tuple[str, ast.Call, str]]:
    """Each call of a method, with its module and what it is called on."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                module = path.relative_to(PACKAGE).as_posix()
                yield module, node, ast.unparse(node.func.value)


def kinds() -> Iterator[str]:
    """Each kind of line; what is filled in is a ``*``."""
    for _, node, on in calls():
        assert isinstance(node.func, ast.Attribute)
        name = node.func.attr
        if on != "limited" and not (on == "self" and name == "_log"):
            continue
        match node.args[KIND_AT[name]]:
            case ast.Constant(value=str(kind)):
                yield kind
            case ast.JoinedStr(values=parts):
                yield "".join(p.value if isinstance(p, ast.Constant) else "*" for p in parts)
            case other:
                assert ast.unparse(other) == "kind", ast.unparse(other)


def test_every_event_is_on_the_page() -> None:
    """And the page names no other."""
    table = PAGE.partition("## Events")[2]
    named = {n for row in re.findall(r"^\| (`.*?) \|", table, re.M) for n in row.split(", ")}
    made = {f"`{event_name(kind).replace('*', '…')}`" for kind in kinds()}
    made |= {"`call_log`", "`calls_refused_with_…`"}
    assert named == made


def test_no_module_has_a_plain_logger() -> None:
    """What strangers, calls or plugins can cause is behind a limit, and has an event."""
    plain = {
        (module, ast.unparse(node))
        for module, node, on in calls()
        if on in ("logger", "log", "logging") and node.func.attr in PLAIN  # type: ignore[attr-defined]  # as above
    }
    assert {entry for entry in plain if entry[0] not in MAY_BE_PLAIN} == set()


def test_a_line_that_names_a_call_says_so() -> None:
    """By ``call=``, so that machines find it."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for function in ast.walk(ast.parse(path.read_text())):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for node in ast.walk(function):
                if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                    continue
                if ast.unparse(node.func.value) != "limited":
                    continue
                about = " ".join(ast.unparse(each) for each in node.args)
                names = "call %s" in about or "call_id" in about
                assert not names or any(k.arg == "call" for k in node.keywords), ast.unparse(node)
