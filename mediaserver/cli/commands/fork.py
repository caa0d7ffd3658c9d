"""``mediaserver fork``: receive forked media, or send some as Telnyx does."""

from __future__ import annotations

import argparse
import asyncio
import sys

from mediaserver.app import ForkReceiver, run_process, set_up_logging
from mediaserver.carrier import CallPlan, Faults, PlanError
from mediaserver.carrier.fork import ForkedTrack, send_tracks
from mediaserver.cli.options import add_flags, settings_of
from mediaserver.settings import LOADER, Settings
from telephony_codecs import CodecError

_FLAGS = (
    "host",
    "fork_ports",
    "fork_from",
    "fork_payload_types",
    "fork_idle_s",
    "max_calls",
    "log_level",
    "log_config",
)
DEFAULT_PORTS = "20000-20019"


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser("fork", help="receive forked media over UDP, or send some")
    words = parser.add_subparsers(dest="word", required=True, metavar="listen|send")
    listen = words.add_parser(
        "listen",
        help="receive what somebody else forks",
        description="Open all ports of fork_ports, and run the processors on each call that is"
        " forked to a pair of them.",
    )
    listen.add_argument(
        "--processor",
        action="append",
        metavar="NAME",
        help="as in serve; a processor that plays gets an error, as a fork cannot send audio",
    )
    add_flags(listen, LOADER, _FLAGS)
    listen.set_defaults(run=_listen, api_key_file=None)
    send = words.add_parser("send", help="send a call's two tracks, as Telnyx forks them")
    _add_send(send)
    send.set_defaults(run=_send)


def _add_send(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rx", metavar="udp:IP:PORT", help="for the audio Telnyx receives")
    parser.add_argument("--tx", metavar="udp:IP:PORT", help="for the audio Telnyx sends")
    parser.add_argument(
        "--target", metavar="udp:IP:PORT", help="the old form: both, with STREP headers"
    )
    parser.add_argument(
        "--call-leg-id",
        metavar="UUID",
        default="11111111-2222-3333-4444-555555555555",
        help="in the STREP headers",
    )
    parser.add_argument("--codec", default="PCMU", metavar="NAME")
    parser.add_argument("--seconds", type=float, metavar="S", help="length (default: the audio)")
    parser.add_argument("--drop", type=float, default=0.0, metavar="P", help="probability")
    parser.add_argument("--reorder", type=int, default=0, metavar="N", help="within N packets")
    parser.add_argument("--jitter", type=float, default=0.0, metavar="MS", help="at most so late")
    parser.add_argument("--seed", type=int, default=0, metavar="N")


def _listen(args: argparse.Namespace) -> int:
    settings = settings_of(args, processors=args.processor, fork_ports=_ports(args))
    set_up_logging(settings)
    run_process(_receive(settings))
    return 0


def _ports(args: argparse.Namespace) -> str | None:
    """The flag; where nothing else says it either, a small range."""
    if args.fork_ports is None and settings_of(args).fork_ports is None:
        return DEFAULT_PORTS
    flag: str | None = args.fork_ports
    return flag


async def _receive(settings: Settings) -> None:
    async with ForkReceiver(settings) as receiver:
        for rx, tx in receiver.listen():
            print(f"rx udp:{settings.host}:{rx} tx udp:{settings.host}:{tx}", file=sys.stderr)
        print("mediaserver receives forks", file=sys.stderr, flush=True)
        await receiver.run()


def _send(args: argparse.Namespace) -> int:
    try:
        tracks = _tracks(args)
        plan = CallPlan(
            codec=args.codec.upper(),
            seconds=args.seconds,
            faults=Faults(drop=args.drop, reorder_window=args.reorder, jitter_s=args.jitter / 1000),
            seed=args.seed,
        )
        asyncio.run(send_tracks(plan, tracks))
    except (PlanError, CodecError, OSError, ValueError) as exc:
        print(f"mediaserver fork send: {exc}", file=sys.stderr)
        return 2
    return 0


def _tracks(args: argparse.Namespace) -> list[ForkedTrack]:
    if args.target is not None:
        if args.rx is not None or args.tx is not None:
            raise PlanError("--target is given alone, or --rx and --tx")
        leg_id = args.call_leg_id
        return [
            ForkedTrack("inbound", args.target, leg_id),
            ForkedTrack("outbound", args.target, leg_id),
        ]
    if args.rx is None or args.tx is None:
        raise PlanError("--rx and --tx are given together, or --target alone")
    return [ForkedTrack("inbound", args.rx), ForkedTrack("outbound", args.tx)]
