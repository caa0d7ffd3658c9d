"""Writes what the pages in docs/ take from the code: ``make docs``.

A page holds a generated part between two comments::

    <!-- made by `make docs`: settings -->
    …
    <!-- end of settings -->

Everything else on a page is written by hand. ``PARTS`` names the parts there are.
"""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from mediaserver import settings
from mediaserver.cli.commands import carrier
from mediaserver.cli.main import COMMANDS
from mediaserver.counters import COUNTERS, VALUES, WEBHOOKS
from mediaserver.monitor.metrics import PREFIX, described
from mediaserver.observer import TROUBLES
from mediaserver.sources import Loader, meanings
from tools.limits import LIMITS, limits_rows

DOCS = Path(__file__).parents[1] / "docs"
Parser = argparse.ArgumentParser


# Tables.


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(cells)} |\n" for cells in (head, *rows)]
    return "".join([lines[0], f"{'|---' * len(head)}|\n", *lines[1:]])


def code(text: object) -> str:
    """A cell of code."""
    return f"`{text}`"


# Settings.


def settings_table(loader: Loader[Any], command: str) -> str:
    """Every setting: default, flag, meaning."""
    has = {flag for action in flags_of(parsers()[command]) for flag in action.option_strings}
    said = meanings(loader.kind)
    rows = []
    for field in msgspec.structs.fields(loader.kind):
        flag = loader.flag(field.name)
        has_flag = code(flag) if flag in has else ""
        meaning = said[field.name].replace("``", "`")
        rows.append((code(field.name), default_of(field.default), has_flag, meaning))
    return table(("setting", "default", "flag", "meaning"), rows)


def default_of(value: Any) -> str:
    """A setting's default as the table has it."""
    if value is None or value == ():
        return "–"
    if isinstance(value, bool):
        return "on" if value else "off"
    return code(f"{value:g}" if isinstance(value, float) else value)


# Counters.


def counters_table(counters: dict[str, str]) -> str:
    """Counters and what each counts."""
    return table(("counter", "counts"), ((code(name), text) for name, text in counters.items()))


def kinds_table(family: str, what: str) -> str:
    """The counters of a family whose values are finite."""
    base, values = family.removesuffix("*"), VALUES[family].items()
    return table(("counter", what), ((code(f"{base}{value}"), text) for value, text in values))


# Metrics.


def metrics_table() -> str:
    """Every metric: kind, labels, meaning."""
    rows = (
        (
            code(family.name.removeprefix(PREFIX) + "_total" * (family.type == "counter")),
            family.type,
            ", ".join(map(code, labels)) or "–",
            family.documentation,
        )
        for family, labels in described()
    )
    return table(("metric", "kind", "labels", "meaning"), rows)


# Troubles.


def troubles_table() -> str:
    """What makes a call bad."""
    rows = ((code(name), text) for name, text in TROUBLES.items())
    return table(("trouble", "it is there when"), rows)


# Limits.


def limits_part() -> str:
    """What the server lets others do, by where they do it."""
    head = ("what is bounded", "to", "setting", "beyond it", "why")
    return "\n".join(f"### {group}\n\n{table(head, limits_rows(group))}" for group in LIMITS)


# The command line. What a parser holds has no public names in argparse; its help text has,
# but differs between versions of Python.


def parsers() -> dict[str, Parser]:
    """Each command's parser."""
    commands = Parser().add_subparsers()
    for name in COMMANDS:
        importlib.import_module(f"mediaserver.cli.commands.{name}").register(commands)
    return dict(commands.choices)


def flags_of(parser: Parser) -> list[argparse.Action]:
    """A parser's own arguments: no ``--help``, no commands below it."""
    apart = (argparse._HelpAction, argparse._SubParsersAction)
    return [action for action in parser._actions if not isinstance(action, apart)]


