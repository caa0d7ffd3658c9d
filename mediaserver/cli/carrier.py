"""``mediaserver carrier``: the fake Telnyx alone, REST, webhooks and calls."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import os
import signal

from mediaserver.carrier.rest.api import FakeTelnyx
from mediaserver.carrier.rest.habits import Habits
from mediaserver.carrier.rest.streams import SPEECH_S, default_plan
from mediaserver.carrier.rest.webhooks import WebhookFaults
from mediaserver.errors import ConfigurationError

KEY_VARIABLE = "TELNYX_API_KEY"


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser("carrier", help="run a fake Telnyx: REST, webhooks, calls")
    parser.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1")
    parser.add_argument("--port", type=int, default=8090, help="default: 8090; 0: a free one")
    parser.add_argument("--webhook-url", help="where it reports to, unless a dial says otherwise")
    parser.add_argument(
        "--answer-after", type=float, default=1.0, metavar="S", help="how long a number rings"
    )
    parser.add_argument(
        "--speech", type=float, default=SPEECH_S, metavar="S", help="how long a stream speaks"
    )
    parser.add_argument("--ring", action="store_true", help="one call comes in at once")
    parser.add_argument("--webhook-copies", type=int, default=1, metavar="N")
    parser.add_argument("--webhook-delay", type=float, default=0.0, metavar="S")
    parser.add_argument("--webhook-scatter", type=float, default=0.0, metavar="S")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run until interrupted or terminated; exit code 0."""
    if args.webhook_copies < 1 or min(args.webhook_delay, args.webhook_scatter, args.speech) < 0:
        raise ConfigurationError("copies begin at 1, and no time is negative")
    if not 0 <= args.port <= 65535:
        raise ConfigurationError("a port is a number from 0 to 65535")
    try:
        asyncio.run(_serve(args))
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {args.host}:{args.port}: {error}") from error
    return 0


async def _serve(args: argparse.Namespace) -> None:
    fake = FakeTelnyx(
        api_key=os.environ.get(KEY_VARIABLE) or None,
        webhook_url=args.webhook_url,
        habits=Habits(
            plan_for=functools.partial(default_plan, speech_s=args.speech),
            answer_after_s=args.answer_after,
        ),
        webhook_faults=WebhookFaults(args.webhook_copies, args.webhook_delay, args.webhook_scatter),
        host=args.host,
        port=args.port,
    )
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Where the loop cannot take signals, an interrupt ends the program all the same.
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with fake:
        _introduce(fake)
        if args.ring:
            print(f"call in:    {fake.ring().call_control_id}", flush=True)
        await ended.wait()


def _introduce(fake: FakeTelnyx) -> None:
    print(f"base URL:   {fake.base_url}")
    print(f"public key: {fake.public_key}")
    # One that was given is the user's own, and stays out of terminals and logs.
    key = f"${KEY_VARIABLE}" if os.environ.get(KEY_VARIABLE) else fake.api_key
    print(f"API key:    {key}")
    print(f"call in:    POST {fake.base_url.removesuffix('/v2')}/fake/ring", flush=True)
