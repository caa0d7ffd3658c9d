"""Calls ended in every possible way at random moments: nothing is lost of any.

``ENDS=500 pytest tests/app/test_all_ends.py`` ends so many; the usual run ends a few of each
kind.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mediaserver.server.workers.service import MultiProcessService
from mediaserver.settings import ProcessorSetting
from tests.control.test_end_to_end import World, world
from tests.server.workers.crews import soon

BOTS = Path(__file__).parents[1] / "server/endbots.py"
N = int(os.environ.get("ENDS", "18"))
AT_ONCE = 10

# How a call ends → what its bot does, and the state of its phone call then.
KINDS = {
    "stop": ("waits", "answered"),
    # The play is cleared with its socket, so the bot returns, and on_return hangs up; unless
    # Telnyx' word that the stream has stopped comes first: then the stream is over, as by stop.
    "close": ("waits", "ended or answered"),
    "reset": ("waits", "ended or answered"),
    "hangup": ("waits", "ended"),
    "returns": ("returns", "ended"),
    "raises": ("raises", "ended"),
    "hangs_up": ("hangs_up", "ended"),
    "command": ("waits", "ended"),
    "drain": ("waits", "ended"),
}


def offered(directory: Path) -> tuple[ProcessorSetting, ...]:
    return tuple(
        ProcessorSetting(f"{BOTS}:ends", {"directory": str(directory), "how": how}, alias=how)
        for how in ("waits", "returns", "raises", "hangs_up")
    )


async def one_call(w: World, kind: str, chance: random.Random) -> str:
    """A call up to its end, but for those that the drain ends."""
    dialled = await w.client.calls.dial(connection_id="c", from_="+1", to="+2")
    call = w.fake.calls[dialled.call_control_id]
    await soon(lambda: call.state == "answered")
    await w.actions.start_streaming(call.call_control_id, processor=KINDS[kind][0])
    await soon(lambda: call.stream is not None and call.stream.line is not None)
    line = w.stream(call.call_control_id).line
    assert line is not None
    await line.wait_until(lambda: line.intake.ear.n_fed > 0, 20)
    await asyncio.sleep(chance.uniform(0.0, 0.4))
    if kind == "stop":
        await w.actions.stop_streaming(call.call_control_id)
    elif kind == "close":
        await line._ws.close()
    elif kind == "reset":
        line.cut()
    elif kind == "hangup":
        call.hang_up()
    elif kind == "command":
        await w.actions.hangup(call.call_control_id)
    return call.call_control_id


def notes_of(directory: Path, call_id: str) -> list[dict[str, Any]]:
    file = directory / f"{call_id.replace(':', '_')}.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


async def until_noted(directory: Path, call_id: str) -> None:
    """Wait until the bot has noted the end, its play and its mark."""

    def is_noted() -> bool:
        notes = notes_of(directory, call_id)
        return any("stop" in n for n in notes) and sum("resolved" in n for n in notes) == 2

    await soon(is_noted)


def check(directory: Path, call_id: str, kind: str) -> None:
    """Each play and mark ended once, in time, and the bot's last line ran."""
    notes = notes_of(directory, call_id)
    resolved = Counter(note["resolved"] for note in notes if "resolved" in note)
    assert resolved == {"play": 1, "mark": 1}, (kind, notes)
    assert [note["last"] for note in notes if "last" in note] == [KINDS[kind][0]], (kind, notes)
    (stop,) = [note for note in notes if "stop" in note]
    for note in notes:
        if "resolved" in note and note["reason"] == "ended":
            assert abs(note["at"] - stop["at"]) < 0.1 + 0.1, (kind, notes)  # and a busy machine


@pytest.mark.parametrize("workers", [1, 2])
async def test_every_end_of_a_call(tmp_path: Path, workers: int) -> None:
    """Plays and marks are resolved, last lines run, phone calls are as the settings say."""
    chance = random.Random(workers)
    kinds = [list(KINDS)[n % len(KINDS)] for n in range(N)]
    chance.shuffle(kinds)
    ended: dict[str, str] = {}
    settings: dict[str, Any] = {
        "offer": offered(tmp_path),
        "on_return": "hangup",
        "auto_restart": False,
        "drain_s": 0.3,
        "reconnect_grace_s": 0.2,
    }
    async with world(workers=workers, **settings) as w:
        gate = asyncio.Semaphore(AT_ONCE)

        async def end(kind: str) -> None:
            async with gate:
                ended[await one_call(w, kind, chance)] = kind

        await asyncio.gather(*(end(kind) for kind in kinds if kind != "drain"))
        for kind in kinds:  # the last ones are there when the drain begins
            if kind == "drain":
                await end(kind)
        await soon(lambda: w.server.service.n_calls == kinds.count("drain"), 30)
        w.server.service.drain()
        await w.server.service.drained()
        await soon(lambda: w.server.service.n_calls == 0, 30)

        def wrong() -> list[tuple[str, str]]:
            states = [(ended[id_], call.state) for id_, call in w.fake.calls.items()]
            return [(kind, state) for kind, state in states if state not in KINDS[kind][1]]

        with contextlib.suppress(TimeoutError):
            await soon(lambda: not wrong(), 10)
        assert wrong() == []
        for call_id, kind in ended.items():
            await soon(
                lambda call_id=call_id: any("stop" in n for n in notes_of(tmp_path, call_id))
            )  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            await soon(
                lambda call_id=call_id: (
                    sum("resolved" in n for n in notes_of(tmp_path, call_id)) == 2
                )  # type: ignore[misc]  # as before
            )
            check(tmp_path, call_id, kind)
        assert len(ended) == N
        assert w.server.service.counters["processor_errors"] == kinds.count("raises")


async def test_a_killed_worker_ends_its_calls_only(tmp_path: Path) -> None:
    """The phone calls stay up, and the other worker's bots wait on; then they end as ever."""
    settings: dict[str, Any] = {"offer": offered(tmp_path), "auto_restart": False, "drain_s": 0.1}
    async with world(workers=2, **settings) as w:
        chance = random.Random(0)
        calls = [await one_call(w, "drain", chance) for _ in range(6)]
        service = w.server.service
        assert isinstance(service, MultiProcessService)
        victim = service.workers[0]
        lost = set(victim.calls)
        assert len(lost) == 3
        os.kill(victim.pid, signal.SIGKILL)
        await soon(lambda: service.n_calls == 3)
        assert all(call.state == "answered" for call in w.fake.calls.values())
        assert not any("stop" in note for call in calls for note in notes_of(tmp_path, call))
        service.drain()
        await service.drained()
        for call_id in set(calls) - lost:
            await until_noted(tmp_path, call_id)
            check(tmp_path, call_id, "drain")
            assert w.fake.calls[call_id].state == "ended"
        assert all(w.fake.calls[call_id].state == "answered" for call_id in lost)
