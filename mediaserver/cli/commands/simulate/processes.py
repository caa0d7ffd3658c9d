"""Spreads the calls over processes: one process has time for about a hundred calls.

Each of the n processes makes every n-th call and returns complete reports, with every measured
time, so that the percentiles are computed over all chunks of all calls.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from mediaserver.carrier import CallPlan, CallReport, place_calls
from mediaserver.carrier import Progress as CallProgress
from mediaserver.carrier.call import SPACING_S

if sys.platform == "win32":
    from asyncio import run as run_loop
else:
    # A load client should leave the machine to the server: uvloop costs a quarter less.
    from uvloop import run as run_loop

CALLS_EACH = 50
"""With more calls, another process is worth its memory."""
READY_WITHIN_S = 60.0
_TELL_EVERY_S = 0.25

Tell = Callable[[float], None]
"""Told how many seconds of media all calls have sent."""


class LostProcessError(OSError):
    """A process of the load client ended before its calls did."""


def default_processes(n_calls: int) -> int:
    """Return how many processes so many calls are spread over: as many as there are cores."""
    return max(1, min(-(-n_calls // CALLS_EACH), os.cpu_count() or 1))


def hold(
    url: str, plans: Sequence[CallPlan], n_processes: int, *, audio: bool, tell: Tell
) -> list[CallReport]:
    """Hold the calls at once and return how each went, in the order of the plans.

    Args:
        url: where all of them go.
        plans: one per call.
        n_processes: 1: the calls are held in this process.
        audio: what was heard is wanted too.
        tell: told now and then.

    Raises:
        CodecError, PlanError: a plan cannot be carried out.
        LostProcessError: a process was killed.
    """
    n_processes = min(n_processes, len(plans))
    if n_processes == 1:
        return _held(url, plans, tell)
    children: list[tuple[BaseProcess, Connection]] = []
    try:
        for number in range(n_processes):
            share = (url, plans[number::n_processes], number, n_processes, audio)
            children.append(_started(share))
        lines = [line for _, line in children]
        for line in lines:
            _expect(line, READY_WITHIN_S)
        # All begin together, so that the calls of different processes do not coincide.
        for line in lines:
            line.send(time.monotonic())
        parts = _gather(lines, tell)
    finally:
        for process, line in children:
            line.close()
            process.terminate()
            process.join()
    in_order: dict[int, CallReport] = {}
    for number, part in enumerate(parts):
        in_order |= dict(zip(range(number, len(plans), n_processes), part, strict=True))
    return [in_order[number] for number in range(len(plans))]


Share = tuple[str, Sequence[CallPlan], int, int, bool]
"""Of one process: URL, plans, which one it is of how many, whether audio is wanted."""


def _started(share: Share) -> tuple[BaseProcess, Connection]:
    # Not forked: a copy of this process would have its progress bar and its event loop.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_child, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    ours.send(share)
    return process, ours


def _expect(line: Connection, within_s: float) -> object:
    if not line.poll(within_s):
        raise LostProcessError(f"a process of the calls did not start within {within_s:g} s")
    return _received(line)


def _received(line: Connection) -> object:
    try:
        message: object = line.recv()
    except (EOFError, OSError) as error:
        raise LostProcessError("a process of the calls was killed") from error
    if isinstance(message, Exception):
        raise message
    return message


def _gather(lines: Sequence[Connection], tell: Tell) -> list[list[CallReport]]:
    """Return the reports of each process, in the order of ``lines``."""
    parts: dict[Connection, list[CallReport]] = {}
    sent_s = dict.fromkeys(lines, 0.0)
    while len(parts) < len(lines):
        for line in wait([line for line in lines if line not in parts]):
            assert isinstance(line, Connection)
            message = _received(line)
            if isinstance(message, float):
                sent_s[line] = message
                tell(sum(sent_s.values()))
            else:
                assert isinstance(message, list)
                parts[line] = message
    return [parts[line] for line in lines]


def _child(line: Connection) -> None:
    """Hold one process's share of the calls."""
    with suppress(KeyboardInterrupt, EOFError, OSError):  # the parent has gone, or both end
        url, plans, number, n_processes, audio = line.recv()
        line.send("ready")
        began_s = line.recv()
        told_s = 0.0

        def tell(sent_s: float) -> None:
            nonlocal told_s
            if time.monotonic() - told_s >= _TELL_EVERY_S:
                told_s = time.monotonic()
                line.send(sent_s)

        first_s = began_s - time.monotonic() + number * SPACING_S
        try:
            reports = _held(url, plans, tell, first_s, n_processes * SPACING_S)
        except Exception as error:  # the parent says what is wrong
            line.send(error)
        else:
            line.send(reports if audio else [report.without_audio() for report in reports])


def _held(
    url: str,
    plans: Sequence[CallPlan],
    tell: Tell,
    first_s: float = 0.0,
    spacing_s: float = SPACING_S,
) -> list[CallReport]:
    sent_s = [0.0] * len(plans)

    def note(number: int, progress: CallProgress) -> None:
        sent_s[number] = progress.sent_s
        tell(sum(sent_s))

    calls = place_calls(url, plans, first_s=first_s, spacing_s=spacing_s, on_progress=note)
    return run_loop(calls)
