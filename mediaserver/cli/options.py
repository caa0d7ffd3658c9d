"""Flags of the settings, the same in every command, and the settings from all their sources."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from mediaserver.conversion import WrongSettingError
from mediaserver.errors import ConfigurationError
from mediaserver.settings import LOADER, Settings
from mediaserver.sources import CONFIG_VARIABLE, Loader, meanings

T = TypeVar("T", bound=msgspec.Struct)

KEY_VARIABLE = LOADER.aliases["api_key"]


def add_flags(parser: argparse.ArgumentParser, loader: Loader[Any], names: Sequence[str]) -> None:
    """Add a flag for each of these settings, and ``--config``."""
    # Another flag may be called like a setting and mean something else.
    parser.set_defaults(set_by_flags=tuple(names))
    defaults = loader.kind()
    said = {
        name: text.replace("``", "").replace("%", "%%")
        for name, text in meanings(loader.kind).items()
    }
    for name in names:
        default = getattr(defaults, name)
        if isinstance(default, bool):
            parser.add_argument(
                loader.flag(name), action="store_true", default=None, help=said[name]
            )
            continue
        shown = f"{default:g}" if isinstance(default, float) else default
        told = "" if default in (None, ()) else f" (default: {shown})"
        parser.add_argument(loader.flag(name), metavar="VALUE", help=said[name] + told)
    parser.add_argument(
        "--config",
        type=Path,
        metavar="F.toml",
        help=f"settings by their names; default: ${CONFIG_VARIABLE}",
    )


def add_key_file(parser: argparse.ArgumentParser) -> None:
    """Add ``--api-key-file``: a key has no flag, as everybody on the machine would see it."""
    parser.add_argument(
        "--api-key-file",
        type=Path,
        metavar="FILE",
        help=f"holds the API key; default: ${KEY_VARIABLE}",
    )


def settings_of(args: argparse.Namespace, **given: Any) -> Settings:
    """The server's settings; ``given`` counts as flags.

    Raises:
        ConfigurationError: one of them cannot be used.
    """
    if args.api_key_file is not None:
        given["api_key"] = _key_of(args.api_key_file)
    return loaded(LOADER, args, **given)


def loaded(loader: Loader[T], args: argparse.Namespace, **given: Any) -> T:
    """Settings from flags, environment and file; what is odd about them is told on stderr."""
    flags = {name: getattr(args, name) for name in args.set_by_flags}
    return loader.load({**flags, **given}, os.environ, args.config, warn)


@contextlib.contextmanager
def places_named(args: argparse.Namespace, **given: Any) -> Iterator[None]:
    """Say of a setting that turns out to be wrong in here where it is written, too.

    Raises:
        WrongSettingError: with that place.
    """
    try:
        yield
    except WrongSettingError as exc:
        flags = {**{name: getattr(args, name) for name in args.set_by_flags}, **given}
        where = LOADER.where(exc.path, flags, os.environ, args.config)
        raise WrongSettingError(exc.path, exc.problem, exc.where or where) from exc


def warn(line: str) -> None:
    """One line on stderr."""
    print(f"mediaserver: warning: {line}", file=sys.stderr, flush=True)


def _key_of(file: Path) -> str:
    try:
        key = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"--api-key-file {file} cannot be read") from error
    if not key:
        raise ConfigurationError(f"--api-key-file {file} is empty")
    return key
