"""The command, and what `serve --phone` has of it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import threading
import webbrowser
from collections.abc import Mapping

from mediaserver.errors import ConfigurationError
from mediaserver.phone import DEFAULT_PORT, PhoneServer

# As in ``simulate``.
TOKEN_VARIABLE = "MEDIASERVER_AUTH_TOKEN"


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "phone",
        help="call a server from the browser: a page with a microphone and keys",
        description="Serve a page that is a telephone: its calls go to a media server as Telnyx'"
        " calls do.",
    )
    parser.add_argument(
        "--url",
        default="ws://127.0.0.1:8080/media",
        metavar="URL",
        help="ws:// or wss:// address of the media server (default: %(default)s)",
    )
    parser.add_argument(
        "--token", metavar="T", help=f"the stream's auth token; default: ${TOKEN_VARIABLE}"
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address of the page; one that others reach asks for a token (default: %(default)s)",
    )
    add_port(parser, "--port")
    parser.set_defaults(run=run)


def add_port(parser: argparse.ArgumentParser, flag: str) -> None:
    """Add the flag for the page's port."""
    parser.add_argument(
        flag,
        type=_port,
        default=DEFAULT_PORT,
        metavar="PORT",
        help="of the page; 0 takes a free one (default: %(default)s)",
    )


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: a number from 0 to 65535")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Serve the page until interrupted or terminated; exit code 0."""
    if not args.url.startswith(("ws://", "wss://")):
        raise ConfigurationError(f"--url must begin with ws:// or wss://, not {args.url!r}")
    token = args.token or os.environ.get(TOKEN_VARIABLE) or None
    asyncio.run(_serve(PhoneServer(args.url, token=token, host=args.host, port=args.port)))
    return 0


async def _serve(phone: PhoneServer) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Where the loop cannot take signals, an interrupt ends the program all the same.
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with phone:
        say(phone.url)
        open_page(phone.url)
        await ended.wait()


def say(url: str) -> None:
    """Say where the page is; where nobody can be told is no reason to end."""
    with contextlib.suppress(OSError):
        print(f"mediaserver phone on {url}", file=sys.stderr, flush=True)


def open_page(url: str) -> None:
    """Open the page in the browser of a desktop, if this is one."""
    if has_desktop(os.environ, sys.platform):
        # It may wait for the browser to end.
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()


def has_desktop(environment: Mapping[str, str], platform: str) -> bool:
    """Whether a browser can be shown; one in a terminal has no microphone."""
    if platform in ("darwin", "win32"):
        return True
    return bool(environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"))
