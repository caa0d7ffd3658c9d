"""The history of a server whose disk is full, whose worker died, and that was killed."""

from __future__ import annotations

import json
import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mediaserver.history.records import CallRecord
from mediaserver.history.stores import Limits, Query
from mediaserver.history.writer import open_store, read_history
from tests.history.made import record
from tests.server.conftest import Serving, followed, serving
from tests.server.following import Followed
from tests.server.rawclient import RawCall, Server, text
from tests.server.rawclient import serving as served_apart
from tests.server.workers.crews import IMPATIENT, call_to, echoes, soon, worker_of

__all__ = ["followed", "serving"]
FULL_BYTES = 24_000
SPOKEN = bytes([40, 200]) * 80
FILES = pytest.mark.parametrize("name", ["calls.db", "calls.jsonl"])


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def limit_files(server: Server, n_bytes: int) -> None:
    """Let the server's files grow to ``n_bytes`` and no further: a full disk, without a mount."""
    hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (n_bytes, hard))


def whole_call(port: int) -> str:
    """A call that is echoed, and ends."""
    with RawCall(port) as call:
        call.begin()
        assert call.echoed(SPOKEN) == SPOKEN
        stop = {"event": "stop", "sequence_number": "3", "stop": {}, "stream_id": call.stream_id}
        call.send(text(stop))
        assert call.close_code() == 1000
        return call.call_control_id


def kept(path: Path) -> list[CallRecord]:
    return read_history(path, Query())


@FILES
def test_a_full_disk_harms_no_call(name: str, tmp_path: Path) -> None:
    """One error; calls go on; what waited is written when there is room again."""
    path, log = tmp_path / name, tmp_path / "log"
    arguments = ("--processor", "echo", "--history", str(path))
    store = open_store(path, Limits(30, 1 << 30))
    store.put([record(f"v3:{n}", time.time() - 60) for n in range(300)])  # more than the limit
    store.close()
    ids: list[str] = []
    with served_apart(log, *arguments) as server:
        limit_files(server, FULL_BYTES)  # of the log as well, which is shorter
        while "cannot be written" not in log.read_text():
            assert len(ids) < 20
            ids.append(whole_call(server.port))
            time.sleep(0.2)
        ids.append(whole_call(server.port))
        limit_files(server, resource.RLIM_INFINITY)
        ids.append(whole_call(server.port))
        wait_until(lambda: ids[-1] in {each.call_id for each in kept(path)})
        wait_until(lambda: "is written again" in log.read_text())
    assert log.read_text().count("cannot be written") == 1
    # In no order: they are a moment apart, and the machine's clock may be set meanwhile.
    assert sorted(each.call_id for each in kept(path)[: len(ids)]) == sorted(ids)


@FILES
def test_what_was_written_outlives_the_server(name: str, tmp_path: Path) -> None:
    """It is killed, and the next one goes on in the same file."""
    path = tmp_path / name
    arguments = ("--processor", "echo", "--history", str(path))
    ids: list[str] = []
    for _ in range(2):
        with served_apart(tmp_path / "log", *arguments) as server:
            ids.append(whole_call(server.port))
            wait_until(lambda: len(kept(path)) == len(ids))
            os.kill(server.pid, signal.SIGKILL)
    assert [each.call_id for each in reversed(kept(path))] == ids


async def test_a_call_that_died_with_its_worker_has_a_record(
    serving: Serving, followed: Followed, tmp_path: Path
) -> None:
    """With its begin and its length, and the trouble in words."""
    path = tmp_path / "calls.db"
    async with serving("echo", workers=2, limits=IMPATIENT, history=str(path)) as server:
        async with call_to(server) as call:
            assert await echoes(call, 40)
            os.kill(worker_of(server, call).pid, signal.SIGKILL)
            await soon(lambda: call.plan.call_control_id in followed.summaries)
            await call.closed.wait()
    (record,) = kept(path)
    assert record.bad == {"worker": "lost with its worker"}
    assert record.summary.started_at > time.time() - 600
    assert record.summary.duration_s > 0


async def test_what_a_call_did_is_in_its_record(serving: Serving, tmp_path: Path) -> None:
    """Errors that Telnyx sent, by code; and neither number of it."""
    path = tmp_path / "calls.jsonl"
    async with serving("echo", history=str(path)) as server:
        async with call_to(server) as call:
            assert await echoes(call, 40)
            error: dict[str, Any] = {"code": 100004, "title": "invalid_media", "detail": "no"}
            await call.send(json.dumps({"event": "error", "payload": error}))
            await soon(lambda: server.service.counters["stream_errors"] == 1)
            await call.hang_up()
        await soon(lambda: server.service.n_calls == 0)
    (record,) = kept(path)
    assert record.summary.errors == {"100004": 1}
    assert record.bad["telnyx_errors"] == "Telnyx refused 1 messages"
    assert b"+1312" not in path.read_bytes()
