"""What the scheduler says of a process, also while its threads and children come and go."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from mediaserver.bench import accounting

# Threads and children that begin and end all the time.
RESTLESS = """
import subprocess, threading
print("ready", flush=True)
while True:
    threads = [threading.Thread(target=sum, args=(range(1000),)) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    subprocess.run(["true"])
"""


@pytest.fixture
def restless() -> Iterator[int]:
    line = [sys.executable, "-c", RESTLESS]
    with subprocess.Popen(line, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield process.pid
        process.kill()


def test_threads_and_children_may_end_while_they_are_read(restless: int) -> None:
    until, spent = time.monotonic() + 2.0, 0
    while time.monotonic() < until:
        spent = accounting.spent_ns(restless)
        assert accounting.waited_ns(restless) >= 0
        assert accounting.pss_bytes(restless) > 1 << 20
    assert spent > 0


@pytest.mark.parametrize(
    "measure", [accounting.spent_ns, accounting.waited_ns, accounting.pss_bytes]
)
def test_a_process_that_is_gone_is_said(measure: Callable[[int], int]) -> None:
    with subprocess.Popen(["true"]) as process:
        pass
    with pytest.raises(FileNotFoundError):
        measure(process.pid)


@pytest.mark.skipif(accounting.source() == accounting.STAT, reason="counts clock ticks")
def test_every_living_thread_is_counted() -> None:
    spun, end = threading.Event(), threading.Event()

    def spin() -> None:
        until = time.thread_time() + 0.1
        while time.thread_time() < until:
            pass
        spun.set()
        end.wait(10)

    before = accounting.spent_ns(os.getpid())
    thread = threading.Thread(target=spin)
    thread.start()
    assert spun.wait(10)
    assert accounting.spent_ns(os.getpid()) - before >= 90_000_000
    end.set()
    thread.join(10)
