"""Threads for what nobody waits for."""

from __future__ import annotations

import threading

import pytest

from mediaserver.afterwards import lanes
from mediaserver.afterwards.lanes import Lane


def test_jobs_are_done_in_the_order_of_their_time() -> None:
    """Those of the same time in the order in which they came."""
    lane, done, over = Lane("test"), list[int](), threading.Event()
    began = threading.Event()
    lane.put(lambda: began.wait(5.0) and None)
    lane.put(over.set, 0.3)
    lane.put(lambda: done.append(3), 0.2)
    for n in (1, 2):
        lane.put(lambda n=n: done.append(n))  # type: ignore[misc]  # binds n
    began.set()
    assert over.wait(10.0)
    assert done == [1, 2, 3]


def test_a_job_that_fails_ends_no_thread(caplog: pytest.LogCaptureFixture) -> None:
    """It is said; the next one is done."""
    lane, over = Lane("test"), threading.Event()

    def fails() -> None:
        raise ValueError("planned")

    lane.put(fails)
    lane.put(over.set)
    assert over.wait(10.0)
    assert "test: a job failed" in caplog.text


def test_one_that_hangs_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as there are threads are done at once; who has nothing to do ends."""
    monkeypatch.setattr(lanes, "IDLE_S", 0.05)
    lane, free, over = Lane("two at once", 2), threading.Event(), threading.Event()
    lane.put(lambda: free.wait(10.0) and None)
    lane.put(over.set)
    assert over.wait(10.0)
    free.set()
    for thread in threading.enumerate():
        if thread.name == "two at once":
            thread.join(10.0)
            assert not thread.is_alive()
    again = threading.Event()
    lane.put(again.set)
    assert again.wait(10.0)
