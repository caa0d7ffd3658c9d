"""``mediaserver serve``."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path

from mediaserver.app import MediaServer, loop_factory
from mediaserver.settings import ProcessorSetting, Settings, load, meanings

# What is set by flags, by the settings' names; everything else by file or environment.
_PLAIN = (
    "host",
    "port",
    "send_codec",
    "send_rate",
    "send_mode",
    "auth_token",
    "public_url",
    "public_keys",
    "api_base_url",
    "workers",
    "max_calls",
    "drain_s",
    "log_level",
)
_SWITCHES = ("keepalive", "answer", "auto_restart", "allow_insecure")


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser("serve", help="run the media server")
    parser.add_argument(
        "--processor",
        action="append",
        metavar="NAME",
        help="echo, record, module:attribute or file.py:attribute, with ?parameter=value;"
        " several form a chain",
    )
    parser.add_argument(
        "--offer", action="append", metavar="NAME", help="a processor that calls may select"
    )
    said = {name: text.replace("``", "").replace("%", "%%") for name, text in meanings().items()}
    for name in _PLAIN:
        parser.add_argument(_flag(name), metavar="VALUE", help=said.get(name, "") + _default(name))
    for name in _SWITCHES:
        parser.add_argument(_flag(name), action="store_true", default=None, help=said.get(name))
    parser.add_argument("--config", type=Path, metavar="F.toml", help="settings by their names")
    parser.set_defaults(run=run)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _default(name: str) -> str:
    """A setting's default, for its help."""
    default = getattr(Settings(), name)
    return "" if default is None else f" (default: {default})"


def settings_of(args: argparse.Namespace) -> Settings:
    """Settings from flags, environment and file."""
    flags = {name: getattr(args, name) for name in (*_PLAIN, *_SWITCHES)}
    for field, given in (("processors", args.processor), ("offer", args.offer)):
        if given:
            flags[field] = [ProcessorSetting.parse(text) for text in given]
    return load(flags, os.environ, args.config)


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop; exit code 0."""
    settings = settings_of(args)
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_serve(settings))
    return 0


async def _serve(settings: Settings) -> None:
    async with MediaServer(settings) as server:
        line = f"mediaserver ready on {server.url}"
        await server.run(lambda: print(line, file=sys.stderr, flush=True))
