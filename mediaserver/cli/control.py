"""``mediaserver control``: commands to Telnyx from the shell."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any, get_args

from mediaserver.cli.options import KEY_VARIABLE, add_flags, add_key_file, settings_of
from mediaserver.control import RetryPolicy
from mediaserver.control.client import client_from
from mediaserver.control.errors import ApiError, ControlError, InvalidFieldError
from mediaserver.control.rest import fields as allowed
from mediaserver.errors import ConfigurationError
from mediaserver.settings import LOADER

_Parser = argparse.ArgumentParser
_SETTINGS = ("api_base_url", "public_url", "auth_token", "allow_insecure")
_OWN = {
    "command",
    "action",
    "run",
    "json",
    "call",
    "config",
    "api_key_file",
    "deadline",
    "set_by_flags",
}
_NOT_FIELDS = {*_OWN, *_SETTINGS}


def _choice(parser: _Parser, flag: str, literal: Any, text: str) -> None:
    values = get_args(literal)
    parser.add_argument(flag, choices=values, type=type(values[0]), help=text)


def _stream(parser: _Parser) -> None:
    parser.add_argument("--stream-url", help="default: our server, from --public-url")
    _choice(parser, "--stream-track", allowed.StreamTrack, "what Telnyx sends")
    _choice(parser, "--stream-codec", allowed.StreamCodec, "in which codec")
    _choice(parser, "--stream-bidirectional-mode", allowed.BidirectionalMode, "default: rtp")
    _choice(parser, "--stream-bidirectional-codec", allowed.BidirectionalCodec, "default: PCMU")
    _choice(parser, "--stream-bidirectional-target-legs", allowed.TargetLegs, "default: self")
    parser.add_argument("--processor", help="which of the server's processors")
    parser.add_argument(
        "--param", dest="processor_parameters", action="append", metavar="NAME=VALUE",
        help="a parameter of the processor",
    )  # fmt: skip


def _rated(parser: _Parser) -> None:
    _stream(parser)
    _choice(parser, "--stream-bidirectional-sampling-rate", allowed.BidirectionalRate, "by codec")
    parser.add_argument("--stream-auth-token", help="default: made from the auth token")


def _streaming_start(parser: _Parser) -> None:
    _rated(parser)
    parser.add_argument(
        "--custom", dest="custom_parameters", action="append", metavar="NAME=VALUE",
        help="a custom parameter of the stream",
    )  # fmt: skip


def _streaming_stop(parser: _Parser) -> None:
    parser.add_argument("--stream-id", help="default: all streams of the call")


def _dial(parser: _Parser) -> None:
    parser.add_argument("--connection-id", required=True)
    parser.add_argument("--from", dest="from_", required=True)
    parser.add_argument("--to", required=True)
    parser.add_argument("--webhook-url", help="default: our server, from --public-url")
    parser.add_argument("--stream", action="store_true", help="with a stream to our server")
    _rated(parser)


def _answer(parser: _Parser) -> None:
    parser.add_argument("--stream", action="store_true", help="with a stream to our server")
    _stream(parser)


def _fork_start(parser: _Parser) -> None:
    for flag in ("--rx", "--tx", "--target"):
        parser.add_argument(flag, metavar="udp:IP:PORT")


def _fork_stop(parser: _Parser) -> None:
    parser.add_argument(
        "--stream-type", choices=get_args(allowed.ForkStreamType), default="decrypted"
    )


def _transcription_start(parser: _Parser) -> None:
    _choice(parser, "--transcription-engine", allowed.TranscriptionEngine, "who listens")
    _choice(parser, "--transcription-tracks", allowed.TranscriptionTracks, "to whom")
    parser.add_argument("--transcription-engine-config", metavar="JSON", help="an object")


def _nothing(parser: _Parser) -> None:
    del parser


_ACTIONS: Mapping[str, tuple[str, str, Callable[[_Parser], None]]] = {
    "streaming-start": ("start_streaming", "stream the call to a server", _streaming_start),
    "streaming-stop": (
        "stop_streaming",
        "stop its stream",
        _streaming_stop,
    ),
    "fork-start": ("start_forking", "copy its RTP to UDP", _fork_start),
    "fork-stop": ("stop_forking", "stop the copy", _fork_stop),
    "transcription-start": ("start_transcription", "transcribe it", _transcription_start),
    "transcription-stop": ("stop_transcription", "stop that", _nothing),
    "dial": ("dial", "call somebody", _dial),
    "answer": ("answer", "answer an incoming call", _answer),
    "hangup": ("hangup", "end the call", _nothing),
}


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser("control", help="command calls at Telnyx")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, (_, text, add_fields) in _ACTIONS.items():
        action = actions.add_parser(name, help=text, description=text)
        if name != "dial":
            action.add_argument("call", metavar="CALL", help="the call_control_id")
        add_fields(action)
        _add_settings(action)
    parser.set_defaults(run=run)


def _add_settings(parser: _Parser) -> None:
    parser.add_argument("--client-state", help="comes back with every webhook")
    parser.add_argument("--command-id", help="default: made up")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_key_file(parser)
    add_flags(parser, LOADER, _SETTINGS)
    parser.add_argument("--deadline", type=float, default=30.0, metavar="S", help="default: 30")


def run(args: argparse.Namespace) -> int:
    """Carry out one command; 0 done, 1 Telnyx or the network said no, 2 wrong input."""
    if args.deadline <= 0:
        raise ConfigurationError("--deadline must be more than 0 seconds")
    options = _options(args)
    try:
        result = asyncio.run(_command(args, options))
    except InvalidFieldError as error:
        raise ConfigurationError(str(error)) from error
    except ControlError as error:
        _print_error(error, as_json=args.json)
        return 1
    _print_result(dataclasses.asdict(result), as_json=args.json)
    return 0


async def _command(args: argparse.Namespace, options: dict[str, Any]) -> Any:
    method = _ACTIONS[args.action][0]
    client = client_from(settings_of(args), RetryPolicy(deadline_s=args.deadline))
    if client is None:
        raise ConfigurationError(f"no API key: set {KEY_VARIABLE} or give --api-key-file")
    async with client:
        if method == "dial":
            return await client.calls.dial(**options)
        return await getattr(client.calls.actions, method)(args.call, **options)


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """The fields that were given, as the client takes them."""
    options = {
        name: value
        for name, value in vars(args).items()
        if name not in _NOT_FIELDS and value not in (None, False)
    }
    for name in ("processor_parameters", "custom_parameters"):
        if name in options:
            options[name] = dict(_pair(text) for text in options[name])
    config = options.get("transcription_engine_config")
    if config is not None:
        options["transcription_engine_config"] = _json(config)
    return options


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigurationError(f"{text!r} is not of the form NAME=VALUE")
    return name, value


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigurationError("--transcription-engine-config is not JSON") from error


def _print_result(result: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name}: {value}")


def _print_error(error: ControlError, *, as_json: bool) -> None:
    if as_json:
        told: dict[str, Any] = {"error": type(error).__name__, "message": str(error)}
        if isinstance(error, ApiError):
            told |= {
                "status": error.status,
                "code": error.code,
                "title": error.title,
                "detail": error.detail,
                "pointer": error.pointer,
                "request_id": error.request_id,
            }
        print(json.dumps(told))
    print(f"mediaserver: {error}", file=sys.stderr)
