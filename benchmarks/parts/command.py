"""What the scripts' command lines share: flags, how a report opens, how a run ends."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

LOAD = ("calls", "seconds", "warmup", "tick_ms")
CPUINFO = Path("/proc/cpuinfo")

Report = dict[str, Any]


class Failed(Exception):
    """The run is void: a server did not come up, or a reply was wrong; the text says why."""


class Script(NamedTuple):
    """A script that reports figures as tables or as JSON, and can judge them."""

    name: str
    doc: str
    measure: Callable[[argparse.Namespace], Report]
    """Returns the report as JSON-ready data; raises Failed."""
    show: Callable[[Report], None]
    """Prints the tables."""
    verdict: Callable[[Report], list[str]]
    """What ``--check`` finds wrong, a line each."""


class _Smallest(argparse.Action):
    """Sets every option that makes a run large; a flag that follows still counts."""

    def __call__(self, parser: object, namespace: argparse.Namespace, *_: object) -> None:
        """Do it."""
        vars(namespace).update(self.const)


def parser(doc: str, smallest: Mapping[str, Any]) -> argparse.ArgumentParser:
    """A parser whose help is ``doc``, with ``--smallest``.

    Args:
        doc: the script's docstring; says what the script does not show.
        smallest: the options' values for the shortest run that still does all of its work once.
    """
    made = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    text = "the shortest run: shows that the script works, and its figures mean nothing"
    made.add_argument("--smallest", action=_Smallest, nargs=0, const=smallest, help=text)
    return made


def add_load_flags(to: argparse.ArgumentParser) -> None:
    """Add what shapes the paced load: ``LOAD``."""
    to.add_argument("--calls", type=int, default=150)
    to.add_argument("--seconds", type=float, default=7.0, help="counted, of each run")
    to.add_argument("--warmup", type=float, default=1.5, help="seconds before, not counted")
    to.add_argument(
        "--tick-ms",
        type=float,
        default=0.0,
        help="the load's timer: frames due within a tick leave together, as with an event loop's"
        " millisecond timers; 0: each at its very own moment",
    )


def load_flags(args: argparse.Namespace) -> list[str]:
    """The flags of ``add_load_flags`` for another command line, with the same values."""
    return [f"--{name.replace('_', '-')}={getattr(args, name)}" for name in LOAD]


def add_report_flags(to: argparse.ArgumentParser, objection: str) -> None:
    """Add ``--json`` and ``--check``; ``objection`` says when ``--check`` finds fault."""
    to.add_argument("--json", action="store_true", help="the report as JSON on stdout")
    to.add_argument("--check", action="store_true", help=f"exit 1 if {objection}")


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    lines = CPUINFO.read_text().splitlines() if CPUINFO.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return {
        "cpu": next(models, platform.machine()),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
    }


def print_opening(doc: str) -> None:
    """Say what follows, what it does not show, and on which machine it is measured."""
    about = machine()
    print(f"{doc}\nmachine: {', '.join(f'{name} {about[name]}' for name in about)}", flush=True)


def run(script: Script, args: argparse.Namespace) -> int:
    """Measure, report and judge; 0, or 1 if the run is void or ``--check`` found fault."""
    if not args.json:
        print_opening(script.doc)
    try:
        report = script.measure(args)
    except Failed as failure:
        print(f"{script.name}: {failure}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps(report, indent=1))
    else:
        script.show(report)
    wrong = script.verdict(report) if args.check else []
    for line in wrong:
        print(f"{script.name}: {line}", file=sys.stderr)
    return 1 if wrong else 0
