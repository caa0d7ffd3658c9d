"""The command: find the knee, report, and say by the exit code whether there is a verdict."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from mediaserver.errors import ConfigurationError
from mediaserver.settings import LOADER

if TYPE_CHECKING:
    from mediaserver.bench.capacity import Event, Tell
    from mediaserver.bench.figures import Load, Report
    from mediaserver.bench.own_server import Watched

_TOKEN_VARIABLE = LOADER.variable("auth_token")
_RUNGS = 12
"""As many as there usually are."""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "bench",
        help="find out how many calls a server carries",
        description="Hold more and more calls until they are no longer served well. What comes"
        " back is compared with what was sent, so the server must be an echo. Exit code 3: the"
        " generator was the limit. Needs Linux, and the extra: pip install 'mediaserver[bench]'.",
    )
    parser.add_argument(
        "--url", help="ws:// or wss:// address of an echo; without it, a server is started here"
    )
    _add_load(parser)
    parser.add_argument(
        "--processes", type=int, metavar="N", help="generator processes (cores less one, at most 4)"
    )
    parser.add_argument(
        "--pid", type=int, metavar="N", help="with --url: whose CPU and memory are counted"
    )
    parser.add_argument(
        "--token", metavar="T", help=f"the server's auth_token; default: ${_TOKEN_VARIABLE}"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with plots")
    parser.add_argument(
        "serve_flags",
        nargs="*",
        metavar="-- FLAG",
        help="flags of serve for the server that is started, such as -- --workers 2",
    )
    parser.set_defaults(run=run)


def _add_load(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--max-calls", type=int, default=400, metavar="N", help="most calls (400)")
    parser.add_argument(
        "--calls", type=int, metavar="N", help="hold just N calls: are they served well?"
    )
    parser.add_argument(
        "--seconds", type=float, default=5.0, metavar="S", help="how long each rung counts (5)"
    )
    parser.add_argument(
        "--warmup", type=float, default=1.0, metavar="S", help="before that, not counted (1)"
    )
    parser.add_argument(
        "--codec",
        default="PCMU",
        metavar="NAMES",
        help="as PCMU, or a mix such as PCMU,PCMU,OPUS: the calls take them by turns; A>B: A from"
        " the caller, B back (PCMU)",
    )
    parser.add_argument(
        "--frames",
        choices=("spread", "bunches"),
        default="spread",
        help="each frame leaves at its own moment, or those of a millisecond leave together"
        " (spread)",
    )
    parser.add_argument(
        "--arrivals",
        choices=("ramp", "poisson"),
        default="ramp",
        help="calls begin at even intervals, or at random times (ramp)",
    )
    parser.add_argument(
        "--rate", type=float, default=200.0, metavar="N", help="calls that begin a second (200)"
    )


def run(args: argparse.Namespace) -> int:
    """Measure and report.

    0: there is a knee, 1: nothing could be measured, or ``--calls`` are too many, 2: wrong flags,
    3: the generator was the limit.
    """
    _need_the_extra()
    from mediaserver.bench import capacity
    from mediaserver.bench.figures import BenchError
    from mediaserver.bench.fleet import default_processes
    from mediaserver.bench.ramp import Ramp, Single

    load = _load_of(args)
    if args.html is not None:
        with _writable(args.html):
            args.html.open("ab").close()  # better now than after the run
    n_processes = default_processes() if args.processes is None else args.processes
    try:
        with _server(args) as server, _progress(quiet=args.json) as tell:
            climb = Ramp(args.max_calls) if args.calls is None else Single(args.calls)
            report = capacity.find(server, _at(load, server.url), climb, n_processes, tell)
    except BenchError as error:
        print(f"mediaserver bench: {error}", file=sys.stderr)
        return 1
    _show(report, args)
    if report.knee.limit == "generator":
        return 3
    return 1 if args.calls is not None and not report.knee.n_calls else 0


def _need_the_extra() -> None:
    if sys.platform != "linux":
        raise ConfigurationError("mediaserver bench needs Linux: its timers and /proc")
    if importlib.util.find_spec("hdrh") is None:
        raise ConfigurationError(
            "mediaserver bench needs hdrhistogram: pip install 'mediaserver[bench]'"
        )


def _load_of(args: argparse.Namespace) -> Load:
    """What the flags ask for; the URL may be filled in later."""
    from mediaserver.bench.figures import Load
    from mediaserver.bench.load.calls import address_of
    from mediaserver.bench.load.voices import voice
    from telephony_codecs import CodecError

    for name in ("max_calls", "calls", "processes"):
        value = getattr(args, name)
        if value is not None and not 1 <= value <= 100_000:
            raise ConfigurationError(f"--{name.replace('_', '-')} must be from 1 to 100000")
    if not (0.2 <= args.seconds <= 86_400 and 0 <= args.warmup <= 3600 and 0.1 <= args.rate <= 1e5):
        raise ConfigurationError(
            "--seconds is from 0.2 to 86400, --warmup from 0 to 3600, --rate from 0.1 to 100000"
        )
    if args.url is None and args.pid is not None:
        raise ConfigurationError("--pid is for a server of --url")
    if args.url is not None and args.serve_flags:
        raise ConfigurationError("flags of serve are for a server started here, not for --url")
    mix = tuple(name.strip().upper() for name in args.codec.split(","))
    try:
        for name in mix:
            voice(name)
        if args.url is not None:
            address_of(args.url)
    except (CodecError, ValueError) as error:
        raise ConfigurationError(str(error)) from error
    return Load(
        url=args.url or "",
        mix=mix,
        frames=args.frames,
        arrivals=args.arrivals,
        rate=args.rate,
        warmup_s=args.warmup,
        seconds=args.seconds,
        token=args.token or os.environ.get(_TOKEN_VARIABLE) or None,
    )


def _at(load: Load, url: str) -> Load:
    import msgspec

    return msgspec.structs.replace(load, url=url)


@contextlib.contextmanager
def _server(args: argparse.Namespace) -> Iterator[Watched]:
    from mediaserver.bench.own_server import Watched, own_server

    if args.url is not None:
        if args.pid is not None and not Path(f"/proc/{args.pid}").exists():
            raise ConfigurationError(f"--pid {args.pid}: there is no such process")
        yield Watched(args.url, args.url, () if args.pid is None else (args.pid,))
        return
    with own_server(args.serve_flags, args.calls or args.max_calls) as server:
        yield server


@contextlib.contextmanager
def _progress(*, quiet: bool) -> Iterator[Tell]:
    """A bar on stderr: rungs, and how many calls are held now."""
    console = Console(stderr=True, quiet=quiet)
    columns = (TextColumn("{task.description:>12}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("begins", total=_RUNGS)

        def tell(event: Event) -> None:
            number = min(event.number, _RUNGS - 1)
            done = number + (event.rung is not None)
            bar.update(task, completed=done, description=f"{event.n_calls} calls")

        yield tell


def _show(report: Report, args: argparse.Namespace) -> None:
    import msgspec

    from mediaserver.bench.report import page, text

    if args.html is not None:
        with _writable(args.html):
            args.html.write_text(page.page(report), encoding="utf-8")
    if args.json:
        print(msgspec.json.format(msgspec.json.encode(report)).decode())
        return
    for line in text.lines(report):
        print(line)
    if args.html is not None:
        print(f"page: {args.html}")


@contextlib.contextmanager
def _writable(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigurationError(f"--html {file} cannot be written: {error.strerror}") from error
