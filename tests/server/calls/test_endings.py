"""Ended means now: what waits is resolved, goodbyes are heard, nothing is sent any more."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from mediaserver.app import MediaServer
from mediaserver.carrier import CallPlan, FakeCall
from mediaserver.settings import ProcessorSetting
from tests.server.conftest import Serving
from tests.server.workers.crews import soon

BOTS = Path(__file__).parents[1] / "endbots.py"


def bot(name: str, directory: Path, **parameters: Any) -> ProcessorSetting:
    return ProcessorSetting(f"{BOTS}:{name}", {"directory": str(directory), **parameters})


def notes(directory: Path) -> list[dict[str, Any]]:
    """What the only call's bot has noted."""
    files = list(directory.glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def noted(directory: Path, key: str) -> dict[str, Any] | None:
    return next((note for note in notes(directory) if key in note), None)


def in_progress(server: MediaServer) -> FakeCall:
    return FakeCall(server.url, CallPlan(seconds=60.0))


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("on", ["play", "mark", "loop", "queue", "source"])
async def test_what_waits_is_resolved_at_the_end(
    serving: Serving, tmp_path: Path, on: str, workers: int
) -> None:
    """Within 100 ms of ``stop``, as cleared and with what was heard; then the bot goes on."""
    async with serving(
        bot("waits", tmp_path, on=on, work_s=0.5), workers=workers, lead_ms=200
    ) as server:
        async with in_progress(server) as call:
            await call.wait_until(lambda: len(call.received) > 20)
            await asyncio.sleep(0.5)
            stopped_at = time.monotonic()
            await call.hang_up()
            n_received = len(call.received)
            await soon(lambda: noted(tmp_path, "last") is not None)
            await asyncio.wait_for(call.closed.wait(), 2)
            closed_at = time.monotonic()
        resolved = noted(tmp_path, "refused") if on == "loop" else noted(tmp_path, "state")
        last = noted(tmp_path, "last")
        assert resolved is not None
        assert last is not None
        assert resolved["at"] - stopped_at < 0.1 + 0.15  # a busy machine's share
        if on != "loop":
            assert (resolved["state"], resolved["reason"]) == ("cleared", "ended")
        if on in ("play", "source"):
            assert 0.3 < resolved["heard"] < 3
            assert (noted(tmp_path, "source") is not None) == (on == "source")
        assert [note["ended"] for note in notes(tmp_path) if "ended" in note] == [True, True]
        assert last["at"] - stopped_at >= 0.5, "it had time for its work"
        assert closed_at - last["at"] < 0.5, "the socket waits for nobody else"
        assert len(call.received) == n_received, "nothing is sent behind stop"
        assert server.service.counters["processor_errors"] == 0


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_shutdown_resolves_what_waits(
    serving: Serving, tmp_path: Path, workers: int
) -> None:
    """The last lines of a handler run when the server ends, and the call is closed with 1001."""
    async with serving(bot("waits", tmp_path, work_s=0.3), workers=workers) as server:
        call = in_progress(server)
        await call.__aenter__()
        await call.wait_until(lambda: len(call.received) > 20)
    resolved, last = noted(tmp_path, "state"), noted(tmp_path, "last")
    assert resolved is not None
    assert last is not None
    assert resolved["reason"] == "ended"
    await asyncio.wait_for(call.closed.wait(), 5)
    assert call.report().close_code == 1001
    await call.__aexit__(None, None, None)


async def test_a_failed_processor_ends_for_the_others_too(serving: Serving, tmp_path: Path) -> None:
    """``on_error=end``: the handler beside the one that failed is resolved and finishes."""
    failing = ProcessorSetting(f"{BOTS.parent / 'bots.py'}:raises")
    async with serving(bot("waits", tmp_path), failing, on_error="end") as server:
        async with in_progress(server) as call:
            await call.send_payload(b"\x55" * 160)
            await call.send_payload(b"\x55" * 160)
            await call.send_payload(b"\x55" * 160)
            await asyncio.wait_for(call.closed.wait(), 3)
        assert noted(tmp_path, "last") is not None
        assert server.service.counters["processor_errors"] == 1


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_goodbye_is_heard_before_the_call_is_hung_up(
    serving: Serving, tmp_path: Path, workers: int
) -> None:
    """``on_return=hangup`` waits for what was accepted: all of it was heard."""
    async with serving(
        bot("says_goodbye", tmp_path, seconds=1.0), on_return="hangup", workers=workers
    ) as server:
        async with in_progress(server) as call:
            began = time.monotonic()
            await asyncio.wait_for(call.closed.wait(), 5)
            lasted_s = time.monotonic() - began
        assert 0.9 < lasted_s < 2.5
        heard_s = len(call.intake.arrivals.audio()) / 8000
        assert heard_s == pytest.approx(1.0, abs=0.02)


async def test_hangup_after_playout(serving: Serving, tmp_path: Path) -> None:
    """The play before it ends as played; a far end that returns no marks is not waited for."""
    async with serving(bot("hangs_up_after", tmp_path, seconds=0.6)) as server:
        async with in_progress(server) as call:
            await asyncio.wait_for(call.closed.wait(), 5)
        await soon(lambda: noted(tmp_path, "state") is not None)
        note = noted(tmp_path, "state")
        assert note is not None
        assert (note["state"], note["reason"]) == ("played", "finished")


@pytest.mark.parametrize("workers", [1, 2])
async def test_hanging_up_what_is_over_is_no_error(
    serving: Serving, tmp_path: Path, workers: int
) -> None:
    """After ``stop``, once or twice: the handler goes on and nothing is counted."""
    async with serving(bot("hangs_up_twice", tmp_path), workers=workers) as server:
        async with in_progress(server) as call:
            await call.hang_up()
            await asyncio.wait_for(call.closed.wait(), 5)
        await soon(lambda: noted(tmp_path, "hung_up") is not None)
        assert server.service.counters["processor_errors"] == 0
