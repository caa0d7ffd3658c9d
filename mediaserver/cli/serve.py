"""``mediaserver serve``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import sys

from mediaserver.app import MediaServer, loop_factory
from mediaserver.cli.options import add_flags, add_key_file, settings_of
from mediaserver.settings import LOADER, Settings

# What is set by flags, by the settings' names; everything else by file or environment.
_FLAGS = (
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
    "on_error",
    "on_return",
    "log_level",
    "keepalive",
    "answer",
    "auto_restart",
    "allow_insecure",
)


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
    add_flags(parser, LOADER, _FLAGS)
    add_key_file(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop; exit code 0."""
    settings = settings_of(args, processors=args.processor, offer=args.offer)
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_serve(settings))
    return 0


async def _serve(settings: Settings) -> None:
    async with MediaServer(settings) as server:
        line = f"mediaserver ready on {server.url}"
        await server.run(lambda: _say(line))


def _say(line: str) -> None:
    """Print a line; a log on a full disk is no reason not to serve."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)
