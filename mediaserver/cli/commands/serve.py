"""``mediaserver serve``."""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys

from mediaserver.app import Handed, MediaServer, run_process, set_up_logging
from mediaserver.cli.options import add_flags, add_key_file, places_named, settings_of, warn
from mediaserver.errors import MediaServerError
from mediaserver.logs import LimitedLog
from mediaserver.processors.routing import silences, told
from mediaserver.settings import LOADER, Settings

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

# What is set by flags, by the settings' names; everything else by file or environment.
FLAGS = (
    "host",
    "port",
    "tls_cert",
    "tls_key",
    "send_codec",
    "send_rate",
    "send_mode",
    "auth_token",
    "admin_host",
    "admin_port",
    "public_url",
    "public_keys",
    "api_base_url",
    "workers",
    "max_calls",
    "drain_s",
    "pid_file",
    "on_error",
    "on_return",
    "isolate",
    "calls_per_host",
    "on_host_loss",
    "log_level",
    "log_config",
    "log_format",
    "log_numbers",
    "keepalive",
    "answer",
    "auto_restart",
    "history",
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
    parser.add_argument(
        "--check",
        action="store_true",
        help="say which calls would get which processors, and end; exit code 2: a wrong setting",
    )
    add_flags(parser, LOADER, FLAGS)
    add_key_file(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop; exit code 0."""
    handed = Handed.here()
    try:
        return _run(args, handed)
    except MediaServerError as exc:
        handed.failed(str(exc))
        raise


def _run(args: argparse.Namespace, handed: Handed) -> int:
    named = {"processors": args.processor, "offer": args.offer}
    settings = settings_of(args, **named)
    set_up_logging(settings)
    with places_named(args, **named):
        if args.check:
            return _check(settings)
        run_process(_serve(settings, handed))
    return 0


def _check(settings: Settings) -> int:
    MediaServer(settings)  # refuses what cannot be used
    for line in told(settings):
        print(line)
    for line in silences(settings):
        warn(line)
    return 0


async def _serve(settings: Settings, handed: Handed) -> None:
    async with MediaServer(settings, handed=handed) as server:
        await server.run(lambda: _say_ready(settings, server.url), reload=True)


def _say_ready(settings: Settings, url: str) -> None:
    """Say where; a log on a full disk is no reason not to serve."""
    line = f"mediaserver ready on {url}"
    goes_elsewhere = (settings.log_config or {}).get("handlers")
    if settings.log_format == "json" and not goes_elsewhere:
        # What reads stderr is to find nothing else there.
        limited.each(logging.INFO, "ready", line, fields={"url": url})
        return
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)
