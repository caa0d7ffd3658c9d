"""``mediaserver reload``."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import sys
from pathlib import Path

from mediaserver.app import outcome_address
from mediaserver.errors import ConfigurationError

LOOK_EVERY_S = 0.5


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "reload", help="have a new process, with new code and settings, take over from a server"
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--pid", type=int, help="the server's process")
    which.add_argument("--pid-file", type=Path, metavar="FILE", help="as of `serve --pid-file`")
    parser.add_argument(
        "--within",
        type=float,
        default=310.0,
        metavar="SECONDS",
        help="how long to wait for the outcome (default: 310)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Ask for a reload, and say what came of it; exit code 1: the old process serves on."""
    pid = args.pid if args.pid is not None else _pid_of(args.pid_file)
    address = outcome_address(pid)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as answers:
        try:
            answers.bind(address)
        except OSError as exc:
            raise ConfigurationError(f"another `reload` of process {pid} is running") from exc
        try:
            outcome = _outcome(pid, answers, args.within)
        finally:
            if not address.startswith("\0"):
                with contextlib.suppress(OSError):
                    os.unlink(address)
    if outcome.startswith("ok "):
        print(f"process {outcome[3:]} serves; process {pid} goes on until its calls are over")
        return 0
    print(f"mediaserver: reload failed: {outcome}", file=sys.stderr)
    return 1


def _pid_of(file: Path) -> int:
    try:
        return int(file.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as exc:
        raise ConfigurationError(f"--pid-file {file} names no process") from exc


def _outcome(pid: int, answers: socket.socket, within_s: float) -> str:
    """What the process says; or why it says nothing."""
    _signal(pid, signal.SIGHUP)
    answers.settimeout(LOOK_EVERY_S)
    for _ in range(max(1, int(within_s / LOOK_EVERY_S))):
        with contextlib.suppress(TimeoutError):
            return answers.recv(65536).decode()
        _signal(pid, 0)
    return f"process {pid} did not report the outcome within {within_s:g} s"


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except OSError as exc:
        raise ConfigurationError(f"process {pid}: {exc.strerror}") from exc
