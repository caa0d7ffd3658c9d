"""``mediaserver processors``: which processors there are, where each runs, or why it cannot."""

from __future__ import annotations

import argparse
from pathlib import Path

from mediaserver.cli.options import loaded
from mediaserver.errors import ConfigurationError
from mediaserver.processors.discovery import find, is_isolated, names
from mediaserver.processors.parameters import bind, parameters_of
from mediaserver.settings import LOADER, ProcessorSetting, Settings


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser("processors", help="which processors there are")
    parser.add_argument(
        "name", nargs="*", help="these as well: module:attribute, file.py:attribute"
    )
    parser.add_argument("--config", type=Path, metavar="F.toml", help="also those of this file")
    parser.set_defaults(run=run, set_by_flags=())


def run(args: argparse.Namespace) -> int:
    """One line each; exit code 1 if one that the settings or the command name cannot be used."""
    settings = loaded(LOADER, args)
    named = [*settings.processors, *settings.offer, *map(ProcessorSetting, args.name)]
    known = {str(setting.name) for setting in named}
    failed = False
    for setting in [*(ProcessorSetting(n) for n in names() if n not in known), *named]:
        line, usable = _line(setting, settings)
        print(line)
        failed |= setting in named and not usable
    return int(failed)


def _line(setting: ProcessorSetting, settings: Settings) -> tuple[str, bool]:
    """What is to be said of a processor, and whether it can be used."""
    name = setting.selected_by
    try:
        spec = find(setting.name)
        if setting.parameters:
            bind(spec, setting.parameters)
    except ConfigurationError as exc:
        return f"{name:12} not available: {exc}", False
    parameters = ", ".join(str(p) for p in parameters_of(spec).values()) or "no parameters"
    isolated = is_isolated(setting, settings) or (settings.isolate and not spec.tap)
    where = "processor host" if isolated else "server (tap)" if spec.tap else "server"
    return f"{name:12} {spec.kind:8} {where:15} {parameters}", True
