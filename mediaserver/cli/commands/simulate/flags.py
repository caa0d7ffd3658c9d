"""The flags of ``mediaserver simulate``, and the plan that they describe."""

from __future__ import annotations

import argparse
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mediaserver.carrier import Audio, CallPlan, Faults, PlanError, speech
from mediaserver.carrier.plan import at_rate
from mediaserver.carrier.turns import KEY_SPACING_S, Kind, Turn
from telephony_codecs import Int16Array, codec, open_audio

# The server's own setting; what it has in a file is not looked for.
TOKEN_VARIABLE = "MEDIASERVER_AUTH_TOKEN"

GIVE_UP_S = 2.0
"""A call whose own caller is late by more is over, unless --max-late is more than that."""

WHEN = "WHEN is 2s, silence or mark:NAME"


class Moment(NamedTuple):
    """WHEN of ``--say`` and ``--press``; ``kind`` and the rest as in Turn."""

    kind: Kind
    at_s: float = 0.0
    mark: str = ""


class Wanted(NamedTuple):
    """One parsed ``--say`` or ``--press``.

    Attributes:
        flag: as it was written.
        moment: when it is said or pressed.
        file: the audio to say; None: the speech that comes with the package.
        keys: the keys to press; empty if something is said instead.
    """

    flag: str
    moment: Moment
    file: Path | None = None
    keys: str = ""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add all flags of the command."""
    parser.add_argument("--url", required=True, help="ws:// or wss:// address of the server")
    parser.add_argument("--calls", type=_count, default=1, metavar="N", help="calls at once")
    parser.add_argument(
        "--processes", type=_count, metavar="N",
        help="the calls are spread over so many (default: one per 50 calls, at most one per core)",
    )  # fmt: skip
    parser.add_argument(
        "--max-late", type=_ms, default=100.0, metavar="MS",
        help="exit code 3 if more than 1 %% of the messages are sent later than this: the machine "
        "is too slow",
    )  # fmt: skip
    parser.add_argument("--record", type=Path, metavar="DIR", help="write what came back as WAV")
    parser.add_argument(
        "--listen", type=Path, metavar="FILE.wav",
        help="write what the caller heard, from start to the end of the one call",
    )  # fmt: skip
    parser.add_argument(
        "--figures-only", action="store_true", help="keep no audio: for long or heavy loads"
    )
    parser.add_argument("--json", action="store_true", help="report as JSON")
    parser.add_argument(
        "--expect-echo", action="store_true", help="a call fails unless all of it comes back"
    )
    _add_formats(parser.add_argument_group("formats"))
    _add_turns(parser.add_argument_group("a bot that is no echo"))
    _add_script(parser.add_argument_group("script, times in seconds"))
    _add_faults(parser.add_argument_group("faults"))


def _add_formats(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--codec", default="PCMU", metavar="NAME", help="what the caller sends")
    group.add_argument("--rate", type=int, metavar="HZ", help="its rate")
    group.add_argument("--send-codec", metavar="NAME", help="what comes back (default: the same)")
    group.add_argument("--send-rate", type=int, metavar="HZ", help="its rate")
    group.add_argument("--mode", choices=("rtp", "mp3"), default="rtp", help="how it comes back")
    group.add_argument("--audio", type=Path, metavar="FILE", help="what the caller says")
    group.add_argument("--tracks", choices=("inbound", "outbound", "both"), default="inbound")
    group.add_argument("--chunk-ms", type=_count, default=20, metavar="MS")
    group.add_argument("--chunk-numbering", choices=("per_track", "shared"), default="per_track")
    group.add_argument(
        "--token", metavar="T", help=f"the stream's auth token; default: ${TOKEN_VARIABLE}"
    )
    group.add_argument(
        "--param", type=_parameter, action="append", default=[], metavar="NAME=VALUE",
        help="custom parameter; repeatable",
    )  # fmt: skip
    group.add_argument("--error-shape", choices=("payload", "error"), default="payload")


def _add_turns(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--say", type=_say, action="append", dest="turns", default=[], metavar="WHEN[:FILE]",
        help=f"say this once, else be silent; {WHEN}; without FILE: the shipped speech; repeatable",
    )  # fmt: skip
    group.add_argument(
        "--press", type=_press, action="append", dest="turns", metavar="WHEN:KEYS",
        help=f"press keys; {WHEN}; repeatable",
    )  # fmt: skip
    group.add_argument(
        "--quiet", type=_seconds, default=1.0, metavar="S",
        help="for WHEN silence: how long the bot must be quiet after it was heard",
    )  # fmt: skip
    group.add_argument(
        "--expect-hangup", action="store_true", help="a call fails unless the bot hangs up"
    )


def _add_script(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--seconds", type=_seconds, metavar="S",
        help="length (default: the audio; with a bot that is no echo: at most 30)",
    )  # fmt: skip
    group.add_argument("--hang-up-at", type=_seconds, metavar="S")
    group.add_argument("--reconnect-at", type=_seconds, metavar="S")
    group.add_argument("--reconnect-numbering", choices=("restart", "continue"), default="restart")
    group.add_argument("--linger", type=_seconds, default=0.5, metavar="S", help="wait for the end")


def _add_faults(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--reorder", type=int, default=0, metavar="N", help="within N chunks")
    group.add_argument("--duplicate", type=float, default=0.0, metavar="P", help="probability")
    group.add_argument("--drop", type=float, default=0.0, metavar="P", help="probability")
    group.add_argument("--jitter", type=float, default=0.0, metavar="MS", help="at most so late")
    group.add_argument("--stall", type=_stall, metavar="AT:FOR", help="seconds")
    group.add_argument("--abrupt-close-at", type=_seconds, metavar="S")
    group.add_argument("--seed", type=int, default=0, metavar="N")


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return int(text)


def _parameter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def _say(text: str) -> Wanted:
    moment, file = _moment(text, "WHEN or WHEN:FILE, as in 2s:hello.wav or silence:hello.wav")
    return Wanted(f"--say {text}", moment, Path(file) if file else None)


def _press(text: str) -> Wanted:
    moment, keys = _moment(text, "WHEN:KEYS, as in 2s:1 or silence:12#")
    if not re.fullmatch("[0-9*#A-D]+", keys):
        raise argparse.ArgumentTypeError(
            f"{text!r}: {keys!r} are not keys; a telephone has 0 to 9, *, # and A to D"
            if keys else f"{text!r} names no keys: it is WHEN:KEYS, as in 2s:1"
        )  # fmt: skip
    return Wanted(f"--press {text}", moment, keys=keys)


def _moment(text: str, form: str) -> tuple[Moment, str]:
    """Split WHEN from what follows its colon."""
    when, _, rest = text.partition(":")
    if when == "silence":
        return Moment("silence"), rest
    if when == "mark":
        name, _, rest = rest.partition(":")
        if not name:
            raise argparse.ArgumentTypeError(f"{text!r} names no mark: write mark:NAME")
        return Moment("mark", mark=name), rest
    if number := re.fullmatch(r"(\d+\.?\d*|\.\d+)s?", when):
        return Moment("time", at_s=float(number[1])), rest
    raise argparse.ArgumentTypeError(f"{text!r} is not {form}; {WHEN}, not {when!r}")


def _ms(text: str) -> float:
    return _seconds(text, "milliseconds")


def _stall(text: str) -> tuple[float, float]:
    at_s, _, for_s = text.partition(":")
    return _seconds(at_s), _seconds(for_s)


def _seconds(text: str, unit: str = "seconds") -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of {unit}")
    return seconds


def plan_of(args: argparse.Namespace) -> CallPlan:
    """Return the plan that the flags describe.

    Raises:
        CodecError: an unknown codec, a rate it does not have, an unreadable audio file.
        PlanError: values that no call can have.
    """
    codec_name, turns = args.codec.upper(), None
    if _is_for_a_bot(args):
        turns = _turns(args, codec(codec_name).audio_rate_hz(args.rate))
    audio = None if args.audio is None or turns is not None else Audio(*open_audio(args.audio))
    return CallPlan(
        codec=codec_name,
        turns=turns,
        quiet_s=args.quiet,
        expect_hangup=args.expect_hangup,
        give_up_s=max(GIVE_UP_S, args.max_late / 1000),
        rate_hz=args.rate,
        audio=audio,
        seconds=args.seconds,
        tracks=args.tracks,
        chunk_numbering=args.chunk_numbering,
        chunk_ms=args.chunk_ms,
        send_codec=args.send_codec and args.send_codec.upper(),
        send_rate_hz=args.send_rate,
        mode=args.mode,
        dtmf=() if turns is not None else _timed_keys(args.turns),
        hang_up_at_s=args.hang_up_at,
        linger_s=args.linger,
        reconnect_at_s=args.reconnect_at,
        reconnect_numbering=args.reconnect_numbering,
        custom_parameters=dict(args.param),
        token=args.token or os.environ.get(TOKEN_VARIABLE) or None,
        error_shape=args.error_shape,
        faults=_faults(args),
        seed=args.seed,
        keep="figures" if args.figures_only else "audio",
    )


def _faults(args: argparse.Namespace) -> Faults:
    return Faults(
        reorder_window=args.reorder,
        duplicate=args.duplicate,
        drop=args.drop,
        jitter_s=args.jitter / 1000,
        stall=args.stall,
        abrupt_close_at_s=args.abrupt_close_at,
    )


def _is_for_a_bot(args: argparse.Namespace) -> bool:
    """Whether the caller takes turns; keys at a time alone are pressed while the audio runs."""
    are_timed_keys = all(each.keys and each.moment.kind == "time" for each in args.turns)
    return args.expect_hangup or not are_timed_keys


def _timed_keys(wanted: Sequence[Wanted]) -> list[tuple[float, str]]:
    return [
        (each.moment.at_s + number * KEY_SPACING_S, key)
        for each in wanted
        for number, key in enumerate(each.keys)
    ]


def _turns(args: argparse.Namespace, rate_hz: int) -> list[Turn]:
    """Return the turns; ``--audio`` is one more, said once at the beginning."""
    if args.expect_echo:
        raise PlanError("--expect-echo is for an echo; --say and --expect-hangup are for others")
    wanted = list(args.turns)
    if args.audio is not None:
        wanted.insert(0, Wanted(f"--audio {args.audio}", Moment("time"), args.audio))
    return [
        Turn(
            each.flag,
            each.moment.kind,
            at_s=each.moment.at_s,
            mark=each.moment.mark,
            samples=None if each.keys else _clip(each.file, rate_hz),
            keys=each.keys,
        )
        for each in wanted
    ]


def _clip(file: Path | None, rate_hz: int) -> Int16Array:
    clip = speech() if file is None else Audio(*open_audio(file))
    samples = at_rate(clip, rate_hz)
    if not np.any(samples):
        raise PlanError(f"{file} holds no sound")
    return samples
