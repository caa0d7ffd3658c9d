"""``mediaserver processors``: what is available, and why not."""

from __future__ import annotations

import argparse

from mediaserver.errors import ConfigurationError
from mediaserver.processors.discovery import find, names
from mediaserver.processors.parameters import parameters_of


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser("processors", help="which processors there are")
    parser.add_argument(
        "name", nargs="*", help="these as well: module:attribute, file.py:attribute"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """One line each; exit code 0."""
    for name in [*names(), *args.name]:
        try:
            spec = find(name)
        except ConfigurationError as exc:
            print(f"{name:12} not available: {exc}")
            continue
        kind = "filter" if spec.is_filter else "handler"
        parameters = ", ".join(str(p) for p in parameters_of(spec).values()) or "no parameters"
        print(f"{name:12} {kind:8} {parameters}")
    return 0
