"""What a fuzz target is, and what is demanded of each input beside what the target says itself.

- Work: the calls of Python and C functions that an input costs are at most linear in its
  length. They are counted, not timed, so a busy machine changes nothing; and an input that
  costs more is ended when it passes the bound.
- Memory: the peak is at most linear in the length.

Both cost time themselves: of what a fuzzer makes up, one input in so many is looked at.
"""

from __future__ import annotations

import sys
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import FrameType
from typing import Any

COUNT_ONE_IN = 4
TRACE_ONE_IN = 32
# The fuzzer's own counting is by calls out of the code under test.
INSTRUMENTED_FACTOR = 6.0


@dataclass(frozen=True)
class Target:
    """One parser under test.

    Attributes:
        feed: gives it one input; True if that was taken, False if it was refused by an error
            that is declared; whatever else is raised is a finding.
        calls: how many calls any input may cost.
        calls_per_octet: and how many more for each octet of it.
        kib: how much memory any input may take at its peak.
        octets_per_octet: and how much more for each octet of it.
    """

    feed: Callable[[bytes], bool]
    calls: int = 3000
    calls_per_octet: float = 20.0
    kib: int = 1024
    octets_per_octet: float = 200.0


class TooMuchWorkError(AssertionError):
    """An input that costs more than its length allows."""


class Work:
    """Counts what is done inside a ``with``.

    Attributes:
        done: calls so far.
    """

    def __init__(self, most: float) -> None:
        self.done = 0
        self._most = most

    def __enter__(self) -> Work:
        _counting.append(self)
        sys.setprofile(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        _counting.remove(self)

    def _called(self, frame: FrameType, event: str, arg: Any) -> None:
        if event in ("call", "c_call"):
            self.add(1)

    def add(self, n: int) -> None:
        """So much more was done."""
        self.done += n
        if self.done > self._most:
            sys.setprofile(None)
            raise TooMuchWorkError(f"more than {self._most:.0f} calls")


_counting: list[Work] = []


def more_work(n: int) -> None:
    """So much was done that calls do not show."""
    for work in _counting:
        work.add(n)


def feed(target: Target, data: bytes, *, always: bool = True, factor: float = 1.0) -> bool:
    """Give a target one input, and demand of it what is demanded of all.

    Args:
        target: see ``Target``.
        data: the input.
        always: look at work and memory of this one, whichever it is.
        factor: on the calls allowed.
    """
    lot = zlib.crc32(data)
    counted: AbstractContextManager[object] = nullcontext()
    if always or not lot % COUNT_ONE_IN:
        counted = Work(factor * (target.calls + target.calls_per_octet * len(data)))
    if not (always or not lot % TRACE_ONE_IN):
        with counted:
            return target.feed(data)
    tracemalloc.start()
    try:
        with counted:
            taken = target.feed(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    allowed = target.kib * 1024 + target.octets_per_octet * len(data)
    assert peak <= allowed, f"{peak} octets at its peak, {allowed:.0f} allowed"
    return taken


def pieces(data: bytes, cuts: bytes) -> list[bytes]:
    """``data`` in pieces, as a socket might give it; each octet of ``cuts`` is one's length."""
    parts, at = [], 0
    for cut in cuts:
        parts.append(data[at : at + cut])
        at += cut
    return [part for part in (*parts, data[at:]) if part]
