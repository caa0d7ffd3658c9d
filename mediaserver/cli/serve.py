"""``mediaserver serve``."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path

from mediaserver.app import MediaServer, loop_factory
from mediaserver.settings import ProcessorSetting, Settings, load

# What is set by flags; everything else by file or environment.
_PLAIN = {
    "host": "address to listen on (127.0.0.1)",
    "port": "port to listen on (8080; 0 takes a free one)",
    "send-codec": "codec of what goes into the call (PCMU)",
    "send-rate": "its sample rate in Hz",
    "send-mode": "rtp, or mp3 for whole files",
    "auth-token": "what a stream must present",
    "public-url": "how Telnyx reaches this server, https://…",
    "public-keys": "Telnyx's public keys for webhooks, comma-separated",
    "api-base-url": "where commands go (https://api.telnyx.com/v2)",
    "workers": "processes that carry the calls (1)",
    "max-calls": "calls at once",
    "drain-s": "how long live calls may go on after SIGTERM",
    "log-level": "debug, info, warning or error",
}
_SWITCHES = {
    "keepalive": "send silence while nothing plays",
    "answer": "answer incoming calls with a stream to this server",
    "auto-restart": "start a stream again that broke by itself",
    "allow-insecure": "let plain http and ws leave this machine",
}


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
    for name, text in _PLAIN.items():
        parser.add_argument(f"--{name}", metavar="VALUE", help=text)
    for name, text in _SWITCHES.items():
        parser.add_argument(f"--{name}", action="store_true", default=None, help=text)
    parser.add_argument("--config", type=Path, metavar="F.toml", help="settings by their names")
    parser.set_defaults(run=run)


def settings_of(args: argparse.Namespace) -> Settings:
    """Settings from flags, environment and file."""
    names = [name.replace("-", "_") for name in (*_PLAIN, *_SWITCHES)]
    flags = {name: getattr(args, name) for name in names}
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
