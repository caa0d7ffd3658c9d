"""What children print, line by line, and not without end."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediaserver.processes.output import LINES, MAX_LINE_BYTES, Output, PrintedLines


def test_call_feed_and_tick_and_at_the_end_flush() -> None:
    """Lines come whole, however they are cut; the last one needs no end, an empty one is none."""
    lines: list[str] = []
    printed = PrintedLines(lines.append)
    for piece in (b"on", b"e\ntwo\r\n\nth", b"ree"):
        printed.feed(piece, 7.0)
    assert lines == ["one", "two"]
    printed.flush(7.0)
    assert lines[-1] == "three"


def test_a_flood_leaves_some_lines_and_says_how_many_more() -> None:
    """The first of each second."""
    lines: list[str] = []
    printed = PrintedLines(lines.append)
    printed.feed(b"x\n" * (LINES + 312), 7.0)
    assert lines == ["x"] * LINES
    assert printed.is_flood
    printed.tick(7.5)
    assert len(lines) == LINES
    printed.tick(8.0)
    assert lines[-1] == "and 312 more lines"
    assert not printed.is_flood
    printed.feed(b"y\n", 8.1)
    printed.flush(8.1)
    assert lines[-1] == "y"


@given(st.lists(st.binary(max_size=40)), st.binary(max_size=3 * MAX_LINE_BYTES))
def test_any_octets_are_lines(pieces: list[bytes], long: bytes) -> None:
    """Nothing is longer than a line may be, and nothing is kept beyond one."""
    lines: list[str] = []
    printed = PrintedLines(lines.append)
    for now, piece in enumerate((*pieces, long, long)):
        printed.feed(piece, 10.0 * now)
        assert len(printed._rest) <= MAX_LINE_BYTES
    printed.flush(0.0)
    assert all(len(line) <= 4 * MAX_LINE_BYTES and "\n" not in line for line in lines)


CODE = """
import ctypes, os, subprocess, sys
from mediaserver.processes.output import Output, redirect
output, life = Output(lambda _: None), int(sys.argv[2])
os.close(output.fd), os.close(output.theirs)
output.fd, output.theirs = int(sys.argv[3]), int(sys.argv[1])
real = redirect(output, life)
print("by print")
ctypes.CDLL(None).puts(b"by a library")
ctypes.CDLL(None).fflush(None)
os.write(2, b"by number\\n")
subprocess.run(["echo", "by a child of its own"])
os.write(real, b"by the log\\n")
sys.stdin.read(1)
print("when nobody reads any more")
print("x" * 200_000)
"""


@contextmanager
def _killed_after(seconds: float, child: subprocess.Popen[bytes]) -> Iterator[None]:
    """A child that does not end is killed: whoever waits for it goes on, and fails."""
    timer = threading.Timer(seconds, child.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _is_blocked(pid: int) -> bool:
    """It waits for room in a pipe, sooner or later."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if "pipe_write" in Path(f"/proc/{pid}/wchan").read_text():
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("is_full", [False, True])
def test_all_ways_lead_into_the_pipe_until_the_parent_dies(*, is_full: bool) -> None:
    """Then stdout and stderr are what they were: nothing fails, and nothing blocks.

    Nor does a write that found the pipe full when the parent died.
    """
    lines: list[str] = []
    output = Output(lines.append)
    life, own_life = os.pipe()
    command = [sys.executable, "-c", CODE, str(output.theirs), str(life), str(output.fd)]
    with (
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[output.theirs, life, output.fd],
        ) as child,
        _killed_after(60, child),
    ):
        assert child.stdin is not None
        assert child.stderr is not None
        os.close(output.theirs)
        assert child.stderr.readline() == b"by the log\n"
        while output.read(0.0):
            pass
        output.close(0.0)
        os.close(life)
        if is_full:
            child.stdin.close()
            assert _is_blocked(child.pid)
            os.close(own_life)
        else:
            os.close(own_life)
            child.stdin.close()
        rest = child.stderr.read()
        assert child.wait(60) == 0
    assert set(lines) == {"by print", "by a library", "by number", "by a child of its own"}
    assert rest.count(b"x") >= 100_000  # what the pipe holds at the very end is lost
