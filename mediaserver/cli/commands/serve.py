"""``mediaserver serve``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator

from mediaserver.app import Handed, MediaServer, freeze_loaded, run_process, set_up_logging
from mediaserver.cli.commands import phone as phone_command
from mediaserver.cli.options import add_flags, add_key_file, places_named, settings_of, warn
from mediaserver.errors import ConfigurationError, MediaServerError
from mediaserver.logs import LimitedLog
from mediaserver.phone import PhoneServer
from mediaserver.processors.routing import silences, told
from mediaserver.settings import LOADER, Settings

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

LOOK_EVERY_S = 0.2

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
    parser.add_argument(
        "--phone",
        action="store_true",
        help="call this server from the browser: a page on loopback with a microphone and keys",
    )
    phone_command.add_port(parser, "--phone-port")
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
        run_process(_serve(settings, handed, args.phone_port if args.phone else None))
    return 0


def _check(settings: Settings) -> int:
    MediaServer(settings)  # refuses what cannot be used
    for line in told(settings):
        print(line)
    for line in silences(settings):
        warn(line)
    return 0


async def _serve(settings: Settings, handed: Handed, phone_port: int | None) -> None:
    if phone_port is not None and settings.tls_cert is not None:
        raise ConfigurationError(
            "--phone calls this port by its address, which no certificate names:"
            " use mediaserver phone --url wss://NAME:PORT/media"
        )
    async with MediaServer(settings, handed=handed) as server:
        freeze_loaded()
        if phone_port is None:
            await server.run(lambda: _say_ready(settings, server.url), reload=True)
            return
        async with _phone(server, settings, handed, phone_port) as phone:

            def ready() -> None:
                _say_ready(settings, server.url)
                _say_phone(settings, phone.url)
                if handed.older is None:  # after a reload the page is open
                    phone_command.open_page(phone.url)

            await server.run(ready, reload=True)


@contextlib.asynccontextmanager
async def _phone(
    server: MediaServer, settings: Settings, handed: Handed, port: int
) -> AsyncIterator[PhoneServer]:
    """Serve the phone's page beside the server; its calls do not keep one that drains."""

    async def hang_up() -> None:
        while not server.service.draining:  # noqa: ASYNC110 (a service has no event for it)
            await asyncio.sleep(LOOK_EVERY_S)
        await phone.close()

    # An older generation has the port until its calls are over.
    patient = handed.older is not None
    token = settings.auth_token
    async with PhoneServer(server.url, token=token, port=port, patient=patient) as phone:
        server.show_phone(phone.url)
        watching = asyncio.create_task(hang_up())
        try:
            yield phone
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


def _say_ready(settings: Settings, url: str) -> None:
    """Say where; a log on a full disk is no reason not to serve."""
    line = f"mediaserver ready on {url}"
    if _is_for_machines(settings):
        limited.each(logging.INFO, "ready", line, fields={"url": url})
        return
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def _say_phone(settings: Settings, url: str) -> None:
    """Say where the phone's page is."""
    if _is_for_machines(settings):
        limited.each(logging.INFO, "phone", f"mediaserver phone on {url}", fields={"url": url})
    else:
        phone_command.say(url)


def _is_for_machines(settings: Settings) -> bool:
    """What reads stderr is to find nothing there but lines of JSON."""
    goes_elsewhere = (settings.log_config or {}).get("handlers")
    return settings.log_format == "json" and not goes_elsewhere
