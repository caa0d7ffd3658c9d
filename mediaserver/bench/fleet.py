"""The generator: its processes, one rung after the other, and what their parts come to."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import NamedTuple, Self

from mediaserver.bench.figures import BenchError, Load, Part, Ready, Share, Window
from mediaserver.bench.histogram import Times
from mediaserver.bench.load.generator import CONNECT_S, DRAIN_S, GOODBYE_S, run_generator

MOST_PROCESSES = 4
_SLACK_S = 30.0
"""A process that says nothing for so much longer than it needs has gone wrong."""


class GeneratorError(BenchError):
    """A process of the generator ended, or said nothing; the text says which it was."""


class Found(NamedTuple):
    """What the calls of one rung came to, over all processes."""

    n_up: int
    sent: int
    returned: int
    wrong: int
    refused: int
    problems: dict[str, int]
    round_trips: Times
    lateness: Times
    cpu_share: float


def default_processes() -> int:
    """One for each core but one, which is the server's; at most ``MOST_PROCESSES``."""
    return max(1, min(MOST_PROCESSES, (os.cpu_count() or 2) - 1))


class Fleet:
    """Processes that hold calls; to be entered.

    Args:
        n_processes: how many.
    """

    def __init__(self, n_processes: int) -> None:
        self._n = n_processes
        self._children: list[tuple[BaseProcess, Connection]] = []
        # Ids differ between runs against one server, too.
        self._numbers = itertools.count(random.randrange(1 << 30) * 100_000, 100_000)

    def __enter__(self) -> Self:
        # Not forked: a copy of this process would have all that it has open.
        context = multiprocessing.get_context("spawn")
        for _ in range(self._n):
            ours, theirs = context.Pipe()
            child = context.Process(target=run_generator, args=(theirs,), daemon=True)
            child.start()
            theirs.close()
            self._children.append((child, ours))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for child, line in self._children:
            line.close()
            child.terminate()
            child.join()

    def run(self, load: Load, n_calls: int, in_window: Callable[[Window], None]) -> Found:
        """Hold so many calls, and return what became of them.

        Args:
            load: how.
            n_calls: 1 at least.
            in_window: called before the window begins, with it; returns when it has ended.

        Raises:
            GeneratorError: a process is gone, or silent.
        """
        lines = [line for _, line in self._children][:n_calls]
        number, begin_s = next(self._numbers), time.monotonic() + 0.1
        for first, line in enumerate(lines):
            slots = tuple(range(first, n_calls, len(lines)))
            share = Share(
                load=load, slots=slots, n_calls=n_calls, first_number=number, begin_s=begin_s
            )
            self._tell(line, share)
        # By chance the last call comes later than on average.
        all_up_s = 3 * n_calls / load.rate + CONNECT_S + _SLACK_S
        ready = [self._answer(line, all_up_s) for line in lines]
        window_s = time.monotonic() + load.warmup_s
        window = Window(window_s, window_s + load.seconds)
        for line in lines:
            self._tell(line, window)
        in_window(window)
        parts = [self._answer(line, DRAIN_S + GOODBYE_S + _SLACK_S) for line in lines]
        n_up = sum(each.n_up for each in ready if isinstance(each, Ready))
        return _sum(n_up, [part for part in parts if isinstance(part, Part)])

    def _tell(self, line: Connection, message: Share | Window) -> None:
        with suppress(OSError):  # the answer, which does not come, says it better
            line.send(message)

    def _answer(self, line: Connection, within_s: float) -> object:
        if not line.poll(within_s):
            raise GeneratorError(f"a process of the generator said nothing for {within_s:.0f} s")
        try:
            answer: object = line.recv()
        except (EOFError, OSError) as error:
            raise GeneratorError("a process of the generator ended") from error
        return answer


def _sum(n_up: int, parts: Sequence[Part]) -> Found:
    problems: Counter[str] = Counter()
    round_trips, lateness = Times(), Times()
    for part in parts:
        problems.update(part.problems)
        round_trips.merge(part.round_trips_us)
        lateness.merge(part.lateness_us)
    return Found(
        n_up=n_up,
        sent=sum(part.sent for part in parts),
        returned=sum(part.returned for part in parts),
        wrong=sum(part.wrong for part in parts),
        refused=sum(part.refused for part in parts),
        problems=dict(problems),
        round_trips=round_trips,
        lateness=lateness,
        cpu_share=max(part.cpu_share for part in parts),
    )
