"""``mediaserver demo``: the whole story on loopback: six codecs, then commands and webhooks."""

from __future__ import annotations

import argparse
import asyncio
import logging
import time
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from mediaserver.app import MediaServer, loop_factory
from mediaserver.carrier import Audio, CallPlan, CallReport, PlanError, Summary, check, place_calls
from mediaserver.carrier import Progress as CallProgress
from mediaserver.carrier.report import COLUMNS, rows
from mediaserver.cli.commands.simulate.show import summary_line
from mediaserver.cli.commands.story import stage
from mediaserver.errors import ConfigurationError, MediaServerError
from mediaserver.settings import ProcessorSetting, Settings
from telephony_codecs import CodecError, CodecUnavailableError, codec, open_audio

# Codec and rate of each call: what goes out comes back in the same.
CALLS = (
    ("PCMU", 8000),
    ("PCMA", 8000),
    ("L16", 16000),
    ("G722", 16000),
    ("OPUS", 16000),
    ("AMR-WB", 16000),
)


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "demo", help="fake Telnyx and server on loopback, real speech, a report"
    )
    parser.add_argument("--audio", type=Path, metavar="FILE", help="what the callers say")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the calls (10)")
    parser.add_argument(
        "--recordings", type=Path, default=Path("recordings"), metavar="DIR", help="where they go"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Hold the calls, show a table; 0 if every call was fine."""
    if not 1 <= args.seconds <= 600:
        raise ConfigurationError("--seconds must be from 1 to 600")
    missing = [name for name, _ in CALLS if not _works(name)]
    try:
        audio = None if args.audio is None else Audio(*open_audio(args.audio))
        plans = [_plan(n, rate, audio, args.seconds) for n, rate in CALLS if n not in missing]
    except (CodecError, PlanError, OSError) as exc:
        raise ConfigurationError(str(exc)) from exc
    logging.basicConfig(level=logging.WARNING)
    directory = args.recordings / time.strftime("demo-%Y%m%d-%H%M%S")
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        reports = runner.run(_demo(plans, directory))
        code = _report(reports, directory)
        told = runner.run(_story())
    return code if told else 1


def _works(name: str) -> bool:
    """Whether a call in the codec can be held here; if not, say why and what to do."""
    try:
        codec(name).decoder()
        if name != "AMR-WB":  # its callers speak from stored frames, and may be answered in G722
            codec(name).encoder()
    except CodecUnavailableError as exc:
        Console().print(f"without {exc}", markup=False, soft_wrap=True)
        return False
    return True


def _plan(name: str, rate_hz: int, audio: Audio | None, seconds: float) -> CallPlan:
    plan = CallPlan(
        codec=name,
        rate_hz=rate_hz,
        audio=None if name == "AMR-WB" else audio,
        seconds=seconds,
        dtmf=((seconds / 2, "5"),),
        call_control_id=f"demo-{name}",
    )
    check(plan)
    return plan


async def _demo(plans: Sequence[CallPlan], directory: Path) -> list[CallReport]:
    """Server and callers in one loop, on a free port of loopback."""
    record = ProcessorSetting("record", {"directory": directory})
    # Live audio may be late here: a busy machine's stall shall not look like a loss.
    chain = (record, ProcessorSetting("echo"))
    settings = Settings(port=0, processors=chain, backlog_ms=30_000, catch_up=False)
    console = Console(stderr=True)
    async with MediaServer(settings) as server:
        console.print(f"server on {server.url}: every call is recorded and echoed")
        columns = (TextColumn("{task.description:8}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            tasks = [bar.add_task(plan.codec, total=plan.seconds) for plan in plans]

            def tell(number: int, progress: CallProgress) -> None:
                bar.update(tasks[number], completed=progress.sent_s)

            return await place_calls(server.url, plans, on_progress=tell)


async def _story() -> bool:
    """The control half; False if a step of it failed."""
    console = Console()
    console.print("\nthe same under control: commands →, webhooks ←")
    async with stage((ProcessorSetting("echo"),)) as story:
        try:
            await story.tell()
        except (TimeoutError, MediaServerError) as exc:
            console.print(f"failed: {exc or 'a webhook did not come'}", markup=False)
            return False
    console.print("every command was carried out, every event came once and was verified")
    return True


def _report(reports: Sequence[CallReport], directory: Path) -> int:
    console = Console()
    table = Table(*COLUMNS, box=SIMPLE, padding=(0, 1, 0, 0))
    for row in rows(reports, expect_echo=True):
        table.add_row(*row)
    console.print(table)
    summary = Summary.of(reports, expect_echo=True)
    console.print(summary_line(summary))
    for problem, times in summary.problems.items():
        console.print(f"{times} × {problem}", markup=False)
    console.print(f"recordings: {directory}/", markup=False)
    for path in sorted(directory.glob("*.wav")):
        console.print(f"  {path.name}  {path.stat().st_size // 1024} KiB", markup=False)
    return 1 if summary.failed else 0
