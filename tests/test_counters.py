"""The table of counters holds exactly what the code counts."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from mediaserver.counters import COUNTERS, VALUES, WEBHOOKS, help_of
from mediaserver.wire.messages import kind_of
from mediaserver.wire.stream import Stream

PACKAGE = Path(__file__).parent.parent / "mediaserver"
# The fake Telnyx and the command line count things of their own, which are no counters.
APART = {"carrier", "cli"}

# Functions that count what they are given → the family of the names, "" for none.
COUNT = {"count": ""}
REFUSE = {"refuse": "refused.", "_refuse": "refused.", "_count": "refused."}

MESSAGES = (
    b'{"event":"connected","version":"1.0.0"}',
    b'{"event":"start","start":{},"stream_id":"a"}',
    b'{"event":"media","media":{"payload":"AA=="}}',
    b'{"event":"mark","mark":{"name":"m"}}',
    b'{"event":"dtmf","dtmf":{"digit":"1"}}',
    b'{"event":"error","error":{"code":1}}',
    b'{"event":"stop","stop":{}}',
)
CONNECTED, START, *_, STOP = MESSAGES
OTHER_STREAM = b'{"event":"media","media":{"payload":"AA=="},"stream_id":"b"}'
MALFORMED = (
    b"{",
    b"[" * 100_000,
    b"[]",
    b"{}",
    b'{"event":"news"}',
    b'{"event":"mark"}',
    b'{"event":"media","media":{"payload":"?"}}',
)


def trees() -> Iterator[ast.Module]:
    """The sources that count."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).parts[0] not in APART:
            yield ast.parse(path.read_text())


def texts(node: ast.expr) -> set[str]:
    """The names that an expression can be; what is filled in is a ``*``. None of a variable."""
    match node:
        case ast.Constant(value=str(text)):
            return {text}
        case ast.JoinedStr(values=parts):
            return {"".join(p.value if isinstance(p, ast.Constant) else "*" for p in parts)}
        case ast.IfExp(body=one, orelse=other):
            return texts(one) | texts(other)
    return set()


def is_passed_on(argument: ast.expr, function: ast.AST) -> bool:
    """Whether a function counts what it was given itself."""
    return (
        isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        and isinstance(argument, ast.Name)
        and argument.id in {each.arg for each in function.args.args}
    )


def told(functions: dict[str, str]) -> Iterator[tuple[str, ast.expr, ast.AST]]:
    """Every call of one of these functions with one argument: family, argument, caller."""
    for tree in trees():
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for node in ast.walk(function):
                match node:
                    case ast.Call(
                        func=ast.Attribute(attr=name) | ast.Name(id=name), args=[argument]
                    ) if name in functions:
                        yield functions[name], argument, function


def counted() -> set[str]:
    """The names that the sources count, as far as they stand there as texts."""
    found = told(COUNT | REFUSE)
    return {family + text for family, argument, _ in found for text in texts(argument)}


def kinds_of_a_stream() -> set[str]:
    """What a stream refuses, wherever it stands and whatever comes."""
    kinds = {kind_of(data) for data in MALFORMED}
    for reached in ([], [CONNECTED], [CONNECTED, START], [CONNECTED, START, STOP], None):
        for data in (*MESSAGES, OTHER_STREAM):
            stream = Stream(0.0, refused=kinds.add)
            for before in reached or ():
                stream.receive(before)
            if reached is None:
                stream.close()
            stream.receive(data)
    return kinds


def test_every_counter_is_in_the_table() -> None:
    """Each name that stands in the code has its line of help; so has each family."""
    names = {name for name in counted() if not name.startswith("refused.") or "*" not in name}
    assert not {name for name in names if help_of(name) is None}


def test_every_line_of_the_table_is_counted() -> None:
    """There is no help on what is never counted."""
    assert set(COUNTERS) <= counted()


def test_every_counted_name_can_be_read() -> None:
    """A counter's name stands where it is counted, or is passed on: nothing escapes the table."""
    escaped = [
        ast.unparse(argument)
        for _, argument, function in told(COUNT)
        if not texts(argument)
        and not is_passed_on(argument, function)
        and not isinstance(argument, ast.Constant)  # itertools.count(1)
    ]
    assert not escaped


def test_the_kinds_of_refused_messages_are_complete() -> None:
    """The table has the kinds that a stream and its session refuse, and no others."""
    literal = {name.removeprefix("refused.") for name in counted() if name.startswith("refused.")}
    kinds = {kind for kind in literal if "*" not in kind} | kinds_of_a_stream()
    assert set(VALUES["refused.*"]) == kinds


def test_the_kinds_of_refused_packets_are_complete() -> None:
    """The table has what forks refuse, and what their audio's inbound half does; no others."""
    found = {"bad_payload", "too_much_audio"}
    for tree in trees():
        for node in ast.walk(tree):
            match node:
                case ast.Call(func=ast.Attribute(attr="drop" | "_drop"), args=[word]):
                    found |= texts(word)
                case ast.Call(func=ast.Name(id="MalformedPacketError"), args=[word]):
                    found |= texts(word)
                case ast.Call(func=ast.Name(id="Judged"), keywords=[ast.keyword("refused", word)]):
                    found |= texts(word)
    assert set(VALUES["fork_refused.*"]) == found


def test_the_counts_of_webhooks_are_complete() -> None:
    """The table has what becomes of deliveries, and nothing else."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((PACKAGE / "control/webhooks/receiver.py").read_text())):
        match node:
            case ast.Call(func=ast.Name(id="Verdict"), args=[_, word, *_]):
                found |= texts(word)
            case ast.Call(func=ast.Attribute(attr="_refused"), args=[_, word]):
                found |= texts(word)
            case ast.Subscript(value=ast.Attribute(attr="counts"), slice=word):
                found |= texts(word)
    assert found == set(WEBHOOKS)


@pytest.mark.parametrize(
    ("name", "is_known"),
    [
        ("calls", True),
        ("refused.*", True),
        ("refused.not_json", True),
        ("refused.media_after_stop", True),
        ("refused.anything", False),
        ("closed.1006", True),
        ("closed.*", True),
        ("closed.", False),
        ("closed.later", False),
        ("call", False),
        ("calls.1", False),
        ("", False),
    ],
)
def test_a_name_is_looked_up(name: str, is_known: bool) -> None:
    """A counter, a member of a family and a family have help; nothing else has."""
    assert (help_of(name) is not None) is is_known


def test_help_is_one_line() -> None:
    """Each fits a table: no line break, no full stop, no bar."""
    lines = [*COUNTERS.values(), *WEBHOOKS.values(), *VALUES["refused.*"].values()]
    lines += VALUES["fork_refused.*"].values()
    assert not [line for line in lines if set(line) & set("\n|") or line.endswith(".") or not line]
