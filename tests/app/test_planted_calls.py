"""Which call had a problem, and what: the planted ones are named, the healthy ones are not."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mediaserver.app import MediaServer
from mediaserver.carrier import CallPlan, FakeCall, place_call
from mediaserver.carrier.messages import MediaIn
from mediaserver.carrier.plan import Faults
from mediaserver.observer import CallSummary
from mediaserver.settings import ProcessorSetting, Settings
from telephony_codecs import codec
from tests.app.plantedbots import __file__ as BOTS
from tests.server.rawclient import RawCall, text
from tests.server.watching import soon

NAMES = ("talks", "mute", "listens", "floods", "blocks")
STEP = 160
ECHO_S = 0.35
# What a machine that stands still does to any call.
OF_THE_MACHINE = {"stalled", "dropped", "late"}


def settings(history: Path, workers: int) -> Settings:
    offer = tuple(ProcessorSetting(f"{BOTS}:{name}", alias=name) for name in NAMES)
    return Settings(
        port=0,
        offer=(ProcessorSetting("echo"), *offer),
        workers=workers,
        history=str(history),
        backlog_ms=30_000,
        catch_up=False,
        reconnect_grace_s=0,
        handler_grace_s=0.5,
    )


def plan(processor: str, **given: Any) -> CallPlan:
    return CallPlan(custom_parameters={"processor": processor}, **given)


class Echoing(FakeCall):
    """A phone whose loudspeaker is heard by its microphone, by a quiet line."""

    async def hold(self, seconds: float) -> None:
        """Stay so long; each 20 ms send what the microphone hears by then."""
        decoder, noise = codec("PCMU").decoder(8000), np.random.default_rng(1)
        n = round(seconds * 50)
        heard = np.zeros((n + 200) * STEP, np.int16)
        n_seen, end = 0, 0
        for k in range(n):
            await asyncio.sleep(max(0.0, k * 0.02 - self.now()))
            for each in self.received[n_seen:]:
                if isinstance(each.command, MediaIn):
                    came = decoder.decode(base64.b64decode(each.command.media.payload))
                    end = max(end, round(each.at_s * 8000))
                    room = heard[end : end + len(came)]
                    room[:] = came[: len(room)]
                    end += len(came)
            n_seen = len(self.received)
            at = round((k * 0.02 - ECHO_S) * 8000)
            echo = heard[at : at + STEP] if at >= 0 else np.zeros(STEP, np.int16)
            await self.send_audio((0.15 * echo + noise.normal(0, 30, STEP)).astype(np.int16))


async def until_told(server: MediaServer, call_id: str, trouble: str) -> None:
    """Wait until a live call has this trouble, as the server itself says."""
    async with asyncio.timeout(90):
        while True:
            for _, body in await server.service.ask("calls"):
                for _, summary in msgspec.msgpack.decode(body, type=list[tuple[str, CallSummary]]):
                    if summary.call_id == call_id and trouble in summary.troubles:
                        return
            await asyncio.sleep(0.3)


async def own_echo(server: MediaServer) -> str:
    call = Echoing(server.url, plan("talks"))
    async with call:
        held = asyncio.create_task(call.hold(90))
        await until_told(server, call.plan.call_control_id, "own_echo")
        held.cancel()
    return call.plan.call_control_id


async def mute_bot(server: MediaServer) -> str:
    """Somebody speaks to it for long enough."""
    async with FakeCall.connect(server.url, plan("mute", seconds=90)) as call:
        spoken = asyncio.create_task(call.speak())
        await until_told(server, call.plan.call_control_id, "mute_bot")
        spoken.cancel()
    return call.plan.call_control_id


async def placed(server: MediaServer, processor: str, **given: Any) -> str:
    wanted = plan(processor, **given)
    await place_call(server.url, wanted)
    return wanted.call_control_id


async def slow_reader(server: MediaServer) -> str:
    """Takes nothing of what is sent for some seconds."""
    path = "/media?processor=floods"
    call = await asyncio.to_thread(RawCall, server.service.port, path=path)
    call.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await asyncio.to_thread(call.begin)
    await until_told(server, call.call_control_id, "slow_reader")
    stop = {"event": "stop", "sequence_number": "2", "stop": {}, "stream_id": call.stream_id}
    await asyncio.to_thread(call.send, text(stop))
    await asyncio.sleep(0.5)
    call.socket.close()
    return call.call_control_id


async def planted(server: MediaServer) -> dict[str, str]:
    """Calls that go wrong, each in one way: their ids by the trouble."""
    ids = await asyncio.gather(
        placed(server, "echo", seconds=4, faults=Faults(drop=0.3), seed=3),
        placed(server, "echo", seconds=2, faults=Faults(abrupt_close_at_s=1.0)),
        placed(server, "echo", seconds=4, faults=Faults(stall=(0.6, 2.0))),
        slow_reader(server),
        mute_bot(server),
        own_echo(server),
        placed(server, "listens", seconds=6, payloads=[bytes([0xFF]) * STEP]),
    )
    names = ("loss", "cut", "stalled", "slow_reader", "mute_bot", "own_echo", "one_way")
    return dict(zip(names, ids, strict=True))


async def neighbours(server: MediaServer) -> dict[str, str]:
    """One call blocks; of the two beside it at least one is in its process."""
    left, right, culprit = await asyncio.gather(
        placed(server, "echo", seconds=2),
        placed(server, "echo", seconds=2),
        placed(server, "blocks", seconds=2),
    )
    return {"left": left, "right": right, "blocks": culprit}


async def healthy(server: MediaServer) -> list[str]:
    """Calls without a fault: an echo, both who speak, a bot that listens, reordered chunks."""
    mixed_up = Faults(reorder_window=2, duplicate=0.2)
    return [
        *await asyncio.gather(
            placed(server, "echo", seconds=3),
            placed(server, "talks", seconds=13),
            placed(server, "listens", seconds=6),
            placed(server, "echo", seconds=3, faults=mixed_up),
        )
    ]


async def told(history: Path, *arguments: str) -> str:
    """What the command prints."""
    command = ("-m", "mediaserver", "calls", "--history", str(history), *arguments)
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    assert process.returncode == 0
    return said.decode()


async def bad_calls(history: Path) -> dict[str, set[str]]:
    """The troubles that ``mediaserver calls --bad`` names, by call."""
    lines = (await told(history, "--bad", "--json")).splitlines()
    calls = [json.loads(line) for line in lines]
    return {each["summary"]["call_id"]: set(each["bad"]) for each in calls}


@pytest.mark.long
async def test_planted_calls_are_named(tmp_path: Path) -> None:
    """``mediaserver calls --bad`` names each with its trouble, and none of the healthy ones.

    In a single process and with two workers, at the same time: it is mostly waiting.
    """
    files = {workers: tmp_path / f"calls-{workers}.db" for workers in (1, 2)}
    async with (
        MediaServer(settings(files[1], 1)) as alone,
        MediaServer(settings(files[2], 2)) as crew,
    ):
        servers = {1: alone, 2: crew}
        found = await asyncio.gather(
            *(asyncio.gather(planted(each), healthy(each)) for each in servers.values())
        )
        # Behind the others: what blocks the single process blocks this test's calls as well.
        beside = {workers: await neighbours(each) for workers, each in servers.items()}
        await soon(lambda: not any(each.service.n_calls for each in servers.values()), 20)
    for (workers, history), (planted_ids, healthy_ids) in zip(files.items(), found, strict=True):
        bad = await bad_calls(history)
        for trouble, call_id in planted_ids.items():
            assert trouble in bad.get(call_id, ()), (workers, trouble, bad.get(call_id))
        for call_id in healthy_ids:
            assert not bad.get(call_id, set()) - OF_THE_MACHINE, (workers, bad[call_id])
        await check_neighbours(history, bad, beside[workers], 2 if workers == 1 else 1)
        table = await told(history, "--bad")
        assert all(call_id in table for call_id in planted_ids.values())


async def check_neighbours(
    history: Path, bad: dict[str, set[str]], beside: dict[str, str], least: int
) -> None:
    """The culprit and so many of the others, at least, are told, and who it was."""
    assert "blocks" in bad[beside["blocks"]]
    both = (beside["left"], beside["right"])
    blocked = [call_id for call_id in both if "blocked" in bad.get(call_id, ())]
    assert len(blocked) >= least
    whole = await told(history, "--id", blocked[0])
    assert f"blocks of call {beside['blocks']} at " in whole
