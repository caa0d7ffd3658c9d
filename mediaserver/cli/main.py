"""The entry point: one parser, one module for each command."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

from mediaserver import __version__
from mediaserver.errors import ConfigurationError

# Each module has ``register(commands)``; imported only when its command may be meant.
COMMANDS = {
    "serve": "run the media server",
    "reload": "have a new process, with new code and settings, take over from a server",
    "demo": "fake Telnyx and server on loopback, real speech, a report",
    "simulate": "place fake Telnyx calls to a server",
    "phone": "call a server from the browser: a page with a microphone and keys",
    "bench": "find out how many calls a server carries",
    "control": "command a call over Telnyx's REST interface",
    "webhook": "check a saved webhook's signature",
    "fork": "receive forked media over UDP, or send some as Telnyx does",
    "carrier": "run the fake Telnyx's REST side alone",
    "cluster": "many machines as one, on Ray",
    "calls": "calls that have ended, and live ones; which were bad, and why",
    "processors": "which processors there are, and why one is not available",
    "codecs": "which codecs work here, and how to get what is missing",
}


class Parser(argparse.ArgumentParser):
    """Errors are one line and exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where help is."""
        fail(f"{message} (see {self.prog} --help)")


def fail(message: str) -> NoReturn:
    """One clear line on stderr, exit code 2."""
    print(f"mediaserver: {message}", file=sys.stderr)
    sys.exit(2)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    parser = Parser(prog="mediaserver", description="A real-time media server for Telnyx calls.")
    parser.add_argument("--version", action="version", version=f"mediaserver {__version__}")
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=Parser
    )
    named = next((a for a in arguments if a in COMMANDS), None)
    for name, text in COMMANDS.items():
        if name == named:
            importlib.import_module(f"mediaserver.cli.commands.{name}").register(commands)
        else:
            commands.add_parser(name, help=text)
    args = parser.parse_args(arguments)
    try:
        code: int = args.run(args)
    except ConfigurationError as exc:
        fail(str(exc))
    except KeyboardInterrupt:
        return 130
    return code
