"""``mediaserver simulate``: fake Telnyx calls against any server that speaks the protocol."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import wave
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from mediaserver.carrier import (
    Audio,
    CallPlan,
    CallReport,
    Faults,
    PlanError,
    Summary,
    check,
    place_calls,
)
from mediaserver.carrier import Progress as CallProgress
from mediaserver.carrier.report import COLUMNS, rows
from telephony_codecs import CodecError, open_audio

if sys.platform == "win32":
    from asyncio import run as run_loop
else:
    # A load client should leave the machine to the server: uvloop costs a quarter less.
    from uvloop import run as run_loop

# The server's own setting; what it has in a file is not looked for.
TOKEN_VARIABLE = "MEDIASERVER_AUTH_TOKEN"

# One row per call up to here; of more calls, only the failed ones.
MAX_ROWS = 20


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``simulate`` to the commands."""
    parser = commands.add_parser(
        "simulate",
        help="fake Telnyx calls against a server",
        description="Hold fake Telnyx calls with a media server and report what came back.",
    )
    parser.set_defaults(run=run)
    parser.add_argument("--url", required=True, help="ws:// or wss:// address of the server")
    parser.add_argument("--calls", type=_count, default=1, metavar="N", help="calls at once")
    parser.add_argument("--record", type=Path, metavar="DIR", help="write what was heard as WAV")
    parser.add_argument(
        "--figures-only", action="store_true", help="keep no audio: for long or heavy loads"
    )
    parser.add_argument("--json", action="store_true", help="report as JSON")
    parser.add_argument(
        "--expect-echo", action="store_true", help="a call fails unless all of it comes back"
    )
    _add_formats(parser.add_argument_group("formats"))
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


def _add_script(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--seconds", type=_seconds, metavar="S", help="length (default: the audio)")
    group.add_argument(
        "--dtmf", type=_key, action="append", default=[], metavar="AT:DIGIT", help="repeatable"
    )
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


def _key(text: str) -> tuple[float, str]:
    at_s, _, digit = text.partition(":")
    if len(digit) != 1 or digit not in "0123456789*#ABCD":
        raise argparse.ArgumentTypeError(f"{text!r} is not AT:DIGIT, as in 1.5:9")
    return _seconds(at_s), digit


def _stall(text: str) -> tuple[float, float]:
    at_s, _, for_s = text.partition(":")
    return _seconds(at_s), _seconds(for_s)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds


def plan_of(args: argparse.Namespace) -> CallPlan:
    """Return the plan that the flags describe.

    Raises:
        CodecError: an unknown codec, a rate it does not have, an unreadable audio file.
        PlanError: values that no call can have.
    """
    faults = Faults(
        reorder_window=args.reorder,
        duplicate=args.duplicate,
        drop=args.drop,
        jitter_s=args.jitter / 1000,
        stall=args.stall,
        abrupt_close_at_s=args.abrupt_close_at,
    )
    return CallPlan(
        codec=args.codec.upper(),
        rate_hz=args.rate,
        audio=None if args.audio is None else Audio(*open_audio(args.audio)),
        seconds=args.seconds,
        tracks=args.tracks,
        chunk_numbering=args.chunk_numbering,
        chunk_ms=args.chunk_ms,
        send_codec=args.send_codec and args.send_codec.upper(),
        send_rate_hz=args.send_rate,
        mode=args.mode,
        dtmf=args.dtmf,
        hang_up_at_s=args.hang_up_at,
        linger_s=args.linger,
        reconnect_at_s=args.reconnect_at,
        reconnect_numbering=args.reconnect_numbering,
        custom_parameters=dict(args.param),
        token=args.token or os.environ.get(TOKEN_VARIABLE) or None,
        error_shape=args.error_shape,
        faults=faults,
        seed=args.seed,
        keep="figures" if args.figures_only else "audio",
    )


def run(args: argparse.Namespace) -> int:
    """Hold the calls and report; 0: all went well, 1: some did not, 2: wrong flags."""
    try:
        plan = plan_of(args)
        if not args.url.startswith(("ws://", "wss://")):
            raise PlanError(f"--url must begin with ws:// or wss://, not {args.url!r}")
        if args.figures_only and args.record is not None:
            raise PlanError("--record needs the audio that --figures-only does not keep")
        check(plan)
        if args.record is not None:
            args.record.mkdir(parents=True, exist_ok=True)
        reports = run_loop(_place(args.url, plan, args.calls, quiet=args.json))
    except (CodecError, PlanError, OSError) as error:
        print(f"mediaserver simulate: {error}", file=sys.stderr)
        return 2
    if args.record is not None:
        record(reports, args.record)
    summary = Summary.of(reports, expect_echo=args.expect_echo)
    show = show_json if args.json else show_table
    show(reports, summary, expect_echo=args.expect_echo)
    return 1 if summary.failed else 0


async def _place(url: str, plan: CallPlan, n_calls: int, *, quiet: bool) -> list[CallReport]:
    plans = [plan.again(plan.seed + number) for number in range(n_calls)]
    console = Console(stderr=True, quiet=quiet)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(f"{n_calls} calls", total=None)
        sent_s = [0.0] * n_calls

        def tell(number: int, progress: CallProgress) -> None:
            sent_s[number] = progress.sent_s
            bar.update(task, completed=sum(sent_s), total=progress.total_s * n_calls)

        return await place_calls(url, plans, on_progress=tell)


def record(reports: Sequence[CallReport], folder: Path) -> None:
    """Write what each caller heard, gaps as silence, as ``call-N.wav``."""
    for number, report in enumerate(reports, 1):
        heard = report.heard
        if heard is not None and heard.runs:
            with wave.open(str(folder / f"call-{number}.wav"), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(heard.rate_hz)
                file.writeframes(heard.between(0, heard.end_s).astype("<i2").tobytes())


def show_json(reports: Sequence[CallReport], summary: Summary, *, expect_echo: bool) -> None:
    """Print summary and calls as one JSON object."""
    calls = [report.as_json(expect_echo=expect_echo) for report in reports]
    print(json.dumps({"summary": summary.as_json(), "calls": calls}, indent=2))


def show_table(reports: Sequence[CallReport], summary: Summary, *, expect_echo: bool) -> None:
    """Print a row per call, of very many calls only those that failed, and a summary."""
    table = Table(*COLUMNS, box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for row in rows(reports, expect_echo=expect_echo):
        if len(reports) <= MAX_ROWS or row[-1] != "ok":
            table.add_row(*row)
    console = Console()
    console.print(table)
    console.print(summary_line(summary))
    for problem, times in summary.problems.items():
        console.print(f"{times} × {problem}", markup=False)


def summary_line(summary: Summary) -> str:
    """Return the figures of all calls in one line."""
    parts = [
        f"{summary.calls} calls, {summary.failed} failed",
        f"sent {summary.sent}, returned {summary.returned}, lost {summary.lost}",
    ]
    if trip := summary.round_trip_ms:
        parts.append(f"round trip p50 {trip.p50:.1f}, p99 {trip.p99:.1f}, max {trip.max:.1f} ms")
    if late := summary.late_ms:
        parts.append(f"sent late p99 {late.p99:.1f} ms")
    return "; ".join(parts)
