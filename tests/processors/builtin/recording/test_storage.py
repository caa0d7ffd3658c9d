"""Recordings on their way to a store, over real HTTP."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from mediaserver.afterwards.pending import PENDING
from mediaserver.app import MediaServer
from mediaserver.carrier import CallPlan, place_call
from mediaserver.errors import ConfigurationError
from mediaserver.processors.builtin.recording import storage
from mediaserver.processors.builtin.recording.sidecar import decode_sidecar
from mediaserver.processors.builtin.recording.storage import Destination
from mediaserver.server.calls.selection import load
from mediaserver.settings import ProcessorSetting, Settings
from tests.processors.builtin.recording.storing import Store, store
from tests.server.watching import soon

TO = "s3://bucket/calls/2026"
PLAN = CallPlan(seconds=0.6, linger_s=0.1, call_control_id="v3:x")


def serving(folder: Path, **more: Any) -> MediaServer:
    record = ProcessorSetting("record", {"directory": str(folder), "to": TO, **more})
    chain = (record, ProcessorSetting("echo"))
    return MediaServer(Settings(port=0, processors=chain, backlog_ms=30_000, catch_up=False))


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def all_done() -> None:
    await soon(lambda: PENDING.n == 0, 30.0)
    await asyncio.sleep(0)  # what is counted comes from threads


def assert_arrived(found: Store) -> None:
    """Audio and JSON, whole, signed."""
    assert set(found.objects) == {
        "/bucket/calls/2026/v3_x.wav",
        "/bucket/calls/2026/v3_x.json",
    }
    assert found.unsigned == 0
    assert found.objects["/bucket/calls/2026/v3_x.wav"].startswith(b"RIFF")
    sidecar = decode_sidecar(found.objects["/bucket/calls/2026/v3_x.json"])
    assert (sidecar.ended, sidecar.files, sidecar.to) == (True, ("v3_x.wav",), TO)
    assert sidecar.summary is not None
    assert sidecar.summary.recordings == (f"{TO}/v3_x.wav",)


@pytest.mark.parametrize("keep", [False, True])
async def test_finished_files_go_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: bool
) -> None:
    """Both files, once; then they are gone here, unless they are to stay."""
    with store(monkeypatch) as found:
        async with serving(tmp_path, keep=keep) as server:
            await place_call(server.url, PLAN)
            await all_done()
            assert server.service.counters["uploads_done"] == 1
        found_keys = set(found.objects)
    assert found_keys == {"/bucket/calls/2026/v3_x.wav", "/bucket/calls/2026/v3_x.json"}
    assert left_in(tmp_path) == (["v3_x.json", "v3_x.wav"] if keep else [])


async def test_a_bad_day_of_the_store_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Refused, broken, silent: tried again until it is there; a call beside loses nothing."""
    monkeypatch.setattr(storage, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(storage, "REQUEST_TIMEOUT_S", 1)
    with store(monkeypatch) as found:
        found.answers = [403, 500, 0, 200, 503]
        async with serving(tmp_path) as server:
            await place_call(server.url, PLAN)
            report = await place_call(server.url, CallPlan(seconds=1.0))
            await all_done()
            counters = dict(server.service.counters)
    assert {403, 500, 0, 503} <= set(found.requests)
    assert (report.lost, report.close_code) == (0, 1000)
    assert counters["uploads_done"] == 2
    assert counters["uploads_failed"] >= 1
    assert "uploads_given_up" not in counters
    assert "call v3:x: its recording could not be uploaded: 403 Forbidden (AccessDenied)" in (
        caplog.text
    )
    assert "s3cret" not in caplog.text
    del found.objects[next(key for key in found.objects if "v3_x" not in key and "wav" in key)]
    del found.objects[next(key for key in found.objects if "v3_x" not in key)]
    assert_arrived(found)
    assert left_in(tmp_path) == []


async def test_what_is_given_up_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The hour is over: said, counted, and the files are here."""
    monkeypatch.setattr(storage, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(storage, "RETRY_FOR_S", 0.2)
    with store(monkeypatch) as found:
        found.answers = [403] * 100
        async with serving(tmp_path) as server:
            await place_call(server.url, PLAN)
            await all_done()
            assert server.service.counters["uploads_given_up"] == 1
    assert "was not uploaded and stays here: 403 Forbidden" in caplog.text
    assert left_in(tmp_path) == ["v3_x.json", "v3_x.wav"]


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_drain_waits_for_uploads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """Also where workers make them; and no longer than the drain may last."""
    with store(monkeypatch) as found:
        found.slow.clear()
        record = ProcessorSetting("record", {"directory": str(tmp_path), "to": TO})
        settings = Settings(port=0, processors=(record,), workers=workers, reconnect_grace_s=0)
        async with MediaServer(settings) as server:
            await place_call(server.url, PLAN)
            await soon(lambda: server.service.n_calls == 0, 10.0)
            server.service.drain()
            drained = asyncio.create_task(server.service.drained())
            await asyncio.wait({drained}, timeout=0.5)
            assert not drained.done()
            found.slow.set()
            await asyncio.wait_for(drained, 30.0)
            assert_arrived(found)
            assert left_in(tmp_path) == []


@pytest.mark.parametrize("url", ["", "s3://b", "s3://b/p/", "gs://b/p", "az://a/c/p"])
def test_a_destination_is_a_url(url: str) -> None:
    """Of a store; empty is none."""
    assert Destination(url).of("a.wav") == f"{url.rstrip('/')}/a.wav"


@pytest.mark.parametrize("url", ["s3://", "/tmp", "http://host/p", "s3:///"])
def test_what_is_none_is_refused(url: str) -> None:
    """Before the server starts, in one line."""
    setting = ProcessorSetting("record", {"to": url})
    with pytest.raises(ConfigurationError, match="followed by a bucket"):
        load("processors", setting)


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, with the command that helps; without a destination nothing is needed."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'mediaserver\[storage\]'"):
        load("processors", ProcessorSetting("record", {"to": TO}))
    load("processors", ProcessorSetting("record"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("… status code: 403 Forbidden: <Error><Code>No</Code>key", "403 Forbidden (No)"),
        ("… status code: 500 Internal Server Error: x", "500 Internal Server Error"),
        ("HttpError {\n kind: Timeout,\n", "no answer (Timeout)"),
        ("a key", "RuntimeError"),
    ],
)
def test_a_problem_is_said_in_words(text: str, said: str) -> None:
    """Of a store's own text only what is harmless."""
    assert storage.problem_of(RuntimeError(text)) == said
    assert storage.problem_of(FileNotFoundError(2, "No such file")) == "No such file"