def actions_of(parser: Parser) -> tuple[dict[str, Parser], dict[str, str]]:
    """The commands below a command, and what each does."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {each.dest: each.help or "" for each in action._choices_actions}
            return dict(action.choices), helps
    return {}, {}


def commands_part() -> str:
    """Every command with its flags."""
    return "\n".join(
        part for name, parser in parsers().items() for part in command(name, parser, COMMANDS[name])
    )


def command(name: str, parser: Parser, text: str) -> Iterator[str]:
    """A command's section, and one for each action below it."""
    yield f"## {name}\n\n{sentence(text)}\n"
    actions, helps = actions_of(parser)
    rows = {action: rows_of(below) for action, below in actions.items()}
    shared = [
        row
        for row in next(iter(rows.values()), [])
        if len(rows) > 1 and all(row in each for each in rows.values())
    ]
    if own := rows_of(parser):
        yield flags_table(own)
    if shared:
        yield f"All of its actions take:\n\n{flags_table(shared)}"
    for action, each in rows.items():
        yield f"### {name} {action}\n\n{sentence(helps[action])}\n"
        if own := [row for row in each if row not in shared]:
            yield flags_table(own)


def sentence(text: str) -> str:
    """A help text as a sentence."""
    return f"{text[0].upper()}{text[1:]}."


def flags_table(rows: list[tuple[str, ...]]) -> str:
    """A table of arguments."""
    return table(("argument", "meaning"), rows)


def rows_of(parser: Parser) -> list[tuple[str, ...]]:
    """A row for each argument."""
    return [(code(usage(action)), meaning(action)) for action in flags_of(parser)]


def usage(action: argparse.Action) -> str:
    """How an argument is written."""
    name = action.metavar or action.dest.rstrip("_").rpartition("_")[2].upper()
    if not action.option_strings:
        return f"[{name} …]" if action.nargs == "*" else str(name)
    flag = action.option_strings[-1]
    return flag if action.nargs == 0 else f"{flag} {name}"


def meaning(action: argparse.Action) -> str:
    """What an argument means: its help, its values, its default if the help has it not."""
    help_text = (action.help or "") % vars(action)
    said = [help_text] if help_text else []
    if action.choices is not None:
        *others, last = map(code, action.choices)
        said.append(f"{', '.join(others)} or {last}")
    if action.required and action.option_strings:
        said.append("required")
    default = action.default
    shown = f"{default:g}" if isinstance(default, float) else str(default)
    # A switch is off, a list empty, unless it is given: that goes without saying.
    if default is not None and default is not False and default != [] and shown not in help_text:
        said.append(f"default: {shown}")
    return "; ".join(said).replace("|", r"\|")


# Pages.

PARTS: dict[str, Callable[[], str]] = {
    "settings": lambda: settings_table(settings.LOADER, "serve"),
    "carrier": lambda: settings_table(carrier.LOADER, "carrier"),
    "counters": lambda: counters_table(COUNTERS),
    "refused": lambda: kinds_table("refused.*", "message"),
    "ended": lambda: kinds_table("ended.*", "calls"),
    "tokens": lambda: kinds_table("tokens.*", "streams"),
    "fork_refused": lambda: kinds_table("fork_refused.*", "packet"),
    "metrics": metrics_table,
    "webhooks": lambda: counters_table(WEBHOOKS),
    "commands": commands_part,
    "limits": limits_part,
    "troubles": troubles_table,
}


def parts_of(page: str) -> list[str]:
    """The names of the generated parts that a page has."""
    return re.findall(r"^<!-- made by `make docs`: (\w+) -->$", page, re.MULTILINE)


def filled(page: str) -> str:
    """A page's text with its generated parts as they should be.

    Raises:
        ValueError: a part without its end.
        KeyError: a part that there is not.
    """
    for name in parts_of(page):
        begin, end = f"<!-- made by `make docs`: {name} -->\n", f"<!-- end of {name} -->\n"
        before, _, rest = page.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            raise ValueError(f"the part {name!r} has no end")
        page = f"{before}{begin}\n{PARTS[name]()}\n{end}{after}"
    return page


def main() -> None:
    """Fill in every page."""
    for path in sorted(DOCS.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        path.write_text(filled(text), encoding="utf-8")


if __name__ == "__main__":
    main()
