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
from mediaserver.control.rest.engines import ENGINES
from mediaserver.errors import ConfigurationError
from mediaserver.logs import shown
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


def _whole_or_text(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


class _JsonText(str):
    """The JSON text of a flag; it is parsed after all other flags have been read."""


_KINDS: Mapping[str, dict[str, Any]] = {
    "text": {},
    "flag": {"action": "store_true"},
    "whole": {"type": int, "metavar": "N"},
    "whole or text": {"type": _whole_or_text},
    "json": {"type": _JsonText, "metavar": "JSON"},
}


def _others(action: str) -> Callable[[_Parser], None]:
    """Adds a flag for every field of a command that has none yet, by its table."""

    def add(parser: _Parser) -> None:
        known = {option for flag in parser._actions for option in flag.option_strings}
        required = allowed.required_of(action)
        for name, rule in allowed.COMMANDS[action].items():
            flag = f"--{name.replace('_', '-')}"
            if flag in known or name in ("client_state", "command_id", "call_control_id"):
                continue
            how = dict(_KINDS[rule.kind])
            if rule.choices and rule.kind == "text":
                how["choices"] = rule.choices
            if name == "from":
                how["dest"] = "from_"
            parser.add_argument(flag, required=name in required, **how)

    return add


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
    parser.add_argument("--to", required=True, action="append", help="may be given several times")
    parser.add_argument("--webhook-url", help="default: our server, from --public-url")
    parser.add_argument("--stream", action="store_true", help="with a stream to our server")
    _rated(parser)
    _others("dial")(parser)


def _answer(parser: _Parser) -> None:
    parser.add_argument("--stream", action="store_true", help="with a stream to our server")
    _stream(parser)
    _others("answer")(parser)


def _fork_start(parser: _Parser) -> None:
    for flag in ("--rx", "--tx", "--target"):
        parser.add_argument(flag, metavar="udp:IP:PORT")


def _fork_stop(parser: _Parser) -> None:
    parser.add_argument(
        "--stream-type", choices=get_args(allowed.ForkStreamType), default="decrypted"
    )


def _transcription_start(parser: _Parser) -> None:
    engines = ", ".join(ENGINES)
    parser.add_argument("--transcription-engine", metavar="NAME", help=f"one of {engines}, or new")
    _choice(parser, "--transcription-tracks", allowed.TranscriptionTracks, "to whom")
    parser.add_argument(
        "--transcription-engine-config", type=_JsonText, metavar="JSON", help="an object"
    )


def _nothing(parser: _Parser) -> None:
    del parser


def _bridge(parser: _Parser) -> None:
    parser.add_argument("call_control_id_to_bridge_with", metavar="OTHER", help="the other call")
    _others("bridge")(parser)


def _command(parser: _Parser) -> None:
    parser.add_argument("name", metavar="NAME", help="the action, as Telnyx's path spells it")
    parser.add_argument("--body", type=_JsonText, default="{}", metavar="JSON", help="its fields")


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
    "hangup": ("hangup", "end the call", _others("hangup")),
    "speak": ("speak", "speak a text", _others("speak")),
    "playback-start": ("start_playback", "play a file", _others("playback_start")),
    "playback-stop": ("stop_playback", "stop that", _others("playback_stop")),
    "record-start": ("start_recording", "record it", _others("record_start")),
    "record-stop": ("stop_recording", "stop that", _others("record_stop")),
    "record-pause": ("pause_recording", "leave out what follows", _others("record_pause")),
    "record-resume": ("resume_recording", "record again", _others("record_resume")),
    "send-dtmf": ("send_dtmf", "press keys", _others("send_dtmf")),
    "transfer": ("transfer", "dial somebody and join the call with them", _others("transfer")),
    "bridge": ("bridge", "join it with another call", _bridge),
    "gather-using-speak": (
        "gather_using_speak",
        "speak a text and collect keys",
        _others("gather_using_speak"),
    ),
    "suppression-start": (
        "start_noise_suppression",
        "suppress noise",
        _others("suppression_start"),
    ),
    "suppression-stop": ("stop_noise_suppression", "stop that", _nothing),
    "command": ("command", "any other action", _command),
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
    if parser.get_default("body") is None:
        parser.add_argument("--extra", type=_JsonText, metavar="JSON", help="fields without a flag")
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
        result = asyncio.run(_carry_out(args, options))
    except InvalidFieldError as error:
        raise ConfigurationError(str(error)) from error
    except ControlError as error:
        _print_error(error, as_json=args.json)
        return 1
    _print_result(dataclasses.asdict(result), as_json=args.json)
    return 0


async def _carry_out(args: argparse.Namespace, options: dict[str, Any]) -> Any:
    method = _ACTIONS[args.action][0]
    client = client_from(settings_of(args), RetryPolicy(deadline_s=args.deadline))
    if client is None:
        raise ConfigurationError(f"no API key: set {KEY_VARIABLE} or give --api-key-file")
    async with client:
        if method == "dial":
            return await client.calls.dial(**options)
        if method == "command":
            return await client.calls.actions.command(args.call, args.name, **_body(options))
        return await getattr(client.calls.actions, method)(args.call, **options)


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """The fields that were given, as the client takes them."""
    options = {
        name: value
        for name, value in vars(args).items()
        if name not in _NOT_FIELDS and value not in (None, False)
    }
    for name, value in options.items():
        if name in ("processor_parameters", "custom_parameters"):
            options[name] = dict(_pair(text) for text in value)
        elif isinstance(value, _JsonText):
            options[name] = _read_json(name, value)
    if args.action == "dial" and len(args.to) == 1:
        options["to"] = args.to[0]
    return options


def _body(options: dict[str, Any]) -> dict[str, Any]:
    """The fields of an action that the client has no method for."""
    body = options.get("body", {})
    if not isinstance(body, dict):
        raise ConfigurationError("--body must be an object")
    return body | {
        name: options[name] for name in ("client_state", "command_id") if name in options
    }


def _read_json(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"--{name.replace('_', '-')} is not JSON") from error


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigurationError(f"{text!r} is not of the form NAME=VALUE")
    return name, value


def _print_result(result: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name}: {shown(value, 4000)}")


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
