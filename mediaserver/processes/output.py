"""What a child writes to its stdout and stderr, by whatever means: some lines of it.

A pipe stands in the place of both, and the parent reads it: a flood, of ``print`` or of a C
library, fills no log, and its lines do not cut into those of others.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
import threading
from collections.abc import Callable

from mediaserver.logs import LineLimit

LINES = 100
PERIOD_S = 1.0
# What is longer is cut into lines.
MAX_LINE_BYTES = 8 * 1024
READ_BYTES = 64 * 1024
# At a child's end: a pipe holds no more, and a child of its own may go on writing.
MAX_LAST_READS = 16


class PrintedLines:
    """Octets as lines, so many in a second.

    **Call ``feed`` with what came, and ``tick`` now and then; at the end ``flush``.**

    Args:
        write: is given each line that is let through, and how many were not.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._limit = LineLimit(LINES, PERIOD_S)
        self._rest = b""

    @property
    def is_flood(self) -> bool:
        """Lines are left out now."""
        return self._limit.next_at is not None

    def feed(self, data: bytes, now: float) -> None:
        """So many octets more."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        while len(self._rest) > MAX_LINE_BYTES:
            lines.append(self._rest[:MAX_LINE_BYTES])
            self._rest = self._rest[MAX_LINE_BYTES:]
        for line in lines:
            self._line(line, now)

    def tick(self, now: float) -> None:
        """Say how many lines were left out, once their time is over."""
        for _, n in self._limit.over(now):
            self._write(f"and {n} more lines")

    def flush(self, now: float) -> None:
        """No more comes: write what has no end of line, and what is left to say."""
        if self._rest:
            self._line(self._rest, now)
            self._rest = b""
        self.tick(float("inf"))

    def _line(self, line: bytes, now: float) -> None:
        self.tick(now)
        for at in range(0, len(line), MAX_LINE_BYTES):  # nothing for an empty one
            if self._limit.take("lines", now):
                piece = line[at : at + MAX_LINE_BYTES]
                self._write(piece.decode("utf-8", "backslashreplace").rstrip("\r"))


class Output:
    """The pipe of one child; this side is the parent's.

    Args:
        write: see ``PrintedLines``.

    Attributes:
        fd: to be read from, when it is readable.
        theirs: for the child, which calls ``redirect`` with it.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self.fd, self.theirs = os.pipe()
        os.set_blocking(self.fd, False)
        self._lines = PrintedLines(write)

    @property
    def is_flood(self) -> bool:
        """Lines are left out now: there is no hurry to read more of them."""
        return self._lines.is_flood

    def read(self, now: float) -> bool:
        """Take what is there, up to what is decent in one turn; False if nothing was."""
        try:
            data = os.read(self.fd, READ_BYTES)
        except BlockingIOError:
            return False
        self._lines.feed(data, now)
        return bool(data)

    def tick(self, now: float) -> None:
        """See ``PrintedLines``."""
        self._lines.tick(now)

    def close(self, now: float) -> None:
        """The child has ended: take its last words; a child of its own may hold the pipe still."""
        for _ in range(MAX_LAST_READS):
            if not self.read(now):
                break
        self._lines.flush(now)
        os.close(self.fd)


def redirect(output: Output, parent: int) -> int:
    """In the child: have stdout and stderr go to the pipe.

    It keeps the pipe's other end open as well: so a write does not fail when the parent dies.
    From then on both are the real ones again.

    Args:
        output: of this child.
        parent: a descriptor that is hung up when the parent dies.

    Returns:
        The real stderr, for the log.
    """
    if sys.stderr is None:  # it was closed, and its number may be something else by now
        return 2
    real = os.dup(2)
    _point_at(output.theirs)
    os.close(output.theirs)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)  # a child that is killed flushes nothing
    threading.Thread(target=_outlive, args=(parent, real, output.fd), daemon=True).start()
    return real


def _outlive(parent: int, real: int, unread: int) -> None:
    poll = select.poll()
    poll.register(parent, 0)  # only the hang-up is reported
    poll.poll()
    _point_at(real)
    # A write into the full pipe is still under way, and waits for somebody to read.
    poll = select.poll()
    poll.register(unread, select.POLLIN)
    while poll.poll():
        try:
            data = os.read(unread, READ_BYTES)
        except BlockingIOError:
            continue
        if not data:
            return
        with contextlib.suppress(OSError):
            os.write(real, data)


def _point_at(fd: int) -> None:
    for number in (1, 2):
        os.dup2(fd, number)
