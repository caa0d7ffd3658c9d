"""The command: hold the calls, report, and say by the exit code how it went."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from mediaserver.carrier import CallPlan, CallReport, PlanError, Summary, check
from mediaserver.carrier.call import TOO_SLOW
from mediaserver.carrier.script import media_s, voices
from mediaserver.cli.commands.simulate import processes
from mediaserver.cli.commands.simulate.flags import add_flags, plan_of
from mediaserver.cli.commands.simulate.show import listen, record, show_json, show_table
from telephony_codecs import CodecError


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``simulate`` to the commands."""
    parser = commands.add_parser(
        "simulate",
        help="fake Telnyx calls against a server",
        description="Hold fake Telnyx calls with a media server and report what came back.",
    )
    parser.set_defaults(run=run)
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Hold the calls and report.

    0: all went well, 1: some did not, 2: wrong flags, 3: this machine was too slow to tell.
    """
    try:
        plan = plan_of(args)
        _check(args, plan)
        reports = _hold(args, plan)
        if args.record is not None:
            record(reports, args.record)
        if args.listen is not None:
            listen(reports[0], args.listen)
    except (CodecError, PlanError, OSError) as error:
        print(f"mediaserver simulate: {error}", file=sys.stderr)
        return 2
    summary = Summary.of(reports, expect_echo=args.expect_echo)
    verdict = too_slow(summary, args.max_late)
    show = show_json if args.json else show_table
    show(reports, summary, verdict, expect_echo=args.expect_echo)
    if verdict is not None:
        return 3
    return 1 if summary.failed else 0


def _check(args: argparse.Namespace, plan: CallPlan) -> None:
    """Do nothing if the flags go together."""
    if not args.url.startswith(("ws://", "wss://")):
        raise PlanError(f"--url must begin with ws:// or wss://, not {args.url!r}")
    for flag in ("record", "listen"):
        if args.figures_only and getattr(args, flag) is not None:
            raise PlanError(f"--{flag} needs the audio that --figures-only does not keep")
    if args.listen is not None and args.calls > 1:
        raise PlanError("--listen is for one call; --record DIR writes a file for each")
    check(plan)
    if args.record is not None:
        args.record.mkdir(parents=True, exist_ok=True)
    if args.listen is not None:
        args.listen.open("ab").close()  # better now than after the call


def _hold(args: argparse.Namespace, plan: CallPlan) -> Sequence[CallReport]:
    plans = [plan.again(plan.seed + number) for number in range(args.calls)]
    n_processes = args.processes or processes.default_processes(args.calls)
    console = Console(stderr=True, quiet=args.json)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        total_s = media_s(plan, voices(plan)) * args.calls
        task = bar.add_task(f"{args.calls} calls", total=total_s)
        return processes.hold(
            args.url,
            plans,
            n_processes,
            audio=args.record is not None or args.listen is not None,
            tell=lambda sent_s: bar.update(task, completed=sent_s),
        )


def too_slow(summary: Summary, max_late_ms: float) -> str | None:
    """Return the verdict if this machine was too slow for the calls; None: it was not."""
    late = summary.late_ms
    gave_up = summary.problems.get(TOO_SLOW, 0)
    if not gave_up and (late is None or late.p99 <= max_late_ms):
        return None
    said = f"sent late p99 {late.p99:.0f} ms, max {late.max:.0f} ms" if late else "nothing sent"
    if gave_up:
        said += f"; {gave_up} calls were given up"
    return (
        f"this machine was too slow: {said}; the figures say nothing of the server; "
        "place fewer calls, or use another machine"
    )
