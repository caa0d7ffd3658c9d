"""``mediaserver carrier``: the fake Telnyx alone, REST, webhooks and calls."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import signal
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from mediaserver.carrier.rest.api import FakeTelnyx
from mediaserver.carrier.rest.habits import Habits
from mediaserver.carrier.rest.streams import SPEECH_S, default_plan
from mediaserver.carrier.rest.webhooks import WebhookFaults, trusting
from mediaserver.cli.options import add_flags, loaded
from mediaserver.errors import ConfigurationError
from mediaserver.settings import CARRIER_TABLE
from mediaserver.sources import Loader

NonNegative = Annotated[float, Meta(ge=0)]
Text = Annotated[str, Meta(min_length=1)]


class CarrierSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What can be set of the fake Telnyx; times are in seconds.

    Attributes:
        host: address to listen on.
        port: TCP port; 0 takes a free one.
        api_key: the one it accepts; None makes one up.
        webhook_url: where it reports to, unless a dial says otherwise.
        answer_after: how long a number rings.
        speech: how long a stream speaks.
        ring: one call comes in at once.
        webhook_ca: file with the CA certificate of an https receiver, in addition to the public
            CAs or those of ``SSL_CERT_FILE``.
        webhook_copies: how often each webhook is delivered.
        webhook_delay: by how much each webhook is delayed.
        webhook_scatter: the largest random delay on top of that.
    """

    host: Text = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8090
    api_key: Text | None = None
    webhook_url: Text | None = None
    answer_after: NonNegative = 1.0
    speech: NonNegative = SPEECH_S
    ring: bool = False
    webhook_ca: Path | None = None
    webhook_copies: Annotated[int, Meta(ge=1)] = 1
    webhook_delay: NonNegative = 0.0
    webhook_scatter: NonNegative = 0.0


LOADER = Loader(
    kind=CarrierSettings,
    prefix="MEDIASERVER_CARRIER_",
    aliases={"api_key": "TELNYX_API_KEY"},
    table=CARRIER_TABLE,
    secrets=("api_key",),
)
"""How its settings are written."""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser("carrier", help="run a fake Telnyx: REST, webhooks, calls")
    # A key has no flag: everybody on the machine would see it.
    names = [name for name in CarrierSettings.__struct_fields__ if name != "api_key"]
    add_flags(parser, LOADER, names)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run until interrupted or terminated; exit code 0."""
    settings = loaded(LOADER, args)
    try:
        trusting(settings.webhook_ca)
    except OSError as error:
        where = settings.webhook_ca or "SSL_CERT_FILE"
        raise ConfigurationError(
            f"{where} holds no certificate of an authority: {error}"
        ) from error
    try:
        asyncio.run(_serve(settings))
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        raise ConfigurationError(f"cannot listen on {where}: {error}") from error
    return 0


async def _serve(settings: CarrierSettings) -> None:
    fake = FakeTelnyx(
        api_key=settings.api_key,
        webhook_url=settings.webhook_url,
        habits=Habits(
            plan_for=functools.partial(default_plan, speech_s=settings.speech),
            answer_after_s=settings.answer_after,
        ),
        webhook_faults=WebhookFaults(
            settings.webhook_copies, settings.webhook_delay, settings.webhook_scatter
        ),
        host=settings.host,
        port=settings.port,
        webhook_ca=settings.webhook_ca,
        tell=_tell,
    )
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Where the loop cannot take signals, an interrupt ends the program all the same.
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with fake:
        _introduce(fake, settings)
        if settings.ring:
            print(f"call in:    {fake.ring().call_control_id}", flush=True)
        await ended.wait()


def _tell(line: str) -> None:
    now = datetime.now()
    print(f"{now:%H:%M:%S}.{now.microsecond // 1000:03} {line}", flush=True)


def _introduce(fake: FakeTelnyx, settings: CarrierSettings) -> None:
    print(f"base URL:   {fake.base_url}")
    print(f"public key: {fake.public_key}")
    # One that was given is the user's own, and stays out of terminals and logs.
    print(f"API key:    {'yours' if settings.api_key else fake.api_key}")
    print(f"call in:    POST {fake.base_url.removesuffix('/v2')}/fake/ring", flush=True)
