"""A thread is woken when nobody arms it in time, and only then."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

import pytest

from mediaserver.server.calls.watching.overdue import KernelTimer, Looking, Overdue, overdue

KINDS = [Looking, *([KernelTimer] if sys.platform == "linux" else [])]


class Waiting:
    """A thread that waits, and how often it was woken."""

    def __init__(self, on: Overdue) -> None:
        self.n_woken = 0
        self.on = on
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while self.on.wait():
            self.n_woken += 1

    def until(self, n_woken: int) -> bool:
        ends_at = time.monotonic() + 20.0
        while self.n_woken < n_woken and time.monotonic() < ends_at:
            time.sleep(0.005)
        return self.n_woken == n_woken


@pytest.mark.parametrize("kind", KINDS)
def test_it_wakes_once_when_it_is_not_armed_anew(kind: Callable[[], Overdue]) -> None:
    waiting = Waiting(kind())
    for _ in range(5):
        waiting.on.arm(30.0)
    assert waiting.n_woken == 0
    waiting.on.arm(0.01)
    assert waiting.until(1)
    time.sleep(0.1)
    assert waiting.n_woken == 1
    waiting.on.arm(0.01)
    assert waiting.until(2)
    waiting.on.close()
    waiting.on.close()
    waiting.thread.join(20.0)
    assert not waiting.thread.is_alive()
    waiting.on.arm(0.01)  # nothing is left to wake
    assert waiting.n_woken == 2


@pytest.mark.parametrize("kind", KINDS)
def test_one_that_is_never_armed_can_be_closed(kind: Callable[[], Overdue]) -> None:
    waiting = Waiting(kind())
    waiting.on.close()
    waiting.thread.join(20.0)
    assert not waiting.thread.is_alive()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's timer is Linux's")
def test_where_there_is_no_descriptor_the_clock_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none_left(self: KernelTimer) -> None:
        raise OSError(24, "Too many open files")

    assert isinstance(overdue(), KernelTimer)
    monkeypatch.setattr(KernelTimer, "__init__", none_left)
    assert isinstance(overdue(), Looking)
